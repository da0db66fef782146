"""Overlaps of masks and boxes, and the AP family of Matterport's scripts (one image at a time).

For the AP that papers report see `mrcnn.evaluate`. Overlaps are counted by pycocotools on
run-length codes, so hundreds of masks of a large image never become one float array.
"""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from mrcnn.images.rle import masks_to_rles


def rle_overlaps(rles1, rles2, crowd=False) -> np.ndarray:
    """IoU of masks given as run-length codes.

    Args:
        rles1: list of N codes.
        rles2: list of M codes.
        crowd: divide by the area of the first mask instead of the union, as COCO does when the
            second is a crowd.

    Returns:
        float64 [N, M], 0 where both are empty.
    """
    if not len(rles1) or not len(rles2):
        return np.zeros((len(rles1), len(rles2)))
    return coco_mask.iou(list(rles1), list(rles2), [int(crowd)] * len(rles2))


def xywh_overlaps(boxes1, boxes2, crowd=False) -> np.ndarray:
    """The same for boxes [N, 4] and [M, 4] as x, y, width, height."""
    boxes1, boxes2 = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (boxes1, boxes2))
    if not len(boxes1) or not len(boxes2):
        return np.zeros((len(boxes1), len(boxes2)))
    return coco_mask.iou(boxes1, boxes2, [int(crowd)] * len(boxes2))


def to_xywh(boxes) -> np.ndarray:
    """Boxes [N, 4] y1, x1, y2, x2 as COCO's x, y, width, height, float64."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    y1, x1, y2, x2 = boxes.T
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)


def matched_rows(overlaps, iou: float) -> np.ndarray:
    """Rows of a largest one-to-one matching of rows and columns with at least this overlap.

    Args:
        overlaps: [N, M].
        iou: least overlap of a pair; exactly this much counts.

    Returns:
        int [K], the rows that have a partner.
    """
    pairs = overlaps >= iou
    rows, columns = np.flatnonzero(pairs.any(axis=1)), np.flatnonzero(pairs.any(axis=0))
    pairs = pairs[np.ix_(rows, columns)]
    chosen, partners = linear_sum_assignment(pairs, maximize=True)
    return rows[chosen[pairs[chosen, partners]]]


def compute_overlaps_masks(masks1, masks2) -> np.ndarray:
    """IoU of every mask with every other.

    Args:
        masks1: [H, W, N], bool or numbers (above 0.5: inside).
        masks2: [H, W, M].

    Returns:
        float32 [N, M].

    Raises:
        ValueError: the masks are of two sizes.
    """
    masks1, masks2 = np.asarray(masks1), np.asarray(masks2)
    if masks1.shape[-1] == 0 or masks2.shape[-1] == 0:
        return np.zeros((masks1.shape[-1], masks2.shape[-1]), np.float32)
    if masks1.shape[:2] != masks2.shape[:2]:
        raise ValueError(
            f"Masks of two sizes cannot be compared: {masks1.shape} and {masks2.shape} "
            "([height, width, instances])."
        )
    return rle_overlaps(masks_to_rles(masks1), masks_to_rles(masks2)).astype(np.float32)


# --- The names of Matterport's scripts -----------------------------------------------------------
def compute_matches(
    gt_boxes, gt_class_ids, gt_masks, pred_boxes, pred_class_ids, pred_scores, pred_masks,
    iou_threshold=0.5, score_threshold=0.0,
):  # fmt: skip
    """Matches predictions of one image to its ground truth, best score first.

    Rows of zeros at the end of the boxes are padding and left out.

    Args:
        gt_boxes: [G, 4].
        gt_class_ids: [G].
        gt_masks: [H, W, G].
        pred_boxes: [P, 4].
        pred_class_ids: [P].
        pred_scores: [P].
        pred_masks: [H, W, P].
        iou_threshold: least mask IoU of a match.
        score_threshold: least mask *IoU* that is looked at, not a score: so it has always been,
            and old scripts rely on it. Drop predictions of low score before the call.

    Returns:
        (gt_match, pred_match, overlaps): float [G], index of the prediction or -1; float [P],
        index of the object or -1; float32 [P, G]. Predictions are numbered by descending score.
    """
    gt_boxes = _without_padding(gt_boxes)
    gt_masks = np.asarray(gt_masks)[..., : len(gt_boxes)]
    pred_boxes = _without_padding(pred_boxes)
    order = np.argsort(np.asarray(pred_scores)[: len(pred_boxes)])[::-1]
    pred_class_ids = np.asarray(pred_class_ids)[order]
    overlaps = compute_overlaps_masks(np.asarray(pred_masks)[..., order], gt_masks)
    pred_match, gt_match = -np.ones(len(order)), -np.ones(len(gt_boxes))
    for row in range(len(order)):
        for column in np.argsort(overlaps[row])[::-1]:
            if overlaps[row, column] < max(iou_threshold, score_threshold):
                break
            free = gt_match[column] < 0
            if free and pred_class_ids[row] == gt_class_ids[column]:
                gt_match[column], pred_match[row] = row, column
                break
    return gt_match, pred_match, overlaps


def _without_padding(boxes):
    boxes = np.asarray(boxes).reshape(-1, 4)
    return boxes[np.abs(boxes).sum(axis=1) != 0]
