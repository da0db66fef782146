"""Which layers train: the named stages, and layers chosen by a regular expression."""

from __future__ import annotations

import re

import keras

from mrcnn.network.layers.basic import layer_weights, leaf_layers

_HEADS = r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)"
# Matterport's names of training stages: the heads, and the ResNet from a stage on.
STAGES = {
    "heads": _HEADS,
    "5+": r"(res5.*)|(bn5.*)|" + _HEADS,
    "4+": r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|" + _HEADS,
    "3+": r"(res3.*)|(bn3.*)|(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|" + _HEADS,
    "all": r".*",
}


def select_layers(model: keras.Model, layers: str, frozen_norm: bool) -> list[str]:
    """Makes the layers trainable whose name matches, and no others.

    Args:
        model: the training graph.
        layers: a key of `STAGES`, or a regular expression for whole layer names. `conv1` trains in
            any case when pictures are not RGB.
        frozen_norm: batch normalisation of the backbone stays constant.

    Returns:
        Names of the layers that train.

    Raises:
        ValueError: an invalid expression, or one that matches no layer with weights.
    """
    try:
        pattern = re.compile(STAGES.get(layers, layers))
    except (re.error, TypeError) as error:
        raise ValueError(
            f"layers must be one of {', '.join(map(repr, STAGES))} or a regular expression, "
            f"got {layers!r} ({error})."
        ) from error
    chosen = []
    for layer in leaf_layers(model):
        if not layer_weights(layer):
            continue
        constant = frozen_norm and isinstance(layer, keras.layers.BatchNormalization)
        # No trained weights are for pictures that are not RGB: these begin to learn at once.
        new = layer.name == "conv1" and layer.kernel.shape[2] != 3
        layer.trainable = (new or bool(pattern.fullmatch(layer.name))) and not constant
        if layer.trainable:
            chosen.append(layer.name)
    if not chosen:
        names = ", ".join(layer.name for layer in leaf_layers(model) if layer_weights(layer))
        raise ValueError(
            f"layers={layers!r} matches no layer with weights; names are such as {names[:300]} ..."
        )
    return chosen
