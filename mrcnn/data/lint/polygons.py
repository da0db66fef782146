"""Faults of outlines: points outside the image, sides that cross."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.images.polygons import polygon_parts

MAX_POINTS = 4000  # of the largest polygon that is searched for crossings: 16 million pairs


def overhang(polygons: Any, size: tuple[int, int]) -> float:
    """Returns how far polygons leave the image, in pixels; 0 if they do not.

    Args:
        polygons: the points of a shape; see `annotations.Polygons`.
        size: (height, width) of the image.
    """
    furthest = 0.0
    for points in polygon_parts(polygons)[0]:
        low, high = points.min(axis=0), points.max(axis=0)
        furthest = max(furthest, *-low, high[0] - size[1], high[1] - size[0])
    return float(furthest)


def crossing(polygons: Any) -> np.ndarray | None:
    """Returns a point near which sides of one polygon cross, or None.

    Sides that only touch do not cross. A side that is walked back again is a slit to a hole or to
    another part of the object: it has no area and may cross others.

    Args:
        polygons: the points of a shape; see `annotations.Polygons`.

    Returns:
        array [2], x, y.
    """
    for points in polygon_parts(polygons)[0]:
        if not 4 <= len(points) <= MAX_POINTS:
            continue
        along = np.roll(points, -1, axis=0) - points
        slit = _walked_back(points)
        # [sides, points]: the cross product tells on which side of each side a point lies
        offset = points[None] - points[:, None]
        start = along[:, None, 0] * offset[..., 1] - along[:, None, 1] * offset[..., 0]
        end = np.roll(start, -1, axis=1)
        apart = (start * end) < 0  # both ends of a side lie on different sides of the other
        apart[slit] = False
        pairs = np.argwhere(np.triu(apart & apart.T, 2))
        if len(pairs):
            return points[pairs[0, 0]]
    return None


def _walked_back(points):
    """Returns which sides of a polygon are walked back as well, bool [num_points]."""
    sides = np.concatenate([points, np.roll(points, -1, axis=0)], axis=1)
    walked = set(map(tuple, sides.tolist()))
    return np.array([(x2, y2, x1, y1) in walked for x1, y1, x2, y2 in sides.tolist()])
