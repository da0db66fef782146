"""Matterport's arithmetic of boxes and anchors, in NumPy.

Boxes are [y1, x1, y2, x2]. Pixel boxes exclude their upper bounds; normalised ones include them:
0 and 1 are the first and the last pixel of the picture.
"""

from __future__ import annotations

import numpy as np

from mrcnn.dialects.matterport import denorm_boxes, norm_boxes  # noqa: F401 - old names
from mrcnn.images.masks import boxes_from_masks


def extract_bboxes(mask) -> np.ndarray:
    """Bounds of masks [H, W, N] of any dtype: int32 [N, 4] pixels, zeros for an empty mask."""
    return boxes_from_masks(mask).astype(np.int32)


def compute_iou(box, boxes, box_area, boxes_area) -> np.ndarray:
    """IoU of one box [4] with others [N, 4], whose areas the caller knows: [N].

    NaN where both are empty, as it was.
    """
    top, left = np.maximum(box[:2], boxes[:, :2]).T
    bottom, right = np.minimum(box[2:], boxes[:, 2:]).T
    shared = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    with np.errstate(invalid="ignore"):
        return shared / (box_area + boxes_area - shared)


def compute_overlaps(boxes1, boxes2) -> np.ndarray:
    """IoU of every box with every other: float64 [N, M]."""
    boxes1, boxes2 = np.asarray(boxes1), np.asarray(boxes2)
    areas1, areas2 = _areas(boxes1), _areas(boxes2)
    overlaps = np.zeros((len(boxes1), len(boxes2)))
    for column, (box, area) in enumerate(zip(boxes2, areas2, strict=True)):
        overlaps[:, column] = compute_iou(box, boxes1, area, areas1)
    return overlaps


def _areas(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def non_max_suppression(boxes, scores, threshold) -> np.ndarray:
    """Indices of the boxes that no better one overlaps by more than `threshold`: int32, best first.

    Args:
        boxes: [N, 4], N > 0, of any number type.
        scores: [N].
        threshold: an IoU of exactly this much keeps both.
    """
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    assert boxes.shape[0] > 0, "non_max_suppression needs at least one box"  # noqa: S101
    boxes = boxes.astype(np.float32) if boxes.dtype.kind in "iu" else boxes
    areas = _areas(boxes)
    left = scores.argsort()[::-1]
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        overlaps = compute_iou(boxes[best], boxes[left], areas[best], areas[left])
        left = left[~(overlaps > threshold)]
    return np.array(kept, np.int32)


def apply_box_deltas(boxes, deltas) -> np.ndarray:
    """Boxes [N, 4] moved by deltas (dy, dx, log dh, log dw) of their centre and size: float32."""
    boxes, deltas = (np.asarray(array).astype(np.float32) for array in (boxes, deltas))
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + 0.5 * size + deltas[:, :2] * size
    with np.errstate(over="ignore", invalid="ignore"):
        size = size * np.exp(deltas[:, 2:])
        low = centre - 0.5 * size
        return np.concatenate([low, low + size], axis=1)


def box_refinement(box, gt_box) -> np.ndarray:
    """The deltas that move boxes [N, 4] onto others [N, 4]: float32, the inverse of the above."""
    box, gt_box = (np.asarray(boxes).astype(np.float32) for boxes in (box, gt_box))
    size, gt_size = box[:, 2:] - box[:, :2], gt_box[:, 2:] - gt_box[:, :2]
    centre, gt_centre = box[:, :2] + 0.5 * size, gt_box[:, :2] + 0.5 * gt_size
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([(gt_centre - centre) / size, np.log(gt_size / size)], axis=1)


def trim_zeros(x) -> np.ndarray:
    """The rows of a matrix that are not all zero: padding goes."""
    assert len(x.shape) == 2, f"trim_zeros needs a matrix, got shape {x.shape}"  # noqa: S101
    return x[~np.all(x == 0, axis=1)]


# --- Anchors -------------------------------------------------------------------------------------
def generate_anchors(scales, ratios, shape, feature_stride, anchor_stride) -> np.ndarray:
    """Anchors of one level: float64 [cells * ratios * scales, 4] pixels.

    A ratio is width / height here. Cell i is centred on pixel i * feature_stride.

    Args:
        scales: side of the square anchor in pixels, or several.
        ratios: a list.
        shape: height and width of the feature map.
        feature_stride: pixels a cell.
        anchor_stride: cells between anchors.
    """
    scales, ratios = np.meshgrid(np.asarray(scales), np.asarray(ratios))
    scales, roots = scales.flatten(), np.sqrt(ratios.flatten())
    half_sizes = 0.5 * np.stack([scales / roots, scales * roots], axis=1)
    centres = (np.arange(0, cells, anchor_stride) * feature_stride for cells in shape)
    y, x = np.meshgrid(*centres, indexing="ij")
    centres = np.stack([y, x], axis=-1).reshape(-1, 1, 2)
    return np.concatenate([centres - half_sizes, centres + half_sizes], axis=2).reshape(-1, 4)


def generate_pyramid_anchors(
    scales, ratios, feature_shapes, feature_strides, anchor_stride
) -> np.ndarray:
    """Anchors of all levels, P2 first, one scale a level; see `generate_anchors`."""
    levels = zip(scales, feature_shapes, feature_strides, strict=False)
    return np.concatenate(
        [generate_anchors(scale, ratios, shape, stride, anchor_stride)
         for scale, shape, stride in levels]
    )  # fmt: skip
