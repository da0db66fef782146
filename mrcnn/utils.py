"""Matterport's `mrcnn.utils`: re-exports the old names. New code does not need it."""

from __future__ import annotations

# Old scripts import only skimage.draw, but also use these two modules.
import skimage.color
import skimage.io  # noqa: F401

from mrcnn.compat.boxes import (
    apply_box_deltas,
    box_refinement,
    compute_iou,
    compute_overlaps,
    denorm_boxes,
    extract_bboxes,
    generate_anchors,
    generate_pyramid_anchors,
    non_max_suppression,
    norm_boxes,
    trim_zeros,
)
from mrcnn.compat.download import COCO_MODEL_URL, download_trained_weights
from mrcnn.compat.images import resize, resize_image, resize_mask
from mrcnn.compat.masks import expand_mask, minimize_mask, mold_mask, unmold_mask
from mrcnn.compat.metrics import compute_ap, compute_ap_range, compute_recall
from mrcnn.compat.tensors import batch_slice, box_refinement_graph
from mrcnn.data.dataset import Dataset
from mrcnn.images.overlaps import compute_matches, compute_overlaps_masks

__all__ = [
    "COCO_MODEL_URL",
    "Dataset",
    "apply_box_deltas",
    "batch_slice",
    "box_refinement",
    "box_refinement_graph",
    "compute_ap",
    "compute_ap_range",
    "compute_iou",
    "compute_matches",
    "compute_overlaps",
    "compute_overlaps_masks",
    "compute_recall",
    "denorm_boxes",
    "download_trained_weights",
    "expand_mask",
    "extract_bboxes",
    "generate_anchors",
    "generate_pyramid_anchors",
    "minimize_mask",
    "mold_mask",
    "non_max_suppression",
    "norm_boxes",
    "resize",
    "resize_image",
    "resize_mask",
    "trim_zeros",
    "unmold_mask",
]
