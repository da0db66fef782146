"""Polygons of annotation files: checked, clipped to the neighborhood of their image, and drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.errors import shorten

# pycocotools keeps 40 bytes per fifth of a pixel of an outline: 2**22 pixels take 800 MB. An
# outline of that length would fill every fourth row of an image of 4000x4000.
MAX_OUTLINE = 2**22
FARTHEST = 1e15  # of a coordinate, in pixels: float64 is exact up to there


def polygon_parts(points: Any) -> tuple[list[np.ndarray], int]:
    """Returns the parts of a shape, checked.

    Args:
        points: list of lists [x1, y1, x2, y2, ...] in pixels. A single polygon may also be a flat
            list or a list of points [x, y].

    Returns:
        parts: list of float64 [points, 2], x and y, at least three points each.
        scraps: int. How many parts have fewer than three points, which enclose nothing.

    Raises:
        ValueError: if something is not a list of finite numbers, or a list has an odd number of
            them.
    """
    if not isinstance(points, (list, tuple, np.ndarray)):
        raise ValueError(f"{_EXPECTED}, got {shorten(points)}")
    try:
        parts = [np.asarray(part, np.float64).ravel() for part in points]
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{_EXPECTED}, got {shorten(points)}") from error
    sizes = {part.size for part in parts}
    if sizes == {1} or (sizes == {2} and len(parts) > 2):
        parts = [np.concatenate(parts)]  # one polygon as a flat list, or as a list of points
    for part in parts:
        # Not `>`: a comparison with NaN is False.
        if part.size % 2 or not (np.abs(part) <= FARTHEST).all():
            raise ValueError(f"{_EXPECTED} of finite numbers, got {shorten(part.tolist())}")
    whole = [part.reshape(-1, 2) for part in parts if part.size >= 6]
    return whole, len(parts) - len(whole)


_EXPECTED = "a polygon needs at least three points [x1, y1, x2, y2, ...]"


def near_parts(parts: list[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    """Clips polygons to the neighborhood of their image: one more image on each side.

    Every pixel of an outline costs memory, also outside the image.

    Args:
        parts: list of float64 [points, 2], x and y in pixels.
        size: (height, width) of the image.

    Returns:
        list of float64 [points, 2], without parts that are far outside.

    Raises:
        ValueError: if an outline is longer than MAX_OUTLINE pixels.
    """
    height, width = size
    near = [clip_polygon(part, (-width, -height), (2 * width, 2 * height)) for part in parts]
    for part in near:
        if len(part) * 3 * max(size) <= MAX_OUTLINE:
            continue  # no edge is longer than three images
        length = np.abs(part - np.roll(part, 1, axis=0)).max(axis=1, initial=0).sum()
        if length > MAX_OUTLINE:
            raise ValueError(
                f"the outline of a polygon is {length:.0f} pixels long, more than {MAX_OUTLINE}. "
                "Simplify it, or cut the image into tiles"
            )
    return [part for part in near if len(part) >= 3]


def draw_polygons(parts: list[np.ndarray], size: tuple[int, int]) -> dict:
    """Draws the union of polygons as pycocotools does.

    Args:
        parts: list of float64 [points, 2], x and y in pixels. They may reach far beyond the image.
        size: (height, width) of the image.

    Returns:
        A run-length code, {"size": [height, width], "counts": bytes}.

    Raises:
        ValueError: as `near_parts`.
    """
    flat = [part.ravel().tolist() for part in near_parts(parts, size)]
    return coco_mask.merge(coco_mask.frPyObjects(flat or [[0.0] * 6], *size))


def clip_polygon(points: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Clips the area of a polygon to a rectangle (Sutherland and Hodgman 1974).

    What is outside moves onto the border of the rectangle, so that inside it nothing changes, also
    for polygons that cross themselves.

    Args:
        points: float64 [points, 2], x and y.
        low: (x, y) of the rectangle.
        high: (x, y) of the rectangle.

    Returns:
        float64 [points, 2]; the polygon itself if it lies inside, none if it lies outside.
    """
    for axis in (0, 1):
        for bound, sign in ((low[axis], 1.0), (high[axis], -1.0)):
            depth = (points[:, axis] - bound) * sign  # below 0 outside
            if depth.min(initial=0) < 0:
                points = _clip_side(points, depth)
    return points


def _clip_side(points, depth):
    """Returns the part of a polygon where the depth is at least 0."""
    following, next_depth = np.roll(points, -1, axis=0), np.roll(depth, -1)
    inside = depth >= 0
    crosses = inside != (next_depth >= 0)
    share = np.divide(depth, depth - next_depth, out=np.zeros_like(depth), where=crosses)
    crossings = points + share[:, None] * (following - points)
    # Each corner that stays comes first, then the crossing on the edge that starts there.
    both = np.stack([points, crossings], axis=1)
    return both[np.stack([inside, crosses], axis=1)]
