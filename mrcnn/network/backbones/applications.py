"""Backbones by name: our ResNets, convolutional networks of keras.applications, or a callable."""

from __future__ import annotations

import difflib
import re

import keras

from mrcnn.network.backbones import resnet
from mrcnn.network.layers import normalization

STRIDES = (4, 8, 16, 32)


def _applications(image, name: str, norm: str) -> list:
    builders = {
        key.lower(): value
        for key, value in vars(keras.applications).items()
        if callable(value) and not key.startswith("_")
    }
    if str(name).lower() not in builders:
        choices = [*resnet.BLOCKS, *builders]
        near = difflib.get_close_matches(str(name).lower(), choices, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"BACKBONE must be one of {', '.join(resnet.BLOCKS)}, the name of a network in "
            f"keras.applications, or a callable; got {name!r}.{hint}"
        )
    if norm == "group":
        raise ValueError(
            f"BACKBONE_NORM='group' works with {', '.join(resnet.BLOCKS)}; {name} comes with its "
            "own normalisation: use 'batch' or 'frozen'."
        )
    # Probed at a fixed size, because the strides are read off the shapes.
    side = 256
    options = {"include_top": False, "weights": None}
    build = builders[str(name).lower()]
    probe = build(input_shape=(side, side, image.shape[-1]), **options)
    wanted = [_last_layer(probe, side // stride, name, stride) for stride in STRIDES]
    body = build(input_tensor=image, **options)
    # From the end: the body also holds the layers in front of `image`, the probe does not.
    wanted = [index - len(probe.layers) for index in wanted]
    if norm == "frozen":
        for layer in body.layers:
            if normalization.is_normalisation(layer):
                layer.trainable = False
    return [body.layers[index].output for index in wanted]


def _last_layer(model, side: int, name: str, stride: int) -> int:
    """Index of the last layer whose output has this side: the richest map of its stride."""
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
