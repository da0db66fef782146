"""Which layers train: the named stages, and layers chosen by a regular expression."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

import keras

from mrcnn.network.layers.basic import layer_weights, leaf_layers
from mrcnn.network.layers.plan import is_head

# Matterport's names of the stages: the heads, and the backbone from a stage on.
STAGES = {"heads": None, "5+": 5, "4+": 4, "3+": 3, "all": 0}


def select_layers(
    model: keras.Model,
    layers: str,
    frozen_norm: bool,
    stages: Mapping[int, set[str]] | None = None,
) -> list[str]:
    """Makes layers trainable, and no others.

    Args:
        model: keras.Model. The training graph.
        layers: str. A key of `STAGES`, or a regular expression for whole layer names. `conv1`
            trains in any case if images are not RGB.
        frozen_norm: bool. Whether batch normalization of the backbone stays constant.
        stages: mapping or None. Layer names of the backbone by stage; see `Network.stages`.
            Defaults to None: "3+", "4+" and "5+" are refused.

    Returns:
        Names of the layers that train.

    Raises:
        ValueError: an invalid expression, or one that matches no layer with weights.
    """
    weighted = [layer for layer in leaf_layers(model) if layer_weights(layer)]
    names = [layer.name for layer in weighted]
    wanted = _wanted(layers, names, stages)
    chosen = []
    for layer in weighted:
        constant = frozen_norm and isinstance(layer, keras.layers.BatchNormalization)
        # No trained weights are for images that are not RGB: this layer learns at once.
        new = layer.name == "conv1" and layer.kernel.shape[2] != 3
        layer.trainable = (new or layer.name in wanted) and not constant
        if layer.trainable:
            chosen.append(layer.name)
    return chosen


def _wanted(layers, names, stages) -> set[str]:
    """The names that `layers` stands for."""
    if layers in STAGES:
        first = STAGES[layers]
        if first == 0:
            return set(names)
        found = {name for name in names if is_head(name)}
        if first is not None:
            backbone = (stages or {}).items()
            part = [name for stage, members in backbone if stage >= first for name in members]
            if not set(part) & set(names):
                raise ValueError(
                    f"layers={layers!r} needs a backbone whose stages are known; use 'heads', "
                    "'all' or a regular expression of layer names."
                )
            found |= set(part)
        return found
    try:
        pattern = re.compile(layers)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"layers must be one of {', '.join(map(repr, STAGES))} or a regular expression, "
            f"got {layers!r} ({error})."
        ) from error
    found = {name for name in names if pattern.fullmatch(name)}
    if not found:
        near = get_close_matches(str(layers).lower(), STAGES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"layers={layers!r} is none of {', '.join(map(repr, STAGES))}, and as a regular "
            f"expression it matches no layer with weights.{hint} Layer names look like "
            f"{', '.join(names[:5])}."
        )
    return found
