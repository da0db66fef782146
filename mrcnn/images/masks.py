"""Masks of instances: bounds, mini masks, pasting into an image, run-length codes.

At the user's door masks are bool [H, W, N]. OpenCV caps arrays at 128 channels and is wrong above
64 in places, so every function here handles one instance at a time.
"""

from __future__ import annotations

import cv2
import numpy as np

from mrcnn.images.fit import resize


def boxes_from_masks(masks) -> np.ndarray:
    """Bounds of masks.

    Args:
        masks: [H, W, N], bool or numbers (not zero: inside).

    Returns:
        float32 [N, 4]: y1, x1, y2, x2 in pixels, upper bound exclusive; zeros for an empty mask.
    """
    masks = np.asarray(masks)
    boxes = np.zeros((masks.shape[-1], 4), np.float32)
    if masks.size == 0:
        return boxes
    rows, cols = masks.any(axis=1), masks.any(axis=0)  # [H, N], [W, N]
    filled = rows.any(axis=0)
    boxes[:, 0] = rows.argmax(axis=0)
    boxes[:, 1] = cols.argmax(axis=0)
    boxes[:, 2] = rows.shape[0] - rows[::-1].argmax(axis=0)
    boxes[:, 3] = cols.shape[0] - cols[::-1].argmax(axis=0)
    boxes[~filled] = 0
    return boxes


def mask_bounds(mask) -> tuple[int, int, int, int] | None:
    """(y1, x1, y2, x2) of one mask [H, W], upper bound exclusive; None when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    cols = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def minimize_crop(crop, shape) -> np.ndarray:
    """Scales one mask to a fixed shape, as soft values.

    Area average on an axis that shrinks, bilinear on one that grows.

    Args:
        crop: bool [h, w], at least one pixel.
        shape: (mh, mw).

    Returns:
        uint8 [mh, mw], 0..255.
    """
    return resize(np.ascontiguousarray(crop, dtype=np.uint8) * np.uint8(255), shape)


def minimize_masks(masks, boxes, shape) -> np.ndarray:
    """Crops each mask to its box and scales it to a fixed shape.

    Args:
        masks: bool [H, W, N].
        boxes: [N, 4], pixels; rounded to whole pixels. A box without area gives zeros.
        shape: (mh, mw).

    Returns:
        uint8 [N, mh, mw], 0..255, soft edges.
    """
    minis = np.zeros((masks.shape[-1], *shape), np.uint8)
    for index, (y1, x1, y2, x2) in enumerate(np.rint(boxes).astype(int)):
        crop = masks[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0), index]
        if crop.size:
            minis[index] = minimize_crop(crop, shape)
    return minis


def paste_mask(mask, box, image_shape, threshold=0.5):
    """Puts a predicted mask into its image, computed only where it can be.

    Detectron2's rule: the centre (y + .5, x + .5) of a pixel lies at
    u = (y + .5 - y1) / (y2 - y1) * mh - .5 in the mask, sampled bilinearly, zero outside.

    Args:
        mask: [mh, mw], 0..1.
        box: y1, x1, y2, x2, float pixels; may reach over the border of the image.
        image_shape: (H, W).
        threshold: a pixel belongs to the object from this value on.

    Returns:
        (crop, region): crop bool [h, w] and region (y1, x1, y2, x2), int, inside the image, of the
        same size. Everything outside the region is False. A box without area, or outside the
        image, gives an empty crop.
    """
    mask = np.asarray(mask, np.float32)
    y1, x1, y2, x2 = (float(value) for value in box)
    top, wy = _paste_weights(y1, y2, mask.shape[0], int(image_shape[0]))
    left, wx = _paste_weights(x1, x2, mask.shape[1], int(image_shape[1]))
    crop = wy @ mask @ wx.T >= threshold
    return crop, (top, left, top + crop.shape[0], left + crop.shape[1])


def paste_bordered_mask(mask, box, image_shape, threshold=0.5):
    """Puts a predicted mask into its image by torchvision's rule.

    The mask gets a border of zeros, and its box grows with it about its centre; the box is cut to
    whole pixels, both bounds included, and the mask is scaled to it.

    Args, returns: as `paste_mask`.
    """
    mask = np.asarray(mask, np.float32)
    box = np.asarray(box, np.float32)
    growth = np.float32([(side + 2) / side for side in mask.shape])
    centre, half = (box[2:] + box[:2]) * 0.5, (box[2:] - box[:2]) * 0.5 * growth
    first, last = np.trunc(centre - half).astype(int), np.trunc(centre + half).astype(int)
    scaled = resize(np.pad(mask, 1), np.maximum(last - first + 1, 1), "bilinear")
    low = np.clip(first, 0, image_shape)
    high = np.maximum(np.clip(last + 1, 0, image_shape), low)
    y1, x1 = low - first
    y2, x2 = high - first
    return scaled[y1:y2, x1:x2] >= threshold, (*low.tolist(), *high.tolist())


def _paste_weights(low, high, cells, size):
    """First pixel and bilinear weights [pixels, cells] of the pixels of one axis."""
    if not high > low:
        return 0, np.zeros((0, cells), np.float32)
    half_cell = (high - low) / cells / 2  # so far outside the box values are above 0
    first = min(max(int(np.floor(low - half_cell)), 0), size)
    last = max(min(int(np.ceil(high + half_cell)), size), first)
    position = (np.arange(first, last) + 0.5 - low) / (high - low) * cells - 0.5
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))
    return first, weights.astype(np.float32)


def instances_first(masks) -> np.ndarray:
    """Masks [H, W, N] (bool, or numbers: above 0.5 is inside) as bool [N, H, W].

    One mask in one piece of memory: looking at them one by one is many times faster.
    """
    height, width, count = masks.shape
    inside = np.ascontiguousarray(masks if masks.dtype == bool else masks > 0.5)
    if not inside.size:
        return np.zeros((count, height, width), bool)
    flat = cv2.transpose(inside.view(np.uint8).reshape(-1, count))  # 10 times NumPy's speed
    return flat.reshape(count, height, width).view(bool)
