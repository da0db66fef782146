"""Regions of a batch as samples of their own, and back."""

from __future__ import annotations

import keras
from keras import layers


@keras.saving.register_keras_serializable("mrcnn")
class MergeBatch(layers.Layer):
    """[batch, rois, ...] -> [batch * rois, ...]: regions are samples of their own."""

    def call(self, x):
        return keras.ops.reshape(x, (-1, *x.shape[2:]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, *x.shape[2:]), x.dtype)


@keras.saving.register_keras_serializable("mrcnn")
class SplitBatch(layers.Layer):
    """[batch * rois, ...] -> [batch, rois, ...].

    Args:
        rois: regions an image.
    """

    def __init__(self, rois, **kwargs):
        super().__init__(**kwargs)
        self.rois = rois

    def call(self, x):
        return keras.ops.reshape(x, (-1, self.rois, *x.shape[1:]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, self.rois, *x.shape[1:]), x.dtype)

    def get_config(self):
        return super().get_config() | {"rois": self.rois}
