"""The box head: the class and the box of each pooled region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from mrcnn.network.layers.normalization import normalization
from mrcnn.network.layers.regions import PerRegion


def build_box_head(
    num_classes: int,
    *,
    width: int,
    norm: str | None = None,
    epsilon: float = 1e-3,
    size: int = 7,
    convolutions: int = 0,
    channels: int = 256,
) -> Callable[[Any], tuple]:
    """Creates the layers once and returns the function that applies them.

    By default there are two dense layers. With `norm` they are convolutions, the first over the
    whole region (Matterport's box head: the same product). With `convolutions` there are that many
    3x3 convolutions in front of one dense layer (4conv1fc; He et al. 2018, "Rethinking ImageNet
    Pre-training").

    Args:
        num_classes: int. Number of classes, including the background.
        width: int. Units of a hidden layer.
        norm: str or None. Kind of `normalization` behind each hidden convolution. Defaults to None.
        epsilon: float. Of the normalization. Defaults to 1e-3.
        size: int. Cells per side of a region, for the first convolution. Defaults to 7.
        convolutions: int. See above. Defaults to 0.
        channels: int. Channels of these convolutions. Defaults to 256.

    Returns:
        Function of pooled features `[batch, rois, size, size, channels]` that returns `logits`
        `[batch, rois, classes]`, `probabilities` of the same shape, and `deltas`
        `[batch, rois, classes, 4]`.
    """
    if convolutions:
        hidden = _deep(convolutions, channels, width, norm, epsilon)
    elif norm:
        hidden = _convolutional(width, norm, epsilon, size)
    else:
        hidden = _dense(width)
    # Small final weights: training starts from even odds and unmoved boxes (Fast R-CNN 3.1).
    classify = layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        dtype="float32",  # in any dtype policy, as all that a head returns
        name="mrcnn_class_logits",
    )
    regress = layers.Dense(
        4 * num_classes,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
        dtype="float32",
        name="mrcnn_bbox_fc",
    )
    softmax = layers.Softmax(dtype="float32", name="mrcnn_class")

    def apply(pooled):
        x = hidden(pooled)  # [batch, rois, width]
        logits = classify(x)
        shape = (pooled.shape[1], num_classes, 4)
        deltas = layers.Reshape(shape, dtype="float32", name="mrcnn_bbox")(regress(x))
        return logits, softmax(logits), deltas

    return apply


def _dense(width: int, depth: int = 2) -> Callable[[Any], Any]:
    hidden = [
        layers.Dense(
            width, activation="relu", kernel_initializer="he_uniform", name=f"mrcnn_class_conv{i}"
        )
        for i in range(1, depth + 1)
    ]

    def apply(pooled):
        # [batch, rois, size * size * channels], in the order rows, columns, channels
        x = layers.Reshape((pooled.shape[1], -1))(pooled)
        return _sequence(hidden, x)

    return apply


def _deep(
    convolutions: int, channels: int, width: int, norm: str | None, epsilon: float
) -> Callable[[Any], Any]:
    hidden: list = []
    for i in range(1, convolutions + 1):
        convolution = layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=norm is None,
            kernel_initializer="he_normal",
            name=f"mrcnn_box_conv{i}",
        )
        hidden.append(PerRegion(convolution))
        if norm:
            hidden.append(PerRegion(normalization(norm, channels, f"mrcnn_box_bn{i}", epsilon)))
        hidden.append(layers.ReLU())
    dense = _dense(width, depth=1)
    return lambda pooled: dense(_sequence(hidden, pooled))


def _convolutional(width: int, norm: str, epsilon: float, size: int) -> Callable[[Any], Any]:
    hidden: list = []
    for i, kernel in ((1, size), (2, 1)):
        convolution = layers.Conv2D(
            width, kernel, kernel_initializer="he_uniform", name=f"mrcnn_class_conv{i}"
        )
        hidden.append(PerRegion(convolution))
        hidden.append(PerRegion(normalization(norm, width, f"mrcnn_class_bn{i}", epsilon)))
        hidden.append(layers.ReLU())

    def apply(pooled):
        x = _sequence(hidden, pooled)  # [batch, rois, 1, 1, width]
        return layers.Reshape((pooled.shape[1], width), name="pool_squeeze")(x)

    return apply


def _sequence(chain: list, x: Any) -> Any:
    for layer in chain:
        x = layer(x)
    return x
