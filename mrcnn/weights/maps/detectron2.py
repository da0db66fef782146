"""Detectron2's Mask R-CNN (and Faster R-CNN) with a ResNet and FPN: names and layouts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mrcnn.weights.layouts import (
    BGR,
    DELTAS,
    KERNEL,
    Entry,
    background_first,
    batch_norm,
    convolution,
    dense,
    flattened,
    residual_stages,
)
from mrcnn.weights.shapes import Shapes

PREFIX = "backbone.bottom_up."  # only in names of this family
_RPN = "proposal_generator.rpn_head."


def modern(name: str) -> str:
    """Returns the name unchanged: Detectron2 never renamed its tensors.

    Args:
        name: str.
    """
    return name


def dialect_of(names: Collection[str]) -> str:
    """Returns `detectron2`, the dialect of the published ResNets.

    A file does not say which convolution of a block has the stride, so `detectron2_x` has to be
    chosen by the user.

    Args:
        names: collection of str. The names of the tensors.
    """
    return "detectron2"


def settings(shapes: Shapes) -> dict[str, Any]:
    """Returns the Config values implied by the shapes of the tensors.

    Args:
        shapes: Shapes.

    Raises:
        ValueError: a missing tensor, or a network that is not supported.
    """
    if "backbone.fpn_lateral2.norm.weight" in shapes:
        raise ValueError(
            f"{shapes.path} is one of Detectron2's newer baselines (LSJ), which normalize the "
            "pyramid and the heads too. They are not supported. Use an R50-FPN or R101-FPN model "
            "of its model zoo."
        )
    found = shapes.resnet(
        "backbone.bottom_up.stem.conv1.weight", r"backbone\.bottom_up\.res(\d)\.(\d{1,3})\.conv(\d)"
    )
    found |= {
        "NUM_CLASSES": shapes.classes("roi_heads.box_predictor.cls_score.weight"),
        "TOP_DOWN_PYRAMID_SIZE": shapes.rows("backbone.fpn_lateral2.weight"),
        "FPN_CLASSIF_FC_LAYERS_SIZE": shapes.rows("roi_heads.box_head.fc1.weight"),
        "USE_MASKS": "roi_heads.mask_head.predictor.weight" in shapes,
    }
    if found["USE_MASKS"]:
        found["MASK_CHANNELS"] = shapes.rows("roi_heads.mask_head.deconv.bias")
    shapes.expect_anchors(_RPN + "objectness_logits.weight")
    shapes.expect(_implied(found))
    return found


def _implied(found):
    """Returns the shapes of the largest tensors, as the settings imply them."""
    classes, units = found["NUM_CLASSES"], found["FPN_CLASSIF_FC_LAYERS_SIZE"]
    pyramid = found["TOP_DOWN_PYRAMID_SIZE"]
    shapes = {
        "roi_heads.box_predictor.cls_score.weight": (classes, units),
        "roi_heads.box_predictor.bbox_pred.weight": (4 * (classes - 1), units),
        "roi_heads.box_head.fc1.weight": (units, pyramid * 7 * 7),
        "backbone.fpn_output2.weight": (pyramid, pyramid, 3, 3),
        _RPN + "conv.weight": (pyramid, pyramid, 3, 3),
    }
    if found["USE_MASKS"]:
        masks = found["MASK_CHANNELS"]
        shapes["roi_heads.mask_head.mask_fcn2.weight"] = (masks, masks, 3, 3)
        shapes["roi_heads.mask_head.predictor.weight"] = (classes - 1, masks, 1, 1)
    return shapes


def entries(settings: dict[str, Any]) -> list[Entry]:
    """Returns the entries of all tensors of a network.

    Args:
        settings: dict. The result of `settings`, and `POOL_SIZE`.
    """
    stem = "backbone.bottom_up.stem.conv1"
    found = [Entry(f"{stem}.weight", "conv1", "kernel", BGR.then(KERNEL))]
    found += batch_norm(f"{stem}.norm", "bn_conv1")
    found += residual_stages(settings["BACKBONE"], _block, _norm)
    for level in range(2, 6):
        found += convolution(f"backbone.fpn_lateral{level}", f"fpn_c{level}p{level}")
        found += convolution(f"backbone.fpn_output{level}", f"fpn_p{level}")
    found += convolution(_RPN + "conv", "rpn_conv_shared")
    found += convolution(_RPN + "objectness_logits", "rpn_class_raw")
    found += convolution(_RPN + "anchor_deltas", "rpn_bbox_pred", DELTAS)
    over_region = flattened(settings["POOL_SIZE"])
    found += dense("roi_heads.box_head.fc1", "mrcnn_class_conv1", turn=over_region)
    found += dense("roi_heads.box_head.fc2", "mrcnn_class_conv2")
    # The background is the last class of the logits; boxes and masks have none.
    classes = background_first(1, True)
    boxes = DELTAS.then(background_first(4, False))
    found += dense("roi_heads.box_predictor.cls_score", "mrcnn_class_logits", classes)
    found += dense("roi_heads.box_predictor.bbox_pred", "mrcnn_bbox_fc", boxes)
    if settings["USE_MASKS"]:
        for i in range(1, 5):
            found += convolution(f"roi_heads.mask_head.mask_fcn{i}", f"mrcnn_mask_conv{i}")
        found += convolution("roi_heads.mask_head.deconv", "mrcnn_mask_deconv")
        masks = background_first(1, False)
        found += convolution("roi_heads.mask_head.predictor", "mrcnn_mask", masks)
    return found


def _block(stage, block):
    return f"backbone.bottom_up.res{stage}.{block}"


def _norm(part):
    return part, f"{part}.norm"
