"""The mask head: one small mask per class for each region (He et al. 2017, figure 4, right)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from mrcnn.network.layers.normalization import normalization
from mrcnn.network.layers.regions import PerRegion


def build_mask_head(
    num_classes: int,
    *,
    channels: int,
    depth: int,
    norm: str | None = None,
    epsilon: float = 1e-5,
    bias: bool = False,
    probabilities: bool = False,
) -> Callable[[Any], Any]:
    """Creates the layers once and returns the function that applies them.

    Args:
        num_classes: int. Number of classes, including the background, whose mask is never used.
        channels: int. Channels of the convolutions.
        depth: int. Number of 3x3 convolutions in front of the upsampling.
        norm: str or None. Kind of `normalization`, such as "group" to train from scratch. Defaults
            to None.
        epsilon: float. Of the normalization. Defaults to 1e-5.
        bias: bool. Whether normalized convolutions have biases too. Defaults to False.
        probabilities: bool. Whether masks are returned as probabilities. Defaults to False: logits.

    Returns:
        Function of pooled features `[batch, rois, size, size, channels]` that returns masks
        `[batch, rois, 2 * size, 2 * size, classes]`.
    """
    chain: list = []
    for i in range(1, depth + 1):
        chain += _hidden(i, channels, norm, epsilon, bias)
    upsample = layers.Conv2DTranspose(
        channels,
        2,
        strides=2,
        activation="relu",
        kernel_initializer="he_normal",
        name="mrcnn_mask_deconv",
    )
    predict = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        activation="sigmoid" if probabilities else None,
        dtype="float32",  # in any dtype policy
        name="mrcnn_mask",
    )
    chain += [PerRegion(upsample), PerRegion(predict)]

    def apply(pooled):
        for layer in chain:
            pooled = layer(pooled)
        return pooled

    return apply


def _hidden(number: int, channels: int, norm: str | None, epsilon: float, bias: bool) -> list:
    """Returns the layers of one hidden convolution: itself, its normalization and ReLU."""
    convolution = layers.Conv2D(
        channels,
        3,
        padding="same",
        use_bias=bias or norm is None,
        kernel_initializer="he_normal",
        name=f"mrcnn_mask_conv{number}",
    )
    chain = [PerRegion(convolution)]
    if norm:
        name = f"mrcnn_mask_{'gn' if norm == 'group' else 'bn'}{number}"
        chain.append(PerRegion(normalization(norm, channels, name, epsilon)))
    return [*chain, layers.ReLU()]
