"""Outlines of masks: polygons along the edges of the pixels, which draw the same mask again."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mrcnn.images.masks import mask_bounds


def trace(mask: np.ndarray) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """Traces the outlines of a mask along the edges of its pixels.

    The corners are whole numbers: a mask of the one pixel (0, 0) has the outline (0, 0), (0, 1),
    (1, 1), (1, 0). Drawn by the rule of pycocotools, the outlines minus the holes are the mask.

    Args:
        mask: array [height, width], bool or numbers. Pixels that are not zero are inside.

    Returns:
        list of (outline, holes), one per part of the mask, where pixels that touch at a corner are
        one part: int32 [num_points, 2] as x, y, and a list of these. Empty if the mask is empty.
    """
    bounds = mask_bounds(mask)
    if bounds is None:
        return []
    y1, x1, y2, x2 = bounds
    crop = np.asarray(mask[y1:y2, x1:x2] != 0, np.uint8)
    # OpenCV walks along the centers of pixels. On a grid of twice the size, the center of an even
    # pixel stands for the left or upper edge of the pixel that was doubled, an odd one for the
    # right or lower edge.
    doubled = crop.repeat(2, axis=0).repeat(2, axis=1)
    rings, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [_corners((ring[:, 0] + 1) // 2) + np.array([x1, y1], np.int32) for ring in rings]
    parts = {}
    for index, (*_, parent) in enumerate(hierarchy[0]):
        if parent < 0:
            parts[index] = (corners[index], [])
    for index, (*_, parent) in enumerate(hierarchy[0]):
        if parent >= 0:
            parts[parent][1].append(corners[index])
    return list(parts.values())


def one_ring(parts: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]]) -> np.ndarray:
    """Joins outlines and holes into one closed line, for formats that hold one polygon per object.

    Two rings are joined by a line that is walked back and forth. It has no area, so that the
    polygon draws the same mask.

    Args:
        parts: list of (outline, holes), at least one, as `trace` returns them.

    Returns:
        array [num_points, 2], x, y.
    """
    rings = [ring for outline, holes in parts for ring in (outline, *holes)]
    joined = rings[0]
    for ring in rings[1:]:
        nearest = int(((joined - ring[0]) ** 2).sum(axis=1).argmin())
        detour = [ring, ring[:1], joined[nearest : nearest + 1]]
        joined = np.concatenate([joined[: nearest + 1], *detour, joined[nearest + 1 :]])
    return joined


def _corners(points):
    """Drops repeated points and those on a straight line, int32 [num_points, 2]."""
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before = points - np.roll(points, 1, axis=0)
    after = np.roll(points, -1, axis=0) - points
    # cross product: 0 on a straight line, but also where the line turns back
    straight = (before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]) & (
        (before * after).sum(axis=1) > 0
    )
    return points[~straight].astype(np.int32)
