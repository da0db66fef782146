"""The AP functions of Matterport's package, one image at a time."""

from __future__ import annotations

import numpy as np

from mrcnn.images.overlaps import compute_matches, to_xywh, xywh_overlaps


def compute_ap(
    gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks,
    iou_threshold=0.5,
):  # fmt: skip
    """AP of one image at one IoU: the area under its precision-recall curve over all classes.

    Args: as `compute_matches`.

    Returns:
        (mAP, precisions, recalls, overlaps): the curve [P + 2] with its end points, and the
        overlaps [P, G].
    """
    gt_match, pred_match, overlaps = compute_matches(
        gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks,
        iou_threshold,
    )  # fmt: skip
    found = np.cumsum(pred_match > -1)
    precisions = np.concatenate([[0], found / (np.arange(len(pred_match)) + 1), [0]])
    recalls = np.concatenate([[0], found.astype(np.float32) / max(len(gt_match), 1), [1]])
    precisions = np.maximum.accumulate(precisions[::-1])[::-1]  # never rises with recall
    steps = np.flatnonzero(recalls[:-1] != recalls[1:]) + 1
    mean = np.sum((recalls[steps] - recalls[steps - 1]) * precisions[steps])
    return mean, precisions, recalls, overlaps


def compute_ap_range(
    gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask,
    iou_thresholds=None, verbose=1,
):  # fmt: skip
    """Mean of `compute_ap` over IoU thresholds, by default 0.5 to 0.95 in steps of 0.05.

    Args: as `compute_matches`, and
        iou_thresholds: list or array.
        verbose: 1 prints a line for each threshold and the mean, as it always has.

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
    mean = np.mean(values)
    if verbose:
        print(f"AP @{iou_thresholds[0]:.2f}-{iou_thresholds[-1]:.2f}:\t {mean:.3f}")
    return mean


def compute_recall(pred_boxes, gt_boxes, iou):
    """Share of the objects that some box finds.

    Args:
        pred_boxes: [P, 4], pixels.
        gt_boxes: [G, 4], pixels.
        iou: least box IoU.

    Returns:
        (recall, positive_ids): float, and the indices of the boxes that lie on an object.
    """
    overlaps = xywh_overlaps(to_xywh(pred_boxes), to_xywh(gt_boxes))
    if not overlaps.size:
        return 0.0, np.zeros(0, np.intp)
    positive_ids = np.flatnonzero(overlaps.max(axis=1) >= iou)
    found = set(overlaps.argmax(axis=1)[positive_ids].tolist())
    return len(found) / overlaps.shape[1], positive_ids
