"""Masks of instances: their bounds, mini-masks, and pasting into an image.

Users give and get masks as bool [H, W, N]. OpenCV limits arrays to 128 channels and in places
silently fails above 64, so every OpenCV call here gets one instance at a time.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mrcnn.images.fit import resize


def boxes_from_masks(masks: np.ndarray) -> np.ndarray:
    """Returns the bounding boxes of masks.

    Args:
        masks: array [H, W, N], bool or numbers. Pixels that are not zero are inside.

    Returns:
        float32 [N, 4], y1, x1, y2, x2 in pixels, upper bounds exclusive; zeros for an empty mask.
    """
    masks = np.asarray(masks)
    boxes = np.zeros((masks.shape[-1], 4), np.float32)
    if masks.size == 0:
        return boxes
    rows = np.any(masks, axis=1)  # [H, N]
    cols = np.any(masks, axis=0)  # [W, N]
    filled = rows.any(axis=0)
    boxes[:, 0] = rows.argmax(axis=0)
    boxes[:, 1] = cols.argmax(axis=0)
    boxes[:, 2] = rows.shape[0] - rows[::-1].argmax(axis=0)
    boxes[:, 3] = cols.shape[0] - cols[::-1].argmax(axis=0)
    boxes[~filled] = 0
    return boxes


def mask_bounds(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns the bounds of one mask.

    Args:
        mask: array [H, W], bool or numbers. Pixels that are not zero are inside.

    Returns:
        (y1, x1, y2, x2) in pixels, upper bounds exclusive, or None if the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    cols = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def scale_mask(mask: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """Scales a mask, with soft edges; one with pixels never becomes empty.

    An axis that shrinks is averaged by area, one that grows is interpolated linearly. Values of at
    least 128 are inside. A mask that is so thin that less than a quarter of its area would be left
    inside keeps every pixel that a line of one source pixel, drawn through it, would fill to half,
    and at least one.

    Args:
        mask: bool [h, w].
        shape: (height, width) of the result.

    Returns:
        soft: uint8 [height, width], 0..255.
        is_thin: bool. Whether the second rule was needed; `soft` is then 0 or 255.
    """
    values = np.ascontiguousarray(mask, dtype=np.uint8) * np.uint8(255)
    soft = resize(values, shape)
    rows, cols = mask.shape[0] / shape[0], mask.shape[1] / shape[1]  # source pixels per pixel
    if max(rows, cols) <= 1:
        return soft, False
    area = np.count_nonzero(values) / (rows * cols)
    count = np.count_nonzero(soft >= 128)
    if count and area - count <= area / 2 + 2:
        return soft, False
    if not soft.any():  # less than 1/510 of any pixel
        soft = resize(values.astype(np.float32), shape)
    line = 255 / (2 * max(rows, cols))
    return (soft >= min(line, soft.max())) * np.uint8(255), True


def minimize_crop(crop: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scales one mask to the shape of a mini-mask, with soft edges; see `scale_mask`.

    Args:
        crop: bool [h, w], at least one pixel. The mask inside its box.
        shape: (mask_height, mask_width).

    Returns:
        uint8 [mask_height, mask_width], 0..255.
    """
    return scale_mask(crop, shape)[0]


def paste_mask(
    mask: np.ndarray, box: Any, image_shape: tuple[int, ...], threshold: float = 0.5
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Pastes a predicted mask into its image by Detectron2's rule.

    The center (y + .5, x + .5) of a pixel lies at u = (y + .5 - y1) / (y2 - y1) * mask_height - .5
    in the mask, which is sampled bilinearly and zero outside. Only pixels that can be inside are
    computed.

    Args:
        mask: array [mask_height, mask_width], 0..1.
        box: four floats y1, x1, y2, x2 in pixels. May reach beyond the image.
        image_shape: (H, W).
        threshold: float in 0..1. Pixels with at least this value belong to the instance. Defaults
            to 0.5.

    Returns:
        crop: bool [h, w].
        region: (y1, x1, y2, x2), ints, inside the image and of the size of `crop`. Every pixel
            outside the region is False. The crop is empty if the box has no area or lies outside
            the image.
    """
    mask = np.asarray(mask, np.float32)
    # The samples are separable, so two small matrix products paste the mask.
    y1, x1, y2, x2 = (float(value) for value in box)
    top, wy = _paste_weights(y1, y2, mask.shape[0], int(image_shape[0]))
    left, wx = _paste_weights(x1, x2, mask.shape[1], int(image_shape[1]))
    crop = wy @ mask @ wx.T >= threshold
    return crop, (top, left, top + crop.shape[0], left + crop.shape[1])


def paste_bordered_mask(
    mask: np.ndarray, box: Any, image_shape: tuple[int, ...], threshold: float = 0.5
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Pastes a predicted mask into its image by torchvision's rule.

    The mask gets a border of zeros, and its box grows with it about its center. The box is then
    truncated to whole pixels, with both bounds inclusive, and the mask is scaled to it.

    Args:
        mask: array [mask_height, mask_width], 0..1.
        box: four floats y1, x1, y2, x2 in pixels. May reach beyond the image.
        image_shape: (H, W).
        threshold: float in 0..1. Pixels with at least this value belong to the instance. Defaults
            to 0.5.

    Returns:
        `crop` and `region`, as `paste_mask`.
    """
    mask = np.asarray(mask, np.float32)
    box = np.asarray(box, np.float32)
    growth = np.array([(side + 2) / side for side in mask.shape], np.float32)
    center = (box[2:] + box[:2]) * 0.5
    half = (box[2:] - box[:2]) * 0.5 * growth
    first = np.trunc(center - half).astype(int)
    last = np.trunc(center + half).astype(int)
    scaled = resize(np.pad(mask, 1), np.maximum(last - first + 1, 1), "bilinear")
    # The part of the scaled mask that lies inside the image.
    low = np.clip(first, 0, image_shape)
    high = np.maximum(np.clip(last + 1, 0, image_shape), low)
    y1, x1 = low - first
    y2, x2 = high - first
    top, left = low.tolist()
    bottom, right = high.tolist()
    return scaled[y1:y2, x1:x2] >= threshold, (top, left, bottom, right)


def _paste_weights(low, high, cells, size):
    """Returns the first pixel and the bilinear weights [pixels, cells] along one axis."""
    if not high > low:
        return 0, np.zeros((0, cells), np.float32)
    half_cell = (high - low) / cells / 2  # values are above 0 up to this far outside the box
    first = min(max(int(np.floor(low - half_cell)), 0), size)
    last = max(min(int(np.ceil(high + half_cell)), size), first)
    position = (np.arange(first, last) + 0.5 - low) / (high - low) * cells - 0.5
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))
    return first, weights.astype(np.float32)


def instances_first(masks: np.ndarray) -> np.ndarray:
    """Moves the instances of a mask stack to the first axis.

    Each mask is then contiguous in memory, which makes a loop over instances many times faster.

    Args:
        masks: array [H, W, N], bool, or numbers of which those above 0.5 are inside.

    Returns:
        bool [N, H, W].
    """
    height, width, count = masks.shape
    inside = np.ascontiguousarray(masks if masks.dtype == bool else masks > 0.5)
    if not inside.size:
        return np.zeros((count, height, width), bool)
    flat = cv2.transpose(inside.view(np.uint8).reshape(-1, count))  # 10 times as fast as NumPy
    return flat.reshape(count, height, width).view(bool)
