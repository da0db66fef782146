"""The pooled score TP / (TP + FP + FN), over all images together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from mrcnn.images.overlaps import (
    matched_rows,
    rle_overlaps,
    xywh_overlaps,
)

POOLED_IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)


def pooled_counts(
    truth: dict[str, Any], rows: list[dict], kind: str, score_threshold: float
) -> dict[float, tuple[int, int, int]]:
    """Counts TP, FP and FN by IoU over all images; only equal classes match.

    Args:
        truth: dict. The ground truth as COCO instances.
        rows: list of dict. The detections as COCO results.
        kind: str. "bbox" or "segm".
        score_threshold: float. Lowest score that counts.

    Returns:
        Dict of tuples (TP, FP, FN) by IoU.
    """
    groups = defaultdict(lambda: ([], [], []))  # objects, crowds, detections
    key = "bbox" if kind == "bbox" else "segmentation"
    for entry in truth["annotations"]:
        groups[entry["image_id"], entry["category_id"]][entry["iscrowd"]].append(entry[key])
    for row in rows:
        if row["score"] >= score_threshold:
            groups[row["image_id"], row["category_id"]][2].append(row[key])
    overlap = xywh_overlaps if kind == "bbox" else rle_overlaps
    totals = {iou: np.zeros(3, int) for iou in POOLED_IOUS}
    for objects, crowds, detections in groups.values():
        overlaps = overlap(detections, objects)
        in_crowd = overlap(detections, crowds, crowd=True).max(axis=1, initial=0)
        for iou in POOLED_IOUS:
            matched = matched_rows(overlaps, iou)
            free = np.setdiff1d(np.arange(len(detections)), matched)
            wrong = int((in_crowd[free] < iou).sum())  # inside a crowd: neither right nor wrong
            totals[iou] += len(matched), wrong, len(objects) - len(matched)
    return {iou: (int(c[0]), int(c[1]), int(c[2])) for iou, c in totals.items()}
