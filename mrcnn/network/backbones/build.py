"""Builds the backbone that a name or a callable stands for."""

from __future__ import annotations

import inspect

from mrcnn.network.backbones import resnet
from mrcnn.network.backbones.applications import _applications


def backbone_maps(image, backbone, norm: str, numerics, width: int = 64) -> list:
    """The feature maps C2..C5 (strides 4, 8, 16, 32) of a backbone applied to an image.

    Args:
        image: normalised pixels, KerasTensor [batch, height, width, channels].
        backbone: "resnet18", "resnet34", "resnet50", "resnet101"; the name of a function in
            `keras.applications` in any case ("MobileNetV3Small"), which starts from random weights;
            or a callable that takes `image` and returns [C2, C3, C4, C5] or, as in Matterport's
            package, [C1, .., C5].
        norm: see `normalization.normalisation`.
        numerics: the `Numerics` of the dialect, for our ResNets.
        width: channels of the stem of our ResNets.

    Raises:
        ValueError: an unknown name, or a network that has no maps of these strides.
    """
    if callable(backbone):
        # Matterport's package calls it with these two.
        options = {"stage5": True, "train_bn": norm == "batch"}
        known = inspect.signature(backbone).parameters
        given = {name: value for name, value in options.items() if name in known}
        return list(backbone(image, **given))[-4:]
    if backbone in resnet.BLOCKS:
        return resnet.resnet(image, backbone, norm, numerics, width)[-4:]
    return _applications(image, backbone, norm)
