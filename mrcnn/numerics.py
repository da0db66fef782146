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
DIALECTS = {"standard": Numerics()}


def dialect(name: str) -> Numerics:
    """The record of a dialect; "auto" is `standard`, what new training uses."""
    return DIALECTS["standard" if name == "auto" else name]
