"""Backbones of `keras.applications`: any convolutional network with maps of the usual strides."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras

from mrcnn.network.layers.normalization import is_normalization

STRIDES = (4, 8, 16, 32)
_SIDE = 256  # of the image that a network is probed with, because strides are read off the shapes


def names() -> list[str]:
    """Returns the names of the networks in `keras.applications`, in lower case."""
    return list(_builders())


def build(image: Any, name: str, *, norm: str, **options: Any) -> list:
    """Applies a network, which starts from random weights.

    Args:
        image: tensor `[batch, height, width, channels]`, normalized pixels.
        name: str. One of `names()`.
        norm: str. "frozen" makes its normalization constant. "group" is refused: the networks come
            with a normalization of their own.
        **options: Ignored; they are for our ResNets.

    Returns:
        List of tensors C2..C5: of each stride the last map, which is the richest.

    Raises:
        ValueError: `norm` is "group", or the network has no maps of strides 4, 8, 16 and 32.
    """
    if norm == "group":
        raise ValueError(
            "BACKBONE_NORM='group' works with resnet18, resnet34, resnet50 and resnet101; "
            f"{name} comes with its own normalization: use 'batch' or 'frozen'."
        )
    create = _builders()[name]
    channels = image.shape[-1]
    probe = create(input_shape=(_SIDE, _SIDE, channels), include_top=False, weights=None)
    wanted = [_last_layer(probe, stride, name) for stride in STRIDES]
    body = create(input_tensor=image, include_top=False, weights=None)
    if norm == "frozen":
        for layer in body.layers:
            if is_normalization(layer):
                layer.trainable = False
    # Count from the end: the body also holds the layers in front of `image`, the probe does not.
    return [body.layers[index - len(probe.layers)].output for index in wanted]


def _builders() -> dict[str, Callable]:
    return {
        name.lower(): function
        for name, function in vars(keras.applications).items()
        if callable(function) and not name.startswith("_")
    }


def _last_layer(model: keras.Model, stride: int, name: str) -> int:
    """Index of the last layer whose output has this stride."""
    side = _SIDE // stride
    found = [
        index
        for index, layer in enumerate(model.layers)
        if len(getattr(layer.output, "shape", ())) == 4
        and layer.output.shape[1:3] == (side, side)
        and not re.search("pad", layer.name)
    ]
    if not found:
        raise ValueError(
            f"BACKBONE {name!r} has no feature map of stride {stride}, so the pyramid cannot be "
            "built on it; use a network with maps of strides 4, 8, 16 and 32."
        )
    return found[-1]
