"""Helpers for layers and their weights, pixel normalization, and losses as layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from mrcnn.network.layers import losses


class Unweighted(layers.Layer):
    """Base of layers without weights: they are not trainable, so summaries do not count them.

    They compute in float32 whatever the dtype policy of Keras is: pixels of boxes have no place in
    16 bits.
    """

    def __init__(self, trainable: bool = False, dtype: Any = "float32", **kwargs: Any):
        super().__init__(trainable=trainable, dtype=dtype, **kwargs)


def leaf_layers(model: keras.Model) -> list:
    """Returns the layers of a model, with those of nested models in place of these."""
    leaves = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):  # the RPN is one
            leaves += leaf_layers(layer)
        else:
            leaves.append(layer)
    return leaves


def layer_weights(layer: keras.layers.Layer) -> list:
    """Returns the weights of a layer, without the state of a random generator."""
    return [weight for weight in layer.weights if "seed_generator" not in weight.path]


@keras.saving.register_keras_serializable("mrcnn")
class Normalize(Unweighted):
    """Normalizes pixels: `(pixels - mean) / std`, channel by channel.

    Args:
        mean: sequence of float. One value per channel, in 0..255.
        std: sequence of float. One value per channel.

    Call arguments:
        image: tensor `[batch, height, width, channels]`, in 0..255.
    """

    def __init__(self, mean: Any, std: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.mean, self.std = tuple(mean), tuple(std)

    def call(self, image):
        mean = keras.ops.array(self.mean, "float32")
        std = keras.ops.array(self.std, "float32")
        return (image - mean) / std

    def compute_output_spec(self, image):
        return keras.KerasTensor(image.shape, "float32")

    def get_config(self):
        return super().get_config() | {"mean": self.mean, "std": self.std}


@keras.saving.register_keras_serializable("mrcnn")
class Loss(layers.Layer):
    """Gives one of the pure functions of `losses` a name in the graph.

    Args:
        function: callable or str. A function of `losses`, or its name.
        name: str or None. Name of the layer. Defaults to None: made up by Keras.
        trainable: bool. Defaults to False: there are no weights.
        dtype: str. Defaults to "float32", whatever the dtype policy of Keras is.
        **options: Keyword arguments of the function.

    Call arguments:
        *arrays: tensors. The positional arguments of the function.
    """

    def __init__(
        self,
        function: Callable | str,
        name: str | None = None,
        trainable: bool = False,
        dtype: Any = "float32",
        **options: Any,
    ):
        super().__init__(name=name, trainable=trainable, dtype=dtype)
        self.function = getattr(losses, function) if isinstance(function, str) else function
        self.options = options

    def call(self, *arrays):
        return self.function(*arrays, **self.options)

    def compute_output_spec(self, *arrays):
        return keras.KerasTensor((), "float32")

    def get_config(self):
        return super().get_config() | {"function": self.function.__name__} | self.options
