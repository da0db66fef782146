"""Matterport's functions for average precision (AP), one image at a time.

For the AP that papers report, use `mrcnn.evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.images.overlaps import compute_matches, to_xywh, xywh_overlaps


def compute_ap(
    gt_boxes: Any,
    gt_class_ids: Any,
    gt_masks: Any,
    pred_boxes: Any,
    pred_class_ids: Any,
    pred_scores: Any,
    pred_masks: Any,
    iou_threshold: float = 0.5,
) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """Computes the AP of one image at one IoU threshold, over all classes together.

    AP is the area under the precision-recall curve.

    Args:
        gt_boxes: array `[G, 4]`, pixels.
        gt_class_ids: array `[G]`.
        gt_masks: array `[H, W, G]`, bool.
        pred_boxes: array `[P, 4]`, pixels.
        pred_class_ids: array `[P]`.
        pred_scores: array `[P]`.
        pred_masks: array `[H, W, P]`, bool.
        iou_threshold: float. Minimum mask IoU of a match. Defaults to 0.5.

    Returns:
        mAP: float.
        precisions: `[P + 2]`, the curve with its end points.
        recalls: `[P + 2]`.
        overlaps: float32 `[P, G]`, the mask IoUs.
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes,
        gt_class_ids,
        gt_masks,
        pred_boxes,
        pred_class_ids,
        pred_scores,
        pred_masks,
        iou_threshold=iou_threshold,
    )
    found = np.cumsum(pred_match > -1)
    precisions = np.concatenate([[0], found / (np.arange(len(pred_match)) + 1), [0]])
    recalls = np.concatenate([[0], found.astype(np.float32) / max(len(gt_match), 1), [1]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]  # precision never rises with recall
    steps = np.flatnonzero(recalls[:-1] != recalls[1:]) + 1
    mean = np.sum((recalls[steps] - recalls[steps - 1]) * precisions[steps])
    return mean, precisions, recalls, overlaps


def compute_ap_range(
    gt_box: Any,
    gt_class_id: Any,
    gt_mask: Any,
    pred_box: Any,
    pred_class_id: Any,
    pred_score: Any,
    pred_mask: Any,
    iou_thresholds: Sequence[float] | np.ndarray | None = None,
    verbose: int = 1,
) -> float:
    """Computes the mean of `compute_ap` over IoU thresholds.

    Args:
        gt_box: array `[G, 4]`, pixels.
        gt_class_id: array `[G]`.
        gt_mask: array `[H, W, G]`, bool.
        pred_box: array `[P, 4]`, pixels.
        pred_class_id: array `[P]`.
        pred_score: array `[P]`.
        pred_mask: array `[H, W, P]`, bool.
        iou_thresholds: list or array of floats. Defaults to None, 0.5 to 0.95 in steps of 0.05.
        verbose: int. 1 prints a line per threshold and the mean, as in Matterport's code.
            Defaults to 1.

    Returns:
        float.
    """
    if iou_thresholds is None:
        iou_thresholds = np.arange(0.5, 1.0, 0.05)
    values = []
    for threshold in iou_thresholds:
        value, *_ = compute_ap(
            gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask, threshold
        )
        values.append(value)
        if verbose:
            print(f"AP @{threshold:.2f}:\t {value:.3f}")
    mean = float(np.mean(values))
    if verbose:
        print(f"AP @{iou_thresholds[0]:.2f}-{iou_thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(pred_boxes: Any, gt_boxes: Any, iou: float) -> tuple[float, np.ndarray]:
    """Computes the fraction of instances that are found by at least one box.

    Args:
        pred_boxes: array `[P, 4]`, pixels.
        gt_boxes: array `[G, 4]`, pixels.
        iou: float. Minimum box IoU.

    Returns:
        recall: float.
        positive_ids: int array, indices of the boxes that match an instance.
    """
    overlaps = xywh_overlaps(to_xywh(pred_boxes), to_xywh(gt_boxes))
    if not overlaps.size:
        return 0.0, np.zeros(0, np.intp)
    positive_ids = np.flatnonzero(overlaps.max(axis=1) >= iou)
    found = set(overlaps.argmax(axis=1)[positive_ids].tolist())
    return len(found) / overlaps.shape[1], positive_ids
