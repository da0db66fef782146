"""Overlaps (IoU) of masks and boxes, and the matching of detections with ground truth by them.

pycocotools counts the overlaps on run-length codes, so hundreds of masks of a large image never
become one float array. For the AP that papers report, use `mrcnn.evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from mrcnn.images.rle import masks_to_rles


def rle_overlaps(rles1: Sequence[dict], rles2: Sequence[dict], crowd: bool = False) -> np.ndarray:
    """Returns the IoU of every mask with every other, from their run-length codes.

    Args:
        rles1: list of N codes, as `encode_rle` returns them.
        rles2: list of M codes.
        crowd: bool. Whether to divide by the area of the first mask instead of the union, as COCO
            does if the second one is a crowd. Defaults to False.

    Returns:
        float64 [N, M], 0 where both are empty.
    """
    if not len(rles1) or not len(rles2):
        return np.zeros((len(rles1), len(rles2)))
    return coco_mask.iou(list(rles1), list(rles2), [int(crowd)] * len(rles2))


def xywh_overlaps(boxes1: Any, boxes2: Any, crowd: bool = False) -> np.ndarray:
    """Returns the IoU of every box with every other.

    Args:
        boxes1: array [N, 4], x, y, width, height.
        boxes2: array [M, 4], x, y, width, height.
        crowd: bool. See `rle_overlaps`. Defaults to False.

    Returns:
        float64 [N, M], 0 where both are empty.
    """
    boxes1, boxes2 = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (boxes1, boxes2))
    if not len(boxes1) or not len(boxes2):
        return np.zeros((len(boxes1), len(boxes2)))
    return coco_mask.iou(boxes1, boxes2, [int(crowd)] * len(boxes2))


def to_xywh(boxes: Any) -> np.ndarray:
    """Converts boxes to COCO's order.

    Args:
        boxes: array [N, 4], y1, x1, y2, x2.

    Returns:
        float64 [N, 4], x, y, width, height.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    y1, x1, y2, x2 = boxes.T
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=1)


def matched_rows(overlaps: np.ndarray, iou: float) -> np.ndarray:
    """Returns the rows that have a partner in a largest one-to-one matching of rows and columns.

    Args:
        overlaps: array [N, M].
        iou: float. Minimum overlap of a pair; an overlap of exactly this value counts.

    Returns:
        int [K], indices of rows.
    """
    pairs = overlaps >= iou
    # Rows and columns without any pair only slow the assignment down.
    rows = np.flatnonzero(pairs.any(axis=1))
    columns = np.flatnonzero(pairs.any(axis=0))
    pairs = pairs[np.ix_(rows, columns)]
    chosen, partners = linear_sum_assignment(pairs, maximize=True)
    return rows[chosen[pairs[chosen, partners]]]


def compute_overlaps_masks(masks1: np.ndarray, masks2: np.ndarray) -> np.ndarray:
    """Returns the IoU of every mask with every other.

    Args:
        masks1: array [H, W, N], bool, or numbers of which those above 0.5 are inside.
        masks2: array [H, W, M], likewise.

    Returns:
        float32 [N, M].

    Raises:
        ValueError: if the two stacks differ in height or width.
    """
    masks1, masks2 = np.asarray(masks1), np.asarray(masks2)
    if masks1.shape[-1] == 0 or masks2.shape[-1] == 0:
        return np.zeros((masks1.shape[-1], masks2.shape[-1]), np.float32)
    if masks1.shape[:2] != masks2.shape[:2]:
        raise ValueError(
            "masks1 and masks2 must have the same height and width, got shapes "
            f"{masks1.shape} and {masks2.shape} ([height, width, instances]). Resize one of them."
        )
    return rle_overlaps(masks_to_rles(masks1), masks_to_rles(masks2)).astype(np.float32)


def compute_matches(
    gt_boxes: Any,
    gt_class_ids: Any,
    gt_masks: Any,
    pred_boxes: Any,
    pred_class_ids: Any,
    pred_scores: Any,
    pred_masks: Any,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches the detections of one image to its ground truth, best score first.

    The name, arguments and results are those of Matterport's Mask_RCNN. Rows of zeros at the end
    of the boxes are padding and are left out.

    Args:
        gt_boxes: array [G, 4], pixels.
        gt_class_ids: array [G].
        gt_masks: array [H, W, G], bool.
        pred_boxes: array [P, 4], pixels.
        pred_class_ids: array [P].
        pred_scores: array [P].
        pred_masks: array [H, W, P], bool.
        iou_threshold: float. Minimum mask IoU of a match. Defaults to 0.5.
        score_threshold: float. Minimum mask *IoU* of a candidate, not a score. It has this meaning
            in Matterport's code, and old scripts rely on it. To drop detections by score, filter
            them before the call. Defaults to 0.

    Returns:
        gt_match: float [G], index of the matched detection or -1.
        pred_match: float [P], index of the matched instance or -1.
        overlaps: float32 [P, G].
        Detections are numbered by descending score.
    """
    gt_boxes = _without_padding(gt_boxes)
    gt_masks = np.asarray(gt_masks)[..., : len(gt_boxes)]
    pred_boxes = _without_padding(pred_boxes)
    order = np.argsort(np.asarray(pred_scores)[: len(pred_boxes)])[::-1]
    pred_class_ids = np.asarray(pred_class_ids)[order]
    overlaps = compute_overlaps_masks(np.asarray(pred_masks)[..., order], gt_masks)
    pred_match = -np.ones(len(order))
    gt_match = -np.ones(len(gt_boxes))
    for row in range(len(order)):
        for column in np.argsort(overlaps[row])[::-1]:
            if overlaps[row, column] < max(iou_threshold, score_threshold):
                break
            free = gt_match[column] < 0
            if free and pred_class_ids[row] == gt_class_ids[column]:
                gt_match[column] = row
                pred_match[row] = column
                break
    return gt_match, pred_match, overlaps


def _without_padding(boxes):
    boxes = np.asarray(boxes).reshape(-1, 4)
    return boxes[np.abs(boxes).sum(axis=1) != 0]
