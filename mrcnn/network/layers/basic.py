"""Helpers for layers and their weights, pixel normalization, losses as layers."""

from __future__ import annotations

import dataclasses

import keras
from keras import layers

from mrcnn.dialects import dialect
from mrcnn.network.layers import losses


def numerics_of(config):
    """The `Numerics` of a Config: its dialect, with what it sets otherwise."""
    numerics = dialect(config.NUMERICS)
    if config.BATCH_NORM_EPSILON is None:
        return numerics
    return dataclasses.replace(numerics, batch_norm_epsilon=config.BATCH_NORM_EPSILON)


def leaf_layers(model) -> list:
    """The layers of a model, those of models inside it instead of these (the RPN is one)."""
    leaves = []
    for layer in model.layers:
        leaves += leaf_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return leaves


def layer_weights(layer) -> list:
    """The weights of a layer, without the state of a random generator."""
    return [weight for weight in layer.weights if "seed_generator" not in weight.path]


@keras.saving.register_keras_serializable("mrcnn")
class Normalise(layers.Layer):
    """(pixels - mean) / std, channel by channel; pixels 0..255."""

    def __init__(self, mean, std, **kwargs):
        super().__init__(**{"trainable": False} | kwargs)
        self.mean, self.std = tuple(mean), tuple(std)

    def call(self, image):
        return (image - keras.ops.array(self.mean, "float32")) / keras.ops.array(
            self.std, "float32"
        )

    def compute_output_spec(self, image):
        return keras.KerasTensor(image.shape, "float32")

    def get_config(self):
        return super().get_config() | {"mean": self.mean, "std": self.std}


@keras.saving.register_keras_serializable("mrcnn")
class Loss(layers.Layer):
    """Gives one of the pure functions of `losses` a name in the graph.

    Args:
        function: of `losses`, or its name.
        **options: keyword arguments of the function.
    """

    def __init__(self, function, name=None, trainable=False, dtype=None, **options):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.function = getattr(losses, function) if isinstance(function, str) else function
        self.options = options

    def call(self, *arrays):
        return self.function(*arrays, **self.options)

    def compute_output_spec(self, *arrays):
        return keras.KerasTensor((), "float32")

    def get_config(self):
        return super().get_config() | {"function": self.function.__name__} | self.options
