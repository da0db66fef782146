"""The dialects of Mask R-CNN side by side: the arithmetic that weights were trained with.

Weights only give the right answer in the arithmetic of their training. One frozen record a dialect
holds every such choice, so that the network code names no family of weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


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
        pyramid_norm: None, or "statistics": the same behind every convolution of the pyramid.
        box_convolutions: 3x3 convolutions in the box head, normalised as `head_norm` says, in front
            of one fully connected layer; 0: two of these alone.
        rpn_convolutions: 3x3 convolutions in front of the RPN's outputs.
        rpn_channels: of the RPN's shared convolution; None: those of the pyramid.
        rpn_softmax: the RPN gives two logits an anchor, background and object.
        normalised_boxes: the graph reckons in the coordinates of `ops.boxes.normalize`, pools one
            sample a cell from corner to corner and cuts mask targets so.
        takes_window: the network also takes the window of each image, which is not padding, and
            clips proposals and detections to it.
        rounding, interpolation: see `ops.images.plan_fit` and `resize`.
        molded_images: the network takes Matterport's inputs: images less their mean pixel, their
            image_meta and, to detect, the anchors.
        merged_levels: proposals of all levels compete in one NMS.
        best_class_only: a RoI is a candidate for its likeliest class alone.
        balanced_rois: see `ops.matching.sample_indices`.
        losses_over_positives: the box losses are means over the positives, and padding rows count
            as background in the class loss.
        ratio_is_width: an anchor's ratio is width / height, not height / width.
        anchor_offset: share of a stride between the corner of a cell and the centre of its anchors.
        whole_anchors: half sides of anchors are whole pixels, and the stride of a level is the
            side of the padded image divided by that of the map, rounded down.
        delta_clamp: upper bound of the log height and width deltas, before exp.
        rpn_positive_iou, rpn_negative_iou: an anchor is positive from the first (or when it is the
            best for an object) and negative below the second.
        roi_positive_iou: a proposal is foreground from this IoU on; exactly this counts.
        append_gt_boxes: in training, ground-truth boxes join the proposals.
        min_proposal_side: proposals with a shorter side are dropped, pixels.
        min_detection_side: the same of detections, in pixels of the network's image.
        smooth_l1_beta: where the box losses turn from quadratic to linear; 0: L1.
        roi_sampling_ratio: samples per side of a RoIAlign cell; 0: as many as it has cells of the
            map.
        roi_aligned: see `ops.roi_align.roi_align`.
        level_tolerance: see `ops.roi_align.assign_levels`.
        bordered_masks: masks are pasted by torchvision's rule, see `ops.masks.paste_bordered_mask`.
        min_score: smallest score of a detection that leaves the graph; users filter higher.
        canonical_roi_size: a RoI of this side, in pixels, is pooled from P4 (FPN, equation 1).
    """

    batch_norm_epsilon: float = 1e-5
    backbone_bias: bool = False
    stride_in_first_conv: bool = False
    same_padded_pool: bool = False
    head_norm: str | None = None
    pyramid_norm: str | None = None
    box_convolutions: int = 0
    rpn_convolutions: int = 1
    rpn_channels: int | None = None
    rpn_softmax: bool = False
    normalised_boxes: bool = False
    takes_window: bool = False
    rounding: str = "half_even"
    interpolation: str = "area"
    molded_images: bool = False
    merged_levels: bool = False
    best_class_only: bool = False
    balanced_rois: bool = False
    losses_over_positives: bool = False
    ratio_is_width: bool = False
    anchor_offset: float = 0.5
    whole_anchors: bool = False
    delta_clamp: float = math.log(1000 / 16)
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    roi_positive_iou: float = 0.5
    append_gt_boxes: bool = True
    min_proposal_side: float = 1e-3
    min_detection_side: float = 0.0
    smooth_l1_beta: float = 1 / 9
    roi_sampling_ratio: int = 2
    roi_aligned: bool = True
    level_tolerance: float = 0.0
    bordered_masks: bool = False
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
# torchvision's maskrcnn_resnet50_fpn (read in 0.29), for weights that were trained with it. The
# epsilon is that of its published weights (`overwrite_eps`); see Config.BATCH_NORM_EPSILON.
TORCHVISION = Numerics(
    batch_norm_epsilon=0.0,
    takes_window=True,
    rounding="floor",
    interpolation="bilinear",
    anchor_offset=0.0,
    whole_anchors=True,
    min_detection_side=1e-2,
    roi_aligned=False,
    level_tolerance=1e-6,
    bordered_masks=True,
)
# Its maskrcnn_resnet50_fpn_v2: batch normalisation everywhere, a deeper RPN and box head.
TORCHVISION_V2 = replace(
    TORCHVISION,
    batch_norm_epsilon=1e-5,
    head_norm="statistics",
    pyramid_norm="statistics",
    box_convolutions=4,
    rpn_convolutions=2,
)
# Detectron2's Mask R-CNN with FPN (commit 02b5c4e), on the ResNets of MSRA: stride in the first 1x1
# and a deviation of 1, since those swallowed it.
DETECTRON2 = Numerics(
    stride_in_first_conv=True,
    takes_window=True,
    rounding="half_up",
    interpolation="triangle",
    anchor_offset=0.0,
    min_proposal_side=1e-30,  # anything above 0
    smooth_l1_beta=0.0,
    roi_sampling_ratio=0,
)
# The same on ResNets from PyTorch or Caffe2 ("X-style"): stride in the 3x3, pixels divided by their
# deviation.
DETECTRON2_X = replace(DETECTRON2, stride_in_first_conv=False)
DIALECTS = {
    "standard": STANDARD,
    "matterport": MATTERPORT,
    "torchvision": TORCHVISION,
    "torchvision_v2": TORCHVISION_V2,
    "detectron2": DETECTRON2,
    "detectron2_x": DETECTRON2_X,
}


def dialect(name: str) -> Numerics:
    """The record of a dialect; "auto" is `standard`, what new training uses."""
    return STANDARD if name == "auto" else DIALECTS[name]


# What torchvision and Detectron2 have in common, on COCO.
_SHORTEST_EDGE = {
    "IMAGE_RESIZE_MODE": "shortest_edge",
    "IMAGE_MIN_DIM": 800,
    "IMAGE_MAX_DIM": 1333,
    "BACKBONE_NORM": "frozen",
    "PRE_NMS_LIMIT": 2000,
    "PRE_NMS_LIMIT_INFERENCE": 1000,
    "POST_NMS_ROIS_TRAINING": 2000,
    "POST_NMS_ROIS_INFERENCE": 1000,
    "TRAIN_ROIS_PER_IMAGE": 512,
    "ROI_POSITIVE_RATIO": 0.25,
    "DETECTION_MIN_CONFIDENCE": 0.05,
    "DETECTION_NMS_THRESHOLD": 0.5,
}
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
    "torchvision": _SHORTEST_EDGE,
    "torchvision_v2": _SHORTEST_EDGE | {"BACKBONE_NORM": "statistics"},
    "detectron2": _SHORTEST_EDGE | {"PIXEL_STD": (1.0, 1.0, 1.0), "POST_NMS_ROIS_TRAINING": 1000},
    "detectron2_x": _SHORTEST_EDGE
    | {"PIXEL_STD": (58.395, 57.12, 57.375), "POST_NMS_ROIS_TRAINING": 1000},
}
