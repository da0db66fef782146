"""Matterport's arithmetic of boxes and anchors, in NumPy.

Boxes are `[y1, x1, y2, x2]`. Upper bounds of pixel boxes are exclusive, those of normalized boxes
inclusive: 0 and 1 are the first and the last pixel of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.dialects.matterport import denorm_boxes, norm_boxes  # noqa: F401 - old names
from mrcnn.images.masks import boxes_from_masks


def extract_bboxes(mask: np.ndarray) -> np.ndarray:
    """Returns the bounding boxes of masks.

    Args:
        mask: array `[H, W, N]` of any dtype.

    Returns:
        int32 `[N, 4]` in pixels; zeros for an empty mask.
    """
    return boxes_from_masks(mask).astype(np.int32)


def compute_iou(box: Any, boxes: np.ndarray, box_area: Any, boxes_area: Any) -> np.ndarray:
    """Returns the IoU of one box with others.

    Args:
        box: array `[4]`.
        boxes: array `[N, 4]`.
        box_area: float. Area of `box`.
        boxes_area: array `[N]`. Areas of `boxes`.

    Returns:
        `[N]`; NaN where both are empty, as in Matterport's code.
    """
    top, left = np.maximum(box[:2], boxes[:, :2]).T
    bottom, right = np.minimum(box[2:], boxes[:, 2:]).T
    shared = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    with np.errstate(invalid="ignore"):
        return shared / (box_area + boxes_area - shared)


def compute_overlaps(boxes1: Any, boxes2: Any) -> np.ndarray:
    """Returns the IoU of every box with every other.

    Args:
        boxes1: array `[N, 4]`.
        boxes2: array `[M, 4]`.

    Returns:
        float64 `[N, M]`.
    """
    boxes1 = np.asarray(boxes1)
    boxes2 = np.asarray(boxes2)
    areas1 = _areas(boxes1)
    areas2 = _areas(boxes2)
    overlaps = np.zeros((len(boxes1), len(boxes2)))
    for column, (box, area) in enumerate(zip(boxes2, areas2, strict=True)):
        overlaps[:, column] = compute_iou(box, boxes1, area, areas1)
    return overlaps


def _areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def non_max_suppression(boxes: Any, scores: Any, threshold: float) -> np.ndarray:
    """Applies greedy non-maximum suppression.

    Args:
        boxes: array `[N, 4]`, N > 0, of any numeric type.
        scores: array `[N]`.
        threshold: float in 0..1. Boxes whose IoU with a better box is greater are dropped.

    Returns:
        int32 `[K]`, indices of the kept boxes, best score first.

    Raises:
        AssertionError: if there is no box, as in Matterport's code.
    """
    boxes = np.asarray(boxes)
    scores = np.asarray(scores)
    assert boxes.shape[0] > 0, "non_max_suppression needs at least one box"  # noqa: S101
    boxes = boxes.astype(np.float32) if boxes.dtype.kind in "iu" else boxes
    areas = _areas(boxes)
    left = scores.argsort()[::-1]
    kept = []
    while left.size:
        best = left[0]
        left = left[1:]
        kept.append(best)
        overlaps = compute_iou(boxes[best], boxes[left], areas[best], areas[left])
        left = left[~(overlaps > threshold)]
    return np.array(kept, np.int32)


def apply_box_deltas(boxes: Any, deltas: Any) -> np.ndarray:
    """Moves boxes by deltas of their center and size.

    Args:
        boxes: array `[N, 4]`.
        deltas: array `[N, 4]`, (dy, dx, log dh, log dw).

    Returns:
        float32 `[N, 4]`.
    """
    boxes, deltas = (np.asarray(array).astype(np.float32) for array in (boxes, deltas))
    size = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + 0.5 * size + deltas[:, :2] * size
    with np.errstate(over="ignore", invalid="ignore"):
        size = size * np.exp(deltas[:, 2:])
        low = center - 0.5 * size
        return np.concatenate([low, low + size], axis=1)


def box_refinement(box: Any, gt_box: Any) -> np.ndarray:
    """Computes the deltas that move boxes onto others: the inverse of `apply_box_deltas`.

    Args:
        box: array `[N, 4]`.
        gt_box: array `[N, 4]`. The boxes to reach.

    Returns:
        float32 `[N, 4]`, (dy, dx, log dh, log dw).
    """
    box, gt_box = (np.asarray(boxes).astype(np.float32) for boxes in (box, gt_box))
    size = box[:, 2:] - box[:, :2]
    gt_size = gt_box[:, 2:] - gt_box[:, :2]
    center = box[:, :2] + 0.5 * size
    gt_center = gt_box[:, :2] + 0.5 * gt_size
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([(gt_center - center) / size, np.log(gt_size / size)], axis=1)


def trim_zeros(x: np.ndarray) -> np.ndarray:
    """Removes the rows of a matrix that are all zero, such as padding.

    Args:
        x: array `[N, M]`.

    Returns:
        `[K, M]`, the other rows.

    Raises:
        AssertionError: if `x` is not a matrix, as in Matterport's code.
    """
    assert len(x.shape) == 2, f"trim_zeros needs a matrix, got shape {x.shape}"  # noqa: S101
    return x[~np.all(x == 0, axis=1)]


# --- Anchors -------------------------------------------------------------------------------------
def generate_anchors(
    scales: Any, ratios: Any, shape: Any, feature_stride: int, anchor_stride: int
) -> np.ndarray:
    """Generates the anchors of one level.

    A ratio is width / height here. Cell i is centered on pixel i * feature_stride.

    Args:
        scales: float or list of floats. Side of the square anchor in pixels.
        ratios: list of floats. Width / height of the anchors.
        shape: (height, width) of the feature map in cells.
        feature_stride: int. Pixels per cell.
        anchor_stride: int. Cells from one anchor to the next.

    Returns:
        float64 `[cells * ratios * scales, 4]` in pixels.
    """
    scales, ratios = np.meshgrid(np.asarray(scales), np.asarray(ratios))
    scales, roots = scales.flatten(), np.sqrt(ratios.flatten())
    half_sizes = 0.5 * np.stack([scales / roots, scales * roots], axis=1)
    rows, columns = (np.arange(0, cells, anchor_stride) * feature_stride for cells in shape)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    centers = np.stack([y, x], axis=-1).reshape(-1, 1, 2)  # [cells, 1, 2]
    # [cells, ratios * scales, 4]
    anchors = np.concatenate([centers - half_sizes, centers + half_sizes], axis=2)
    return anchors.reshape(-1, 4)


def generate_pyramid_anchors(
    scales: Sequence,
    ratios: Any,
    feature_shapes: Sequence,
    feature_strides: Sequence[int],
    anchor_stride: int,
) -> np.ndarray:
    """Generates the anchors of all levels, P2 first. See `generate_anchors`.

    Args:
        scales: sequence. Side of the square anchor in pixels, one per level.
        ratios: list of floats. Width / height of the anchors.
        feature_shapes: sequence of (height, width), one per level.
        feature_strides: sequence of ints. Pixels per cell, one per level.
        anchor_stride: int. Cells from one anchor to the next.

    Returns:
        float64 `[anchors, 4]` in pixels.
    """
    levels = zip(scales, feature_shapes, feature_strides, strict=False)
    anchors = [
        generate_anchors(scale, ratios, shape, stride, anchor_stride)
        for scale, shape, stride in levels
    ]
    return np.concatenate(anchors)
