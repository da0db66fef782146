"""Checks every annotation of a record once, before training or evaluation meets it.

What is damaged is an error. What only cannot be an object, such as a polygon of two points, is left
out; what contradicts itself is decided one way for training and evaluation. Both are said in one
warning per data set.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    Polygons,
    Rle,
    broken,
    check_rle_size,
)
from mrcnn.images.overlaps import to_xywh, xywh_overlaps
from mrcnn.images.polygons import near_parts, polygon_parts
from mrcnn.images.rle import rle_region

# A box contradicts its mask below this IoU, if a side is also further off than a few pixels: masks
# that are drawn by hand, and boxes of objects that are partly hidden, differ by less.
CONTRADICTION_IOU = 0.5
ROUNDING = 2.0  # pixels

logger = logging.getLogger("mrcnn")


def review(annotations: Annotations) -> Annotations:
    """Checks all polygons, run-length codes and boxes of a record.

    Args:
        annotations: Annotations. They stay as they are.

    Returns:
        Annotations without the instances that cannot be objects. A box that contradicts its mask is
        left out, so that the bounds of the mask count; and boxes that are [x1, y1, x2, y2] in most
        of the data set are read so.

    Raises:
        ValueError: if a shape is damaged; naming the annotation.
    """
    found = _Findings()
    images = [_reviewed_image(image, found) for image in annotations.images]
    if found.compared and 2 * len(found.corners) > found.compared:
        found.contradictions = []
        images = [replace(image, instances=_as_corners(image)) for image in images]
    else:
        found.corners = []
        dropped = {number for number, _ in found.contradictions}
        images = [replace(image, instances=_without_boxes(image, dropped)) for image in images]
    found.warn(annotations)
    return replace(annotations, images=images)


class _Findings:
    """What is to be said about a data set."""

    def __init__(self):
        self.dropped: list[str] = []  # annotations that enclose nothing
        self.scraps: list[str] = []  # annotations that lost a part that encloses nothing
        self.contradictions: list[tuple[int, str]] = []  # id() of an instance, and its name
        self.corners: list[str] = []  # boxes that fit as [x1, y1, x2, y2], and not otherwise
        self.compared = 0
        self.boxes = self.leaving = 0  # boxes without a mask, and those that leave the image
        self.all_corners = True  # whether all of them could be [x1, y1, x2, y2]

    def warn(self, annotations):
        """Writes one warning about all findings, if there are some."""
        total = sum(len(image.instances) for image in annotations.images)
        texts = [
            _listed(self.dropped, total, "enclose no area and are left out"),
            _listed(self.scraps, total, "lose a part of fewer than three points"),
            _listed(
                [name for _, name in self.contradictions],
                total,
                "have a bbox that contradicts their mask (IoU below 0.5): the bounds of the mask "
                "are used, in training and evaluation",
            ),
            _listed(
                self.corners,
                total,
                "have a bbox [x1, y1, x2, y2] instead of [x, y, width, height]: all boxes of the "
                "file are read so",
            ),
        ]
        if self.boxes and self.all_corners and 10 * self.leaving >= self.boxes:
            texts.append(
                f"{self.leaving} of {self.boxes} boxes leave their image, and all of them could be "
                "[x1, y1, x2, y2] instead of [x, y, width, height]: check the tool that wrote them"
            )
        texts = [text for text in texts if text]
        if texts:
            file = annotations.images[0].file
            logger.warning("%s: %s. Correct the file if this is not meant.", file, "; ".join(texts))


def _listed(names, total, what):
    some = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    return f"{len(names)} of {total} annotations ({some}) {what}" if names else ""


def _reviewed_image(image: Image, found: _Findings) -> Image:
    kept = []
    for instance in image.instances:
        reviewed, bounds = _reviewed(image, instance, found)
        if reviewed is None:
            found.dropped.append(instance.name)
            continue
        kept.append(reviewed)
        if reviewed.box is not None and image.height and image.width:
            _compare(reviewed, bounds, (image.height, image.width), found)
    return replace(image, instances=kept)


def _reviewed(image, instance: Instance, found):
    """Returns an instance, or None if it cannot be an object, and the bounds of its shape."""
    shape, size = instance.shape, (image.height, image.width)
    if shape is None:
        return (instance if instance.box is not None else None), None
    if None in size or not isinstance(shape, Polygons | Rle):
        return instance, None
    try:
        if isinstance(shape, Rle):
            code = {"size": shape.size, "counts": shape.counts}
            bounds = rle_region(code)
            check_rle_size(shape, size)
            return (instance if bounds[2] else None), bounds
        parts, scraps = polygon_parts(shape.points)
        near_parts(parts, size)
    except ValueError as error:
        raise broken(image, instance.name, error) from error
    if not parts:
        return None, None
    corners = np.concatenate(parts)
    (x1, y1), (x2, y2) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    if x2 <= x1 or y2 <= y1:
        return None, None
    if scraps:
        found.scraps.append(instance.name)
        instance = replace(instance, shape=Polygons([part.ravel().tolist() for part in parts]))
    return instance, (y1, x1, y2, x2)


def _compare(instance, bounds, size, found):
    """Compares the box of an instance with the bounds of its mask, or with its image."""
    y1, x1, y2, x2 = instance.box
    corners: Any = (y1, x1, y2 - y1, x2 - x1)  # what it would be as [x1, y1, x2, y2]
    if bounds is None:
        found.boxes += 1
        found.leaving += x2 > size[1] + 1 or y2 > size[0] + 1
        inside = corners[2] <= size[0] and corners[3] <= size[1]
        found.all_corners &= corners[2] > y1 and corners[3] > x1 and inside
        return
    found.compared += 1
    if _distance(instance.box, bounds) <= ROUNDING:
        return  # nearly all: clipping below brings them no further apart
    limit = (*size, *size)
    box, bounds, corners = (
        tuple(min(max(value, 0), most) for value, most in zip(values, limit, strict=True))
        for values in (instance.box, bounds, corners)
    )
    if _distance(box, bounds) <= ROUNDING:
        return
    if _distance(corners, bounds) <= ROUNDING:
        found.corners.append(instance.name)
    if xywh_overlaps(to_xywh(box), to_xywh(bounds))[0, 0] < CONTRADICTION_IOU:
        found.contradictions.append((id(instance), instance.name))


def _distance(first, second):
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _as_corners(image):
    """Returns the instances of an image with boxes read as [x1, y1, x2, y2]."""
    changed = []
    for instance in image.instances:
        if instance.box is not None:
            y1, x1, y2, x2 = instance.box
            instance = replace(instance, box=(y1, x1, y2 - y1, x2 - x1))
        changed.append(instance)
    return changed


def _without_boxes(image, dropped):
    return [
        replace(instance, box=None) if id(instance) in dropped else instance
        for instance in image.instances
    ]
