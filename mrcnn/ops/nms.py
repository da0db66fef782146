"""Non-maximum suppression within groups (pyramid levels or classes), all groups at once."""

from __future__ import annotations

from typing import Any

from keras import ops

from mrcnn.ops import kernels


def grouped_nms(
    boxes: Any, scores: Any, groups: Any, max_output: int, iou_threshold: float
) -> tuple[Any, Any]:
    """Applies NMS in which only boxes of the same group suppress each other.

    The groups are moved apart, so that boxes of different groups never overlap, and NMS runs once.
    They form a square grid whose spacing is the extent of all boxes: the 80 classes of an image of
    1024 pixels reach coordinate 9,225, where float32 still resolves 0.001 pixels.

    Args:
        boxes: tensor `[batch, n, 4]`. Boxes with a NaN or infinite coordinate are never selected.
        scores: tensor `[batch, n]`. Entries at or below -1e30 are never selected.
        groups: int32 tensor `[batch, n]` or `[n]`. Group of each box, from 0.
        max_output: int. Number of rows of the result, over all groups.
        iou_threshold: float in 0..1. Boxes of one group with a greater IoU are duplicates.

    Returns:
        indices: int32 `[batch, max_output]`, best score first over all groups, then zeros.
        valid: bool `[batch, max_output]`, which rows of `indices` are selected boxes.
        There is no gradient.
    """
    if boxes.shape[1] == 0:
        return kernels.non_max_suppression(boxes, scores, max_output, iou_threshold)
    boxes = ops.stop_gradient(boxes)
    scores = ops.stop_gradient(scores)
    usable = ops.logical_and(scores > kernels.NEVER, ops.all(ops.isfinite(boxes), axis=-1))
    scores = ops.where(usable, scores, kernels.NEVER)
    boxes = ops.where(usable[..., None], boxes, 0.0)
    extent = ops.max(boxes, axis=(1, 2)) - ops.min(boxes, axis=(1, 2)) + 1.0
    groups = ops.cast(groups, "float32")
    side = ops.ceil(ops.sqrt(ops.max(groups) + 1.0))  # groups per side of the grid
    row = ops.floor(groups / side)
    place = ops.stack([row, groups - row * side], axis=-1)  # [..., n, 2]
    place = ops.concatenate([place, place], axis=-1)  # [..., n, 4]
    moved = boxes + place * extent[:, None, None]
    return kernels.non_max_suppression(moved, scores, max_output, iou_threshold)
