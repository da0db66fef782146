"""torchvision's Mask R-CNN (and Faster R-CNN) with a ResNet and FPN: names and layouts.

Reads `maskrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn_v2`. The published file of the first has
the names that torchvision used before version 0.13; they are translated to the current ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from mrcnn.weights.layouts import (
    DELTAS,
    Entry,
    batch_norm,
    convolution,
    dense,
    flattened,
    residual_stages,
)
from mrcnn.weights.shapes import Shapes

PREFIX = "backbone.body."  # only in names of this family
# Names before torchvision 0.13 -> current names. None: computed in `modern`.
_OLD = [
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)$", None),
]


def modern(name: str) -> str:
    """Returns the current name of a tensor.

    Args:
        name: str. The current name, or the one before torchvision 0.13.
    """
    for pattern, replacement in _OLD:
        match = re.match(pattern, name)
        if match and replacement:
            return match.expand(replacement)
        if match:  # mask_fcn1 is now layer 0
            return f"roi_heads.mask_head.{int(match[1]) - 1}.0.{match[2]}"
    return name


def dialect_of(names: Collection[str]) -> str:
    """Returns `torchvision_v2` if the pyramid is normalized, otherwise `torchvision`.

    Args:
        names: collection of str. The current names of the tensors.
    """
    v2 = "backbone.fpn.inner_blocks.0.1.weight" in names
    return "torchvision_v2" if v2 else "torchvision"


def settings(shapes: Shapes) -> dict[str, Any]:
    """Returns the Config values implied by the shapes of the tensors.

    Args:
        shapes: Shapes.

    Raises:
        ValueError: a missing tensor, or a network that is not supported.
    """
    v2 = dialect_of(shapes) == "torchvision_v2"
    fully_connected = "roi_heads.box_head." + ("5" if v2 else "fc6") + ".weight"
    found = backbone_settings(shapes)
    found |= {
        "NUM_CLASSES": shapes.classes("roi_heads.box_predictor.cls_score.weight"),
        "TOP_DOWN_PYRAMID_SIZE": shapes.rows("backbone.fpn.inner_blocks.0.0.weight"),
        "FPN_CLASSIF_FC_LAYERS_SIZE": shapes.rows(fully_connected),
        "USE_MASKS": "roi_heads.mask_predictor.mask_fcn_logits.weight" in shapes,
    }
    if found["USE_MASKS"]:
        found["MASK_CHANNELS"] = shapes.rows("roi_heads.mask_predictor.conv5_mask.bias")
    shapes.expect_anchors("rpn.head.cls_logits.weight")
    shapes.expect(_implied(found, fully_connected))
    if not v2 and any(name.endswith("num_batches_tracked") for name in shapes):
        # Batch normalization that was trained. The frozen one of the published weights has
        # epsilon 0.
        found["BATCH_NORM_EPSILON"] = 1e-5
    return found


def _implied(found, fully_connected):
    """Returns the shapes of the largest tensors, as the settings imply them."""
    classes, units = found["NUM_CLASSES"], found["FPN_CLASSIF_FC_LAYERS_SIZE"]
    pyramid = found["TOP_DOWN_PYRAMID_SIZE"]
    shapes = {
        "roi_heads.box_predictor.cls_score.weight": (classes, units),
        "roi_heads.box_predictor.bbox_pred.weight": (4 * classes, units),
        fully_connected: (units, pyramid * 7 * 7),
        "backbone.fpn.layer_blocks.0.0.weight": (pyramid, pyramid, 3, 3),
        "rpn.head.conv.0.0.weight": (pyramid, pyramid, 3, 3),
    }
    if found["USE_MASKS"]:
        masks = found["MASK_CHANNELS"]
        shapes["roi_heads.mask_head.1.0.weight"] = (masks, masks, 3, 3)
        shapes["roi_heads.mask_predictor.mask_fcn_logits.weight"] = (classes, masks, 1, 1)
    return shapes


def backbone_settings(shapes: Shapes) -> dict[str, Any]:
    """Returns the Config values of the ResNet alone.

    Args:
        shapes: Shapes.

    Raises:
        ValueError: a missing tensor, or a backbone that is not supported.
    """
    return shapes.resnet(
        "backbone.body.conv1.weight", r"backbone\.body\.layer(\d)\.(\d{1,3})\.conv(\d)"
    )


def backbone_entries(settings: dict[str, Any]) -> list[Entry]:
    """Returns the entries of the tensors of the ResNet.

    Args:
        settings: dict. Its `BACKBONE` is used.
    """
    found = convolution("backbone.body.conv1", "conv1", bias=False)
    found += batch_norm("backbone.body.bn1", "bn_conv1")
    return found + residual_stages(settings["BACKBONE"], _block, _norm)


def entries(settings: dict[str, Any]) -> list[Entry]:
    """Returns the entries of all tensors of a network.

    Args:
        settings: dict. The result of `settings`, `NUMERICS` and `POOL_SIZE`.
    """
    v2 = settings["NUMERICS"] == "torchvision_v2"
    found = backbone_entries(settings)
    for index in range(4):
        level = index + 2
        for kind, layer in (("inner", f"fpn_c{level}p{level}"), ("layer", f"fpn_p{level}")):
            found += _conv_norm(f"backbone.fpn.{kind}_blocks.{index}", layer, f"{layer}_norm", v2)
    found += convolution("rpn.head.conv.0.0", "rpn_conv_shared")
    if v2:
        found += convolution("rpn.head.conv.1.0", "rpn_conv_shared2")
    found += convolution("rpn.head.cls_logits", "rpn_class_raw")
    found += convolution("rpn.head.bbox_pred", "rpn_bbox_pred", DELTAS)
    over_region = flattened(settings["POOL_SIZE"])
    if v2:
        for i in range(4):
            names = f"mrcnn_box_conv{i + 1}", f"mrcnn_box_bn{i + 1}"
            found += _conv_norm(f"roi_heads.box_head.{i}", *names, True)
        found += dense("roi_heads.box_head.5", "mrcnn_class_conv1", turn=over_region)
    else:
        found += dense("roi_heads.box_head.fc6", "mrcnn_class_conv1", turn=over_region)
        found += dense("roi_heads.box_head.fc7", "mrcnn_class_conv2")
    found += dense("roi_heads.box_predictor.cls_score", "mrcnn_class_logits")
    found += dense("roi_heads.box_predictor.bbox_pred", "mrcnn_bbox_fc", DELTAS)
    if settings["USE_MASKS"]:
        for i in range(4):
            names = f"mrcnn_mask_conv{i + 1}", f"mrcnn_mask_bn{i + 1}"
            found += _conv_norm(f"roi_heads.mask_head.{i}", *names, v2)
        found += convolution("roi_heads.mask_predictor.conv5_mask", "mrcnn_mask_deconv")
        found += convolution("roi_heads.mask_predictor.mask_fcn_logits", "mrcnn_mask")
    return found


def _block(stage, block):
    return f"backbone.body.layer{stage - 1}.{block}"


def _norm(part):
    if part == "shortcut":
        return "downsample.0", "downsample.1"
    return part, part.replace("conv", "bn")


def _conv_norm(theirs, layer, norm_layer, normalized):
    """torchvision's Conv2dNormActivation: `.0` is the convolution, `.1` its normalization."""
    found = convolution(f"{theirs}.0", layer, bias=not normalized)
    return found + (batch_norm(f"{theirs}.1", norm_layer) if normalized else [])
