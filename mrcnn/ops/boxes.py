"""Arithmetic of boxes `[y1, x1, y2, x2]`, float32 pixels, upper bounds exclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

# `encode` treats any shorter side as one of this many pixels. That keeps logarithms and quotients
# finite for the rows of zeros that pad a batch; real boxes are larger.
EPSILON = 1e-6
# Upper bound of the logarithm of a box's growth: Detectron's BBOX_XFORM_CLIP.
DELTA_CLAMP = math.log(1000 / 16)
# Subtracted to turn exclusive upper bounds into inclusive ones.
_INCLUSIVE = (0.0, 0.0, 1.0, 1.0)


def area(boxes: Any) -> Any:
    """Returns the areas of boxes.

    Args:
        boxes: tensor `[..., 4]`.

    Returns:
        `[...]`, 0 where a side is not positive.
    """
    height = ops.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
    width = ops.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
    return height * width


def iou(boxes1: Any, boxes2: Any) -> Any:
    """Returns the intersection over union of every box with every other.

    Sides are y2 - y1 and x2 - x1 (no "+ 1").

    Args:
        boxes1: tensor `[..., N, 4]`.
        boxes2: tensor `[..., M, 4]`. Its leading dimensions equal those of `boxes1` or broadcast
            with them.

    Returns:
        `[..., N, M]` in 0..1; 0, never NaN, where both boxes are empty.
    """
    y1, x1, y2, x2 = (boxes1[..., :, None, i] for i in range(4))  # [..., N, 1] each
    v1, u1, v2, u2 = (boxes2[..., None, :, i] for i in range(4))  # [..., 1, M] each
    height = ops.maximum(ops.minimum(y2, v2) - ops.maximum(y1, v1), 0.0)
    width = ops.maximum(ops.minimum(x2, u2) - ops.maximum(x1, u1), 0.0)
    intersection = height * width
    union = area(boxes1)[..., :, None] + area(boxes2)[..., None, :] - intersection
    # The inner `where` keeps the division, and so its gradient, away from 0 / 0.
    positive = union > 0
    return ops.where(positive, intersection / ops.where(positive, union, 1.0), 0.0)


def encode(boxes: Any, gt: Any, std: Sequence[float]) -> Any:
    """Computes the deltas that move `boxes` onto `gt` (R-CNN, Girshick et al. 2014, appendix C).

    Args:
        boxes: tensor `[..., 4]`. Anchors or proposals.
        gt: tensor `[..., 4]`. The ground-truth boxes to reach.
        std: sequence of four floats. Standard deviations by which the deltas are divided.
            (0.1, 0.1, 0.2, 0.2) is what other implementations call weights (10, 10, 5, 5).

    Returns:
        `[..., 4]`, (dy, dx, dh, dw): the shift of the center as a fraction of the box's height and
        width, and the logarithms of the ratios of heights and of widths. Deltas of empty boxes
        are finite too, because their sides count as 1e-6 pixels, but have no meaning: mask them
        out.
    """
    y, x, height, width = _center_and_size(boxes)
    gt_y, gt_x, gt_height, gt_width = _center_and_size(gt)
    deltas = ops.stack(
        [
            (gt_y - y) / height,
            (gt_x - x) / width,
            ops.log(gt_height / height),
            ops.log(gt_width / width),
        ],
        axis=-1,
    )
    return deltas / _row(std)


def decode(boxes: Any, deltas: Any, std: Sequence[float], clamp: float = DELTA_CLAMP) -> Any:
    """Moves `boxes` by `deltas`: the inverse of `encode`.

    Args:
        boxes: tensor `[..., 4]`.
        deltas: tensor `[..., 4]`, (dy, dx, dh, dw).
        std: sequence of four floats. Standard deviations by which the deltas are multiplied.
        clamp: float. Upper bound of dh and dw after the multiplication by `std`, as in Detectron.
            There is no lower bound. Defaults to log(1000 / 16).

    Returns:
        `[..., 4]`, not clipped to any image.
    """
    deltas = deltas * _row(std)
    height = boxes[..., 2] - boxes[..., 0]
    width = boxes[..., 3] - boxes[..., 1]
    y = boxes[..., 0] + 0.5 * height + deltas[..., 0] * height
    x = boxes[..., 1] + 0.5 * width + deltas[..., 1] * width
    height = height * ops.exp(ops.minimum(deltas[..., 2], clamp))
    width = width * ops.exp(ops.minimum(deltas[..., 3], clamp))
    return ops.stack(
        [y - 0.5 * height, x - 0.5 * width, y + 0.5 * height, x + 0.5 * width], axis=-1
    )


def clip(boxes: Any, height: Any, width: Any) -> Any:
    """Clips boxes to an image.

    Args:
        boxes: tensor `[..., 4]`.
        height: number or scalar tensor. y is clipped to 0..height.
        width: number or scalar tensor. x is clipped to 0..width.

    Returns:
        `[..., 4]`.
    """
    height = ops.cast(height, "float32")
    width = ops.cast(width, "float32")
    limit = ops.stack([height, width, height, width])
    return ops.minimum(ops.maximum(boxes, 0.0), limit)


def clip_to_window(boxes: Any, window: Any) -> Any:
    """Clips the boxes of each image to a window of that image.

    Args:
        boxes: tensor `[batch, n, 4]`.
        window: tensor `[batch, 4]`, in the coordinates of `boxes`.

    Returns:
        `[batch, n, 4]`.
    """
    low = window[:, None, :2]
    high = window[:, None, 2:]
    boxes = ops.maximum(boxes, ops.concatenate([low, low], axis=-1))
    return ops.minimum(boxes, ops.concatenate([high, high], axis=-1))


def normalize(boxes: Any, height: Any, width: Any) -> Any:
    """Converts pixel boxes to coordinates in which 0 and 1 are the first and the last pixel.

    Upper bounds become inclusive, so that a box of one pixel has no extent (Matterport's
    convention).

    Args:
        boxes: tensor `[..., 4]` in pixels.
        height: number or scalar tensor. Height of the image in pixels.
        width: number or scalar tensor. Width of the image in pixels.

    Returns:
        `[..., 4]`.
    """
    height = ops.cast(height, "float32") - 1.0
    width = ops.cast(width, "float32") - 1.0
    return (boxes - _row(_INCLUSIVE)) / ops.stack([height, width, height, width])


def _center_and_size(boxes):
    """Returns y and x of the centers, heights and widths (at least EPSILON), `[...]` each."""
    height = boxes[..., 2] - boxes[..., 0]
    width = boxes[..., 3] - boxes[..., 1]
    y = boxes[..., 0] + 0.5 * height
    x = boxes[..., 1] + 0.5 * width
    return y, x, ops.maximum(height, EPSILON), ops.maximum(width, EPSILON)


def _row(values):
    """Returns four numbers as float32 `[4]`."""
    return ops.convert_to_tensor([float(value) for value in values], dtype="float32")
