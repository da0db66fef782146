"""Instances of one image at the size of the network's input: each mask only inside its box.

Hundreds of small instances in a large image never become one array [H, W, N] here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mrcnn.images.fit import FitPlan, resize
from mrcnn.images.masks import mask_bounds, minimize_crop


class Instances(NamedTuple):
    """Instances with at least one pixel.

    Attributes:
        class_ids: int32 [N], negative for a crowd.
        boxes: int32 [N, 4], y1, x1, y2, x2 in pixels, upper bounds exclusive.
        crops: list of N bool arrays [box height, box width]. Each mask inside its box.
    """

    class_ids: np.ndarray
    boxes: np.ndarray
    crops: list

    def take(self, rows: np.ndarray) -> Instances:
        """Returns the instances with the given numbers, in their order."""
        return Instances(self.class_ids[rows], self.boxes[rows], [self.crops[row] for row in rows])

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


def from_masks(masks: np.ndarray, class_ids: np.ndarray, plan: FitPlan) -> Instances:
    """Scales and crops masks as planned; instances left without a pixel are dropped.

    Each mask is scaled on its own (area average or bilinear); values of at least one half are
    inside.

    Args:
        masks: bool [H, W, N].
        class_ids: int [N], negative for crowds.
        plan: FitPlan. How the image is scaled and cropped.

    Returns:
        Instances.
    """
    boxes, crops, kept = [], [], []
    for index in range(masks.shape[-1]):
        fitted = _fit_mask(masks[..., index], plan)
        bounds = mask_bounds(fitted) if fitted is not None else None
        if bounds is None:
            continue
        y1, x1, y2, x2 = bounds
        top, left = plan.origin
        boxes.append((y1 + top, x1 + left, y2 + top, x2 + left))
        crops.append(fitted[y1:y2, x1:x2].copy())
        kept.append(class_ids[index])
    return _pack(kept, boxes, crops)


def _fit_mask(mask, plan):
    """Returns one mask in the kept part of the scaled image, bool, or None if it is empty."""
    (y, x), (height, width) = plan.offset, plan.valid_shape
    if plan.scaled_shape == mask.shape:  # only cropped
        return mask[y : y + height, x : x + width] != 0
    if not mask.any():
        return None
    soft = resize((mask != 0).astype(np.uint8) * np.uint8(255), plan.scaled_shape)
    return soft[y : y + height, x : x + width] >= 128


def from_labels(labels: np.ndarray, class_ids: np.ndarray, plan: FitPlan) -> Instances:
    """Scales a label image as planned, by nearest neighbor; empty instances are dropped.

    Args:
        labels: int [H, W]. 0 for nothing and i + 1 for instance i.
        class_ids: int [N], negative for crowds.
        plan: FitPlan. How the image is scaled and cropped.

    Returns:
        Instances.
    """
    labels = labels[
        _source_rows(0, labels.shape, plan)[:, None], _source_rows(1, labels.shape, plan)[None]
    ]
    ys, xs = np.nonzero(labels)
    numbers = labels[ys, xs].astype(np.int64) - 1
    count = len(class_ids)
    low = np.full((count, 2), np.iinfo(np.int32).max, np.int32)
    high = np.zeros((count, 2), np.int32)
    for axis, places in enumerate((ys, xs)):
        np.minimum.at(low[:, axis], numbers, places.astype(np.int32))
        np.maximum.at(high[:, axis], numbers, places.astype(np.int32) + 1)
    kept = np.flatnonzero(high[:, 0])
    boxes = np.concatenate([low, high], axis=1)[kept]
    crops = [
        labels[y1:y2, x1:x2] == number + 1
        for number, (y1, x1, y2, x2) in zip(kept, boxes, strict=True)
    ]
    return _pack(np.asarray(class_ids)[kept], boxes + np.tile(plan.origin, 2), crops)


def _source_rows(axis, shape, plan):
    """Returns the pixel of the source under the center of each kept pixel, along one axis."""
    places = np.arange(plan.valid_shape[axis]) + plan.offset[axis] + 0.5
    source = np.floor(places * shape[axis] / plan.scaled_shape[axis]).astype(np.int64)
    return np.minimum(source, shape[axis] - 1)


def _pack(class_ids, boxes, crops):
    return Instances(
        np.asarray(class_ids, np.int32).reshape(-1),
        np.asarray(boxes, np.int32).reshape(-1, 4),
        crops,
    )


def masks_from_boxes(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draws boxes as filled rectangles, so that boxes and masks are augmented in one way.

    Args:
        boxes: array [N, 4], y1, x1, y2, x2 in pixels.
        shape: (H, W) of the image.

    Returns:
        bool [H, W, N].
    """
    masks = np.zeros((*shape, len(boxes)), bool)
    limit = np.array([*shape, *shape])
    edges = np.clip(np.rint(boxes), 0, limit).astype(int).reshape(-1, 4)
    for index, (y1, x1, y2, x2) in enumerate(edges):
        masks[y1:y2, x1:x2, index] = True
    return masks
