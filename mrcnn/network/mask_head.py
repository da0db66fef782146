"""The mask head: one small mask per class for each region (He et al. 2017, figure 4, right)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.network.resnet import group_norm


def build_mask_head(num_classes: int, channels: int, depth: int, norm: str | None = None):
    """Creates the layers once and returns the function that applies them, for both graphs.

    Args:
        num_classes: classes including the background, whose mask is never used.
        channels: of the convolutions.
        depth: number of 3x3 convolutions before the upsampling.
        norm: None, or "group" when training from scratch.

    Returns:
        Function of pooled features [batch, rois, size, size, channels] giving mask logits
        [batch, rois, 2 size, 2 size, classes].
    """
    convolutions = [
        layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=norm is None,
            kernel_initializer="he_normal",
            name=f"mrcnn_mask_conv{i + 1}",
        )  # fmt: skip
        for i in range(depth)
    ]
    norms = [group_norm(channels, f"mrcnn_mask_gn{i + 1}") for i in range(depth if norm else 0)]
    upsample = layers.Conv2DTranspose(
        channels, 2, strides=2, activation="relu", kernel_initializer="he_normal",
        name="mrcnn_mask_deconv",
    )  # fmt: skip
    predict = layers.Conv2D(
        num_classes, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        name="mrcnn_mask",
    )  # fmt: skip

    def apply(pooled):
        rois, size = pooled.shape[1:3]
        x = MergeBatch()(pooled)  # [batch * rois, size, size, channels]
        for index, convolution in enumerate(convolutions):
            x = convolution(x)
            x = layers.ReLU()(norms[index](x) if norms else x)
        x = predict(upsample(x))
        return SplitBatch(rois)(x)

    return apply


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
