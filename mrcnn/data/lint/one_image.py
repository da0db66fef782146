"""Faults of one image and its objects."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from dataclasses import replace

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.annotations import (
    Image,
    Polygons,
    annotated_size,
    is_label_image,
    iterate_rles,
)
from mrcnn.data.lint.polygons import crossing, overhang
from mrcnn.data.lint.record import Checked, Limits, Object
from mrcnn.images.files import read_image
from mrcnn.images.overlaps import rle_overlaps, to_xywh, xywh_overlaps
from mrcnn.images.rle import rle_region

DUPLICATE_IOU = 0.9  # two objects of one class with a higher IoU are one object drawn twice
BOX_IOU = 0.8  # a box with a lower IoU with the bounds of its mask belongs to something else,
BOX_PIXELS = 2.0  # but a difference of at most this many pixels per side is rounding
OUTSIDE_PIXELS = 1.0  # tools write points on the edge up to one pixel outside
MIN_SIDE = 8.0  # pixels: two cells of the finest level of the feature pyramid


def check_image(image: Image, limits: Limits) -> Checked:
    """Looks for faults in one image.

    Args:
        image: Image. An entry of the record.
        limits: Limits.
    """
    checked = collect(image)
    if checked.size is not None:
        _check_duplicates(checked)
        _check_sides(checked, checked.size, limits)
    return checked


def collect(image: Image) -> Checked:
    """Reads an image and its objects; reports those that cannot be used.

    Args:
        image: Image. An entry of the record.
    """
    checked = Checked(image)
    size = checked.size = _check_file(checked)
    if size is None:
        return checked
    for instance in image.instances:
        if instance.shape is None:
            _check_box(checked, instance, size)
        else:
            _check_shape(checked, instance, size)
    return checked


def hash_pixels(pixels: np.ndarray) -> str:
    """Returns a hash of a decoded image, equal for equal pixels in any file format."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _check_file(checked: Checked) -> tuple[int, int] | None:
    """Reads the image; returns the (height, width) of its annotations, or None if it is useless."""
    image = checked.image
    if image.path is None or not os.path.isfile(image.path):
        checked.report("missing image", "", "there is no such file. Check the image folder.")
        return None
    try:
        upright = read_image(image.path)
        found = upright.shape[:2]
        size = annotated_size(image) or found
    except (ValueError, OSError) as error:
        checked.report("unreadable image", "", str(error).removeprefix(f"{image.path}: "))
        return None
    checked.pixels = hash_pixels(upright)
    if size == found:
        return size
    if size == read_image(image.path, upright=False).shape[:2]:
        checked.report(
            "EXIF rotation",
            "",
            f"its EXIF data turn it to {found[0]}x{found[1]} (height x width), but the annotations "
            f"are for {size[0]}x{size[1]}. They are read so here; other programs may not. Save the "
            "image without the rotation.",
        )
        return size
    checked.report(
        "wrong size",
        "",
        f"it is annotated as {size[0]}x{size[1]} (height x width), but the file has "
        f"{found[0]}x{found[1]}. Use the image that was annotated, or correct the size.",
    )
    return None


# --- Objects -------------------------------------------------------------------------------------
def _check_box(checked, instance, size):
    """Checks an object that is a box alone."""
    if instance.box is None:
        text = "it has neither a shape nor a box. Remove it."
        checked.report("empty object", instance.name, text, instance)
        return
    y1, x1, y2, x2 = instance.box
    if y2 <= y1 or x2 <= x1:
        text = f"its box {_plain(instance.box)} (y1, x1, y2, x2) has no area. Remove it."
        checked.report("empty box", instance.name, text, instance)
        return
    if max(-y1, -x1, y2 - size[0], x2 - size[1]) > OUTSIDE_PIXELS:
        checked.report(
            "outside",
            instance.name,
            f"its box {_plain(instance.box)} (y1, x1, y2, x2) leaves the image of "
            f"{size[0]}x{size[1]} (height x width). What lies outside is cut off.",
            instance,
        )
    area = (y2 - y1) * (x2 - x1)
    checked.objects.append(Object(instance, instance.name, area, instance.box))


def _check_shape(checked, instance, size):
    """Checks an object that has a shape, or all objects of a label image."""
    height, width = size
    alone = replace(checked.image, height=height, width=width, instances=[instance])
    try:
        codes = [code for _, code in iterate_rles(alone)]
    except (ValueError, OSError) as error:
        checked.report("unreadable mask", instance.name, str(error))
        return
    if isinstance(instance.shape, Polygons):
        outside = overhang(instance.shape.points, size)
        if outside > OUTSIDE_PIXELS:
            text = f"its outline leaves the image by {outside:.0f} pixels, which are cut off."
            checked.report("outside", instance.name, text, instance)
        point = crossing(instance.shape.points)
        if point is not None:
            text = f"its outline crosses itself near x {point[0]:.0f}, y {point[1]:.0f}. Redraw it."
            checked.report("self-crossing", instance.name, text)
    for number, code in enumerate(codes, 1):
        name = f"label {number}" if is_label_image(instance.shape) else instance.name
        _check_mask(checked, instance, name, code)


def _check_mask(checked, instance, name, code):
    """Checks a mask as a run-length code, and the box that was given with it."""
    area = int(coco_mask.area(code))
    if not area:
        text = "its mask has no pixel. Remove it, or draw it again."
        checked.report("empty mask", name, text, instance)
        return
    bounds = rle_region(code)
    if area == 1:
        text = "its mask is a single pixel. Remove it, or draw it again."
        checked.report("one pixel", name, text)
    if instance.box is not None:
        overlap = xywh_overlaps(to_xywh([instance.box]), to_xywh([bounds]))[0, 0]
        apart = np.abs(np.subtract(instance.box, bounds)).max()
        if overlap < BOX_IOU and apart > BOX_PIXELS:
            checked.report(
                "box and mask",
                name,
                f"its box {_plain(instance.box)} is not that of its mask, {_plain(bounds)} (y1, "
                "x1, y2, x2). COCO writes boxes as x, y, width, height. Correct or remove the box.",
                instance,
            )
    checked.objects.append(Object(instance, name, area, bounds, code))


def _plain(box):
    return tuple(round(float(side), 1) for side in box)


def _check_duplicates(checked):
    """Reports pairs of objects of one class that are the same object."""
    groups = defaultdict(list)
    for found in checked.objects:
        if not found.instance.crowd:
            groups[found.instance.class_id, found.code is None].append(found)
    for (_, only_boxes), group in groups.items():
        if only_boxes:
            boxes = to_xywh([found.box for found in group])
            overlaps = xywh_overlaps(boxes, boxes)
        else:
            codes = [found.code for found in group]
            overlaps = rle_overlaps(codes, codes)
        for first, second in np.argwhere(np.triu(overlaps > DUPLICATE_IOU, 1)):
            checked.report(
                "duplicate object",
                group[second].name,
                f"it is the same as {group[first].name} (IoU {overlaps[first, second]:.2f}). "
                "Remove one of them.",
                group[second].instance,
            )


def _check_sides(checked, size, limits):
    """Reports objects that are too small for the network after resizing."""
    scale = min(limits.image_size / max(size), 1.0)
    for found in checked.objects:
        height = (found.box[2] - found.box[0]) * scale
        width = (found.box[3] - found.box[1]) * scale
        if min(height, width) < MIN_SIDE and found.area > 1:
            checked.report(
                "too small",
                found.name,
                f"it is {height:.0f}x{width:.0f} pixels (height x width) at an image size of "
                f"{limits.image_size}; below {MIN_SIDE:.0f} the network hardly sees it. Raise the "
                "image size, or cut the images into tiles.",
            )
