"""Instances of one image, each mask only inside its box: as annotated, and for the network.

Hundreds of small instances in a large image never become one array [H, W, N] here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from scipy.ndimage import find_objects

from mrcnn.data.augment import move, move_region
from mrcnn.images.fit import FitPlan
from mrcnn.images.masks import boxes_from_masks, mask_bounds, minimize_crop, scale_mask
from mrcnn.images.rle import crop_rle

# In the boxes of all masks of one image: decoding that many takes a few seconds. A file of 100 KB
# can name a thousand masks that each cover a large image.
MAX_MASK_PIXELS = 2**30

Region = tuple[int, int, int, int]  # y1, x1, y2, x2 in pixels, upper bounds exclusive


# --- As annotated --------------------------------------------------------------------------------
class SourceMasks:
    """The masks of an image in its own size, each decoded when it is asked for.

    Args:
        shape: (H, W) of the image.
        class_ids: int [N], negative for crowds.
        read: callable. Takes the number of an instance and returns its mask, bool [h, w], and the
            region of it; every pixel outside is False.
        pixels: int. Of all regions together, which are not in memory yet. Defaults to 0.
    """

    def __init__(self, shape: tuple[int, ...], class_ids: Any, read: Callable, pixels: int = 0):
        self.shape = (int(shape[0]), int(shape[1]))
        self.class_ids = np.asarray(class_ids)
        self.read = read
        self.pixels = pixels

    @classmethod
    def from_stack(cls, masks: np.ndarray, class_ids: Any) -> SourceMasks:
        """Takes masks [H, W, N], bool or numbers of which all but 0 are inside; no empty ones."""
        boxes = boxes_from_masks(masks).astype(int)
        filled = np.flatnonzero(boxes[:, 2])

        def read(index):
            y1, x1, y2, x2 = boxes[filled[index]].tolist()
            return masks[y1:y2, x1:x2, filled[index]] != 0, (y1, x1, y2, x2)

        return cls(masks.shape[:2], np.asarray(class_ids)[filled], read)

    @classmethod
    def from_rles(cls, rles: list[dict], class_ids: Any, shape: tuple[int, ...]) -> SourceMasks:
        """Takes run-length codes of masks that are not empty."""
        pixels = sum(int(w) * int(h) for _, _, w, h in map(coco_mask.toBbox, rles))
        return cls(shape, class_ids, lambda index: crop_rle(rles[index]), pixels)

    @classmethod
    def from_boxes(cls, boxes: np.ndarray, class_ids: Any, shape: tuple[int, ...]) -> SourceMasks:
        """Takes boxes [N, 4] as filled rectangles, so that boxes and masks are treated alike.

        Bounds are rounded to whole pixels; a box inside the image has at least one.
        """
        limit = np.array(shape[:2])
        low, high = (np.clip(np.rint(part), 0, limit).astype(int) for part in np.split(boxes, 2, 1))
        low = np.where(high > low, low, np.clip(np.floor(boxes[:, :2]), 0, limit - 1).astype(int))
        high = np.maximum(high, low + 1)
        touching = (boxes[:, :2] < limit).all(1) & (boxes[:, 2:] > 0).all(1)
        filled = np.flatnonzero(touching)

        def read(index):
            (y1, x1), (y2, x2) = low[filled[index]].tolist(), high[filled[index]].tolist()
            return np.broadcast_to(True, (y2 - y1, x2 - x1)), (y1, x1, y2, x2)

        pixels = int(np.prod((high - low)[filled], axis=1).sum())
        return cls(shape, np.asarray(class_ids)[filled], read, pixels)

    def moved(self, left_right: bool, up_down: bool, turns: int) -> SourceMasks:
        """Returns the masks flipped and rotated; see `augment.move`."""

        def read(index):
            crop, region = self.read(index)
            moves = (left_right, up_down, turns)
            return move(crop, *moves), move_region(region, self.shape, *moves)

        shape = self.shape[::-1] if turns % 2 else self.shape
        return SourceMasks(shape, self.class_ids, read, self.pixels)

    def stack(self) -> np.ndarray:
        """Returns the masks as one array, bool [H, W, N]."""
        # Instance by instance in memory: pages of a mask that stay empty are never filled.
        masks = np.zeros((len(self.class_ids), *self.shape), bool)
        for index, mask in enumerate(masks):
            crop, (y1, x1, y2, x2) = self.read(index)
            mask[y1:y2, x1:x2] = crop
        return np.moveaxis(masks, 0, -1)


# --- For the network -----------------------------------------------------------------------------
class Instances(NamedTuple):
    """Instances with at least one pixel, at the size of the network's input.

    Attributes:
        class_ids: int32 [N], negative for a crowd.
        boxes: int32 [N, 4], y1, x1, y2, x2 in pixels, upper bounds exclusive.
        crops: list of N bool arrays [box height, box width]. Each mask inside its box.
        thin: bool [N]. Whether the instance would have lost most of its pixels, or all of them; see
            `images.masks.scale_mask`.
    """

    class_ids: np.ndarray
    boxes: np.ndarray
    crops: list
    thin: np.ndarray

    def take(self, rows: np.ndarray) -> Instances:
        """Returns the instances with the given numbers, in their order."""
        crops = [self.crops[row] for row in rows]
        return Instances(self.class_ids[rows], self.boxes[rows], crops, self.thin[rows])

    def full_masks(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the masks in the whole image of a shape (H, W), uint8 [N, H, W], 0 or 255."""
        masks = np.zeros((len(self.crops), *shape), np.uint8)
        for mask, (y1, x1, y2, x2), crop in zip(masks, self.boxes, self.crops, strict=True):
            mask[y1:y2, x1:x2] = crop * np.uint8(255)
        return masks

    def mini_masks(self, shape: tuple[int, int]) -> np.ndarray:
        """Returns the masks inside their boxes, scaled to one shape, uint8 [N, *shape], 0..255."""
        masks = np.zeros((len(self.crops), *shape), np.uint8)
        for mask, crop in zip(masks, self.crops, strict=True):
            mask[:] = minimize_crop(crop, shape)
        return masks


def from_masks(masks: SourceMasks, plan: FitPlan) -> Instances:
    """Scales and crops masks as planned; instances outside the planned part are dropped.

    Each mask is scaled on its own (area average or bilinear); values of at least one half are
    inside.

    Args:
        masks: SourceMasks.
        plan: FitPlan. How the image is scaled and cropped.

    Returns:
        Instances.

    Raises:
        ValueError: if the masks are too many and too large to be decoded.
    """
    if masks.pixels > MAX_MASK_PIXELS:
        raise ValueError(
            f"the boxes of its masks have {masks.pixels} pixels together, more than "
            f"{MAX_MASK_PIXELS}. Cut the image into tiles."
        )
    found = []
    for index, class_id in enumerate(masks.class_ids.tolist()):
        crop, region = masks.read(index)
        fitted = _fit_crop(crop, region, masks.shape, plan)
        if fitted is not None:
            found.append((class_id, *fitted))
    return _pack(found, plan)


def from_labels(labels: np.ndarray, class_ids: np.ndarray, plan: FitPlan) -> Instances:
    """Scales a label image as planned, by nearest neighbor.

    Instances that this loses are scaled as masks, so that each keeps at least one pixel.

    Args:
        labels: int [H, W]. 0 for nothing and i + 1 for instance i.
        class_ids: int [N], negative for crowds.
        plan: FitPlan. How the image is scaled and cropped.

    Returns:
        Instances.
    """
    fitted = labels[
        _source_rows(0, labels.shape, plan)[:, None], _source_rows(1, labels.shape, plan)[None]
    ]
    class_ids = np.asarray(class_ids).tolist()
    if not class_ids:
        return _pack([], plan)
    places = find_objects(fitted, max_label=len(class_ids))
    lost: list = []
    if plan.scaled_shape[0] < labels.shape[0] or plan.scaled_shape[1] < labels.shape[1]:
        lost = find_objects(labels, max_label=len(class_ids)) if None in places else []
    found = []
    for index, place in enumerate(places):
        if place is not None:
            box = [place[0].start, place[1].start, place[0].stop, place[1].stop]
            found.append((class_ids[index], box, fitted[place] == index + 1, False))
        elif lost and lost[index] is not None:
            rows, cols = lost[index]
            region = (rows.start, cols.start, rows.stop, cols.stop)
            kept = _fit_crop(labels[rows, cols] == index + 1, region, labels.shape, plan)
            # One that is not thin lies outside the planned part, and only touches it.
            if kept is not None and kept[-1]:
                found.append((class_ids[index], *kept))
    return _pack(found, plan)


def _fit_crop(crop, region, shape, plan):
    """Returns (box in the planned part, mask in it, whether it is thin) of one mask, or None."""
    (y1, y2), (top, bottom) = _window(region[0], region[2], shape[0], plan.scaled_shape[0])
    (x1, x2), (left, right) = _window(region[1], region[3], shape[1], plan.scaled_shape[1])
    part = np.zeros((y2 - y1, x2 - x1), bool)
    part[region[0] - y1 : region[2] - y1, region[1] - x1 : region[3] - x1] = crop
    is_thin = False
    if plan.scaled_shape != shape:
        soft, is_thin = scale_mask(part, (bottom - top, right - left))
        part = soft >= 128
    # From the scaled image into the part of it that is kept.
    (y, x), (height, width) = plan.offset, plan.valid_shape
    down, across = max(y - top, 0), max(x - left, 0)
    part = part[down : max(y + height - top, 0), across : max(x + width - left, 0)]
    bounds = mask_bounds(part)
    if bounds is None:
        return None
    y1, x1, y2, x2 = bounds
    down, across = down + top - y, across + left - x
    box = [y1 + down, x1 + across, y2 + down, x2 + across]
    return box, part[y1:y2, x1:x2].copy(), is_thin


def _window(low, high, size, scaled):
    """Returns the smallest range around low..high whose bounds are whole pixels after scaling.

    Scaling it gives the same pixels as scaling the whole axis. Where the axis grows, pixels are
    interpolated across any bound: then it is the whole axis.

    Returns:
        Two ranges (start, stop): in the source, and after scaling.
    """
    if scaled > size:
        return (0, size), (0, scaled)
    step = size // math.gcd(size, scaled)
    start, stop = low // step * step, min(-(-high // step) * step, size)
    return (start, stop), (start * scaled // size, stop * scaled // size)


def _source_rows(axis, shape, plan):
    """Returns the pixel of the source under the center of each kept pixel, along one axis."""
    places = np.arange(plan.valid_shape[axis]) + plan.offset[axis] + 0.5
    source = np.floor(places * shape[axis] / plan.scaled_shape[axis]).astype(np.int64)
    return np.minimum(source, shape[axis] - 1)


def _pack(found, plan):
    """Makes Instances of a list of (class_id, box in the planned part, crop, is_thin)."""
    class_ids, boxes, crops, thin = zip(*found, strict=True) if found else ((), (), (), ())
    return Instances(
        np.asarray(class_ids, np.int32).reshape(-1),
        np.asarray(boxes, np.int32).reshape(-1, 4) + np.tile(plan.origin, 2).astype(np.int32),
        list(crops),
        np.asarray(thin, bool),
    )
