"""Non-maximum suppression within groups (pyramid levels, classes) in one go."""

from __future__ import annotations

from keras import ops

from mrcnn.ops import kernels


def grouped_nms(boxes, scores, groups, max_output, iou_threshold):
    """NMS in which only boxes of one group suppress each other.

    Every group is moved to a place of its own, so that boxes of two groups never overlap. The
    places form a square grid one extent of all boxes apart: 80 classes of a 1024 pixel image reach
    coordinate 9,225, where float32 still resolves 0.001 pixels.

    Args:
        boxes: [batch, n, 4]; entries that are not finite are never selected.
        scores: [batch, n]; at or below -1e30: never selected.
        groups: int32 [batch, n] or [n], from 0.
        max_output: rows of the result, over all groups.
        iou_threshold: boxes of one group with IoU above it are duplicates.

    Returns:
        `indices`, int32 [batch, max_output], best score first over all groups, 0 behind the last;
        `valid`, bool [batch, max_output].
    """
    if boxes.shape[1] == 0:
        return kernels.non_max_suppression(boxes, scores, max_output, iou_threshold)
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    usable = ops.logical_and(scores > kernels.NEVER, ops.all(ops.isfinite(boxes), axis=-1))
    scores = ops.where(usable, scores, kernels.NEVER)
    boxes = ops.where(usable[..., None], boxes, 0.0)
    extent = ops.max(boxes, axis=(1, 2)) - ops.min(boxes, axis=(1, 2)) + 1.0
    groups = ops.cast(groups, "float32")
    side = ops.ceil(ops.sqrt(ops.max(groups) + 1.0))  # of the square grid of places
    row = ops.floor(groups / side)
    place = ops.stack([row, groups - row * side], axis=-1)  # [..., n, 2]
    place = ops.concatenate([place, place], axis=-1)
    moved = boxes + place * extent[:, None, None]
    return kernels.non_max_suppression(moved, scores, max_output, iou_threshold)
