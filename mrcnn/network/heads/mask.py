"""The mask head: one small mask per class for each region (He et al. 2017, figure 4, right)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.network.layers.normalization import normalisation
from mrcnn.network.layers.regions import PerRegion


def build_mask_head(
    num_classes: int,
    channels: int,
    depth: int,
    norm: str | None = None,
    epsilon: float = 1e-5,
    bias: bool = False,
    probabilities: bool = False,
):
    """Creates the layers once and returns the function that applies them, for both graphs.

    Args:
        num_classes: classes including the background, whose mask is never used.
        channels: of the convolutions.
        depth: number of 3x3 convolutions before the upsampling.
        norm: None, or a kind of `resnet.normalisation`: "group" when training from scratch.
        epsilon: of the normalisation.
        bias: normalised convolutions have biases too.
        probabilities: the masks leave as probabilities, not as logits.

    Returns:
        Function of pooled features [batch, rois, size, size, channels] giving masks
        [batch, rois, 2 size, 2 size, classes], logits or probabilities.
    """
    hidden = []
    for i in range(1, depth + 1):
        convolution = layers.Conv2D(
            channels, 3, padding="same", use_bias=bias or norm is None,
            kernel_initializer="he_normal", name=f"mrcnn_mask_conv{i}",
        )  # fmt: skip
        hidden.append(PerRegion(convolution))
        if norm:
            name = f"mrcnn_mask_{'gn' if norm == 'group' else 'bn'}{i}"
            hidden.append(PerRegion(normalisation(norm, channels, name, epsilon)))
        hidden.append(layers.ReLU())
    upsample = layers.Conv2DTranspose(
        channels, 2, strides=2, activation="relu", kernel_initializer="he_normal",
        name="mrcnn_mask_deconv",
    )  # fmt: skip
    predict = layers.Conv2D(
        num_classes, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        activation="sigmoid" if probabilities else None, name="mrcnn_mask",
    )  # fmt: skip
    hidden += [PerRegion(upsample), PerRegion(predict)]

    def apply(pooled):
        for layer in hidden:
            pooled = layer(pooled)
        return pooled

    return apply
