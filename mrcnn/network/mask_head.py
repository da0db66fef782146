"""The mask head: one small mask per class for each region (He et al. 2017, figure 4, right)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.network.regions import MergeBatch, SplitBatch
from mrcnn.network.resnet import normalisation


def build_mask_head(
    num_classes: int,
    channels: int,
    depth: int,
    norm: str | None = None,
    epsilon: float = 1e-5,
    bias: bool = False,
):
    """Creates the layers once and returns the function that applies them, for both graphs.

    Args:
        num_classes: classes including the background, whose mask is never used.
        channels: of the convolutions.
        depth: number of 3x3 convolutions before the upsampling.
        norm: None, or a kind of `resnet.normalisation`: "group" when training from scratch.
        epsilon: of the normalisation.
        bias: normalised convolutions have biases too.

    Returns:
        Function of pooled features [batch, rois, size, size, channels] giving mask logits
        [batch, rois, 2 size, 2 size, classes].
    """
    convolutions = [
        layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=bias or norm is None,
            kernel_initializer="he_normal",
            name=f"mrcnn_mask_conv{i + 1}",
        )  # fmt: skip
        for i in range(depth)
    ]
    names = [f"mrcnn_mask_{'gn' if norm == 'group' else 'bn'}{i + 1}" for i in range(depth)]
    norms = [normalisation(norm, channels, name, epsilon) for name in names if norm]
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
