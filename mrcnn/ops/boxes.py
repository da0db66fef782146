"""Arithmetic of boxes [y1, x1, y2, x2], float32 pixels, upper bounds exclusive."""

from __future__ import annotations

import math

from keras import ops

# The smallest side, in pixels, that encode and decode reckon with. It keeps logarithms and
# quotients finite for the zero rows that pad a batch; real boxes are larger.
EPSILON = 1e-6
# No box grows by more than this factor, in logarithm: Detectron's BBOX_XFORM_CLIP.
DELTA_CLAMP = math.log(1000 / 16)
_INCLUDED = (0.0, 0.0, 1.0, 1.0)  # what upper bounds are above the last pixel


def area(boxes):
    """Area of boxes [..., 4] as [...]; 0 where a side is not positive."""
    height = ops.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
    width = ops.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
    return height * width


def iou(boxes1, boxes2):
    """Intersection over union of every box with every other.

    Sides are y2 - y1 and x2 - x1 (no "+ 1").

    Args:
        boxes1: [..., N, 4].
        boxes2: [..., M, 4], leading dimensions as in `boxes1` or broadcast with them.

    Returns:
        [..., N, M] in 0..1; 0, never NaN, where both boxes are empty.
    """
    y1, x1, y2, x2 = (boxes1[..., :, None, i] for i in range(4))
    v1, u1, v2, u2 = (boxes2[..., None, :, i] for i in range(4))
    height = ops.maximum(ops.minimum(y2, v2) - ops.maximum(y1, v1), 0.0)
    width = ops.maximum(ops.minimum(x2, u2) - ops.maximum(x1, u1), 0.0)
    intersection = height * width
    union = area(boxes1)[..., :, None] + area(boxes2)[..., None, :] - intersection
    positive = union > 0
    return ops.where(positive, intersection / ops.where(positive, union, 1.0), 0.0)


def encode(boxes, gt, std):
    """Deltas that move `boxes` onto `gt` (R-CNN, Girshick et al. 2014, appendix C).

    Args:
        boxes: [..., 4], anchors or proposals.
        gt: [..., 4], the boxes to reach.
        std: four numbers that the deltas are divided by. (.1, .1, .2, .2) is what others call
            weights (10, 10, 5, 5).

    Returns:
        [..., 4]: shift of the centre in heights and widths of `boxes`, logarithm of the ratio of
        heights and of widths. Finite also for empty boxes, whose sides count as 1e-6 pixels; such
        deltas are of no use and are to be masked out.
    """
    y, x, height, width = _centre_and_size(boxes)
    gt_y, gt_x, gt_height, gt_width = _centre_and_size(gt)
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


def decode(boxes, deltas, std, clamp=DELTA_CLAMP):
    """Moves `boxes` by `deltas`: the inverse of `encode`.

    Args:
        boxes: [..., 4].
        deltas: [..., 4], (dy, dx, dh, dw).
        std: four numbers that the deltas are multiplied with.
        clamp: upper bound of dh and dw before exp, after std (Detectron); there is no lower one.

    Returns:
        [..., 4], not clipped to any image.
    """
    deltas = deltas * _row(std)
    height, width = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    y = boxes[..., 0] + 0.5 * height + deltas[..., 0] * height
    x = boxes[..., 1] + 0.5 * width + deltas[..., 1] * width
    height = height * ops.exp(ops.minimum(deltas[..., 2], clamp))
    width = width * ops.exp(ops.minimum(deltas[..., 3], clamp))
    return ops.stack(
        [y - 0.5 * height, x - 0.5 * width, y + 0.5 * height, x + 0.5 * width], axis=-1
    )


def clip(boxes, height, width):
    """Boxes [..., 4] cut to the image: y into 0..height, x into 0..width (numbers or tensors)."""
    height, width = ops.cast(height, "float32"), ops.cast(width, "float32")
    limit = ops.stack([height, width, height, width])
    return ops.minimum(ops.maximum(boxes, 0.0), limit)


def clip_to_window(boxes, window):
    """Boxes [batch, n, 4] cut to a window [batch, 4] of each image."""
    low, high = window[:, None, :2], window[:, None, 2:]
    boxes = ops.maximum(boxes, ops.concatenate([low, low], axis=-1))
    return ops.minimum(boxes, ops.concatenate([high, high], axis=-1))


def normalise(boxes, height, width):
    """Pixel boxes [..., 4] in coordinates where 0 and 1 are the first and the last pixel.

    Upper bounds become included ones: a box of one pixel has no size (Matterport's convention).
    """
    height, width = ops.cast(height, "float32") - 1.0, ops.cast(width, "float32") - 1.0
    return (boxes - _row(_INCLUDED)) / ops.stack([height, width, height, width])


def _centre_and_size(boxes):
    height, width = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    y, x = boxes[..., 0] + 0.5 * height, boxes[..., 1] + 0.5 * width
    return y, x, ops.maximum(height, EPSILON), ops.maximum(width, EPSILON)


def _row(std):
    return ops.convert_to_tensor([float(value) for value in std], dtype="float32")
