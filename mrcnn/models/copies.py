"""Copies of models by pickle and copy.deepcopy: the graphs are built again around the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from mrcnn.config import Config
from mrcnn.folder import ModelFolder
from mrcnn.network.layers.basic import layer_weights

_STATE = ("class_names", "epoch", "_optimizer_file")


def reduce(model: Any) -> tuple[Callable, tuple]:
    """Returns what `__reduce__` of a model has to: how to build it again, and from what.

    Args:
        model: MaskRCNN. Its compiled functions do not travel.
    """
    # In order, since Keras numbers the names of some layers through the whole process.
    weights = [
        [keras.ops.convert_to_numpy(weight.value) for weight in layer_weights(layer)]
        for layer in model.network.layers
    ]
    state = {name: getattr(model, name) for name in _STATE}
    return rebuild, (type(model), model.mode, model.config, model.model_dir, weights, state)


def rebuild(
    cls: type, mode: str, config: Config, model_dir: str, weights: list, state: dict[str, Any]
) -> Any:
    """Builds a model from the parts that `reduce` returned."""
    model: Any = object.__new__(cls)  # without __init__, which draws new weights
    model.model_dir = model_dir
    model.keras_model = model.build(mode, config)
    for layer, values in zip(model.network.layers, weights, strict=True):
        for weight, value in zip(layer_weights(layer), values, strict=True):
            weight.assign(value)
    # Two models never train in one folder.
    model.folder = ModelFolder.new(model_dir, config.NAME)
    vars(model).update(state)
    return model
