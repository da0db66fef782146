"""A layer applied to each region of each image."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable("mrcnn")
class PerRegion(layers.Wrapper):
    """Applies a layer for images to the regions of each image.

    `TimeDistributed` of Keras does this one region after the other. Here all regions are samples of
    one batch. Name, dtype policy and weights are those of the layer.

    Args:
        layer: keras.layers.Layer. A layer for a batch of images.
        name: str or None. Defaults to None: the name of the layer.

    Call arguments:
        x: tensor `[batch, rois, ...]`.

    Returns:
        Tensor `[batch, rois, ...]`.
    """

    def __init__(self, layer: keras.layers.Layer, name: str | None = None, **kwargs: Any):
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, name=name or layer.name, **kwargs)

    def build(self, input_shape):
        shape = (None, *input_shape[2:])
        if not self.layer.built:
            self.layer.build(shape)
        self.built = True

    def call(self, x):
        merged = self.layer(keras.ops.reshape(x, (-1, *x.shape[2:])))
        return keras.ops.reshape(merged, (-1, x.shape[1], *merged.shape[1:]))

    def compute_output_spec(self, x):
        shape = self.layer.compute_output_shape((None, *x.shape[2:]))
        return keras.KerasTensor((x.shape[0], x.shape[1], *shape[1:]), x.dtype)
