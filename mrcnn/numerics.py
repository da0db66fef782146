"""The dialects of Mask R-CNN side by side: the arithmetic that weights were trained with.

Weights only give the right answer in the arithmetic of their training. One frozen record a dialect
holds every such choice, so that the network code names no family of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Numerics:
    """Arithmetic choices of one dialect.

    Attributes:
        batch_norm_epsilon: added to the variance in the backbone's normalisation.
        backbone_bias: the convolutions of a ResNet have biases beside their normalisation.
        stride_in_first_conv: the stride of a bottleneck sits in its first 1x1, not in its 3x3.
        same_padded_pool: the stem's max-pool pads below and right alone, as "same" does.
        head_norm: None, or "statistics": batch normalisation by moving statistics in both heads,
            and convolutions in the box head.
        rpn_channels: of the RPN's shared convolution; None: those of the pyramid.
        rpn_softmax: the RPN gives two logits an anchor, background and object.
        normalised_boxes: the graph reckons in the coordinates of `ops.boxes.normalise`, pools one
            sample a cell from corner to corner and cuts mask targets so.
        molded_images: the network takes Matterport's inputs: images less their mean pixel, their
            image_meta and, to detect, the anchors.
        merged_levels: proposals of all levels compete in one NMS.
        best_class_only: a RoI is a candidate for its likeliest class alone.
        balanced_rois: see `ops.matching.sample_indices`.
        losses_over_positives: the box losses are means over the positives, and padding rows count
            as background in the class loss.
        ratio_is_width: an anchor's ratio is width / height, not height / width.
        anchor_offset: share of a stride between the corner of a cell and the centre of its anchors.
        delta_clamp: upper bound of the log height and width deltas, before exp.
        rpn_positive_iou, rpn_negative_iou: an anchor is positive from the first (or when it is the
            best for an object) and negative below the second.
        roi_positive_iou: a proposal is foreground from this IoU on; exactly this counts.
        append_gt_boxes: in training, ground-truth boxes join the proposals.
        min_proposal_side: proposals with a shorter side are dropped, pixels.
        smooth_l1_beta: where the box losses turn from quadratic to linear.
        roi_sampling_ratio: samples per side of a RoIAlign cell.
        min_score: smallest score of a detection that leaves the graph; users filter higher.
        canonical_roi_size: a RoI of this side, in pixels, is pooled from P4 (FPN, equation 1).
    """

    batch_norm_epsilon: float = 1e-5
    backbone_bias: bool = False
    stride_in_first_conv: bool = False
    same_padded_pool: bool = False
    head_norm: str | None = None
    rpn_channels: int | None = None
    rpn_softmax: bool = False
    normalised_boxes: bool = False
    molded_images: bool = False
    merged_levels: bool = False
    best_class_only: bool = False
    balanced_rois: bool = False
    losses_over_positives: bool = False
    ratio_is_width: bool = False
    anchor_offset: float = 0.5
    delta_clamp: float = math.log(1000 / 16)
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    roi_positive_iou: float = 0.5
    append_gt_boxes: bool = True
    min_proposal_side: float = 1e-3
    smooth_l1_beta: float = 1 / 9
    roi_sampling_ratio: int = 2
    min_score: float = 0.05
    canonical_roi_size: float = 224.0


# The paper with today's settings. Anchors sit at cell centres, where half-pixel aligned RoIAlign
# has them; smooth L1 with beta 1/9 as in torchvision and Detectron; the clamp is Detectron's.
STANDARD = Numerics()
# Matterport's Mask_RCNN at its last commit (3deaec5), for weights that were trained with it.
MATTERPORT = Numerics(
    batch_norm_epsilon=1e-3,
    backbone_bias=True,
    stride_in_first_conv=True,
    same_padded_pool=True,
    head_norm="statistics",
    rpn_channels=512,
    rpn_softmax=True,
    normalised_boxes=True,
    molded_images=True,
    merged_levels=True,
    best_class_only=True,
    balanced_rois=True,
    losses_over_positives=True,
    ratio_is_width=True,
    anchor_offset=0.0,
    append_gt_boxes=False,
    min_proposal_side=0.0,
    smooth_l1_beta=1.0,
)
DIALECTS = {"standard": STANDARD, "matterport": MATTERPORT}


def dialect(name: str) -> Numerics:
    """The record of a dialect; "auto" is `standard`, what new training uses."""
    return STANDARD if name == "auto" else DIALECTS[name]


# Defaults of Config that a dialect brings along; what a user has set himself stays.
SETTINGS = {
    "standard": {},
    "matterport": {
        "MEAN_PIXEL": (123.7, 116.8, 103.9),
        "PIXEL_STD": (1.0, 1.0, 1.0),
        "BACKBONE_NORM": "statistics",
        "RPN_BBOX_STD_DEV": (0.1, 0.1, 0.2, 0.2),
        "PRE_NMS_LIMIT": 6000,
    },
}
