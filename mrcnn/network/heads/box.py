"""The box head: class and box of each pooled region (two fully connected layers)."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.network.layers.normalization import normalisation
from mrcnn.network.layers.regions import PerRegion


def build_box_head(
    num_classes: int, width: int, norm: str | None = None, epsilon: float = 1e-3, size: int = 7,
    convolutions: int = 0, channels: int = 256,
):  # fmt: skip
    """Creates the layers once and returns the function that applies them, for both graphs.

    Args:
        num_classes: classes including the background.
        width: of the two hidden layers.
        norm: None; or a kind of `resnet.normalisation` behind each hidden layer, which then are
            convolutions, the first over the whole region (Matterport's box head: the same product).
        epsilon: of that normalisation.
        size: cells per side of a region, for that first convolution.
        convolutions: instead of all that, so many 3x3 convolutions, normalised as `norm` says, in
            front of one fully connected layer (He et al. 2018, "Rethinking", 4conv1fc).
        channels: of these.

    Returns:
        Function of pooled features [batch, rois, size, size, channels] giving `logits`
        [batch, rois, classes], `probabilities` of the same shape and `deltas`
        [batch, rois, classes, 4].
    """
    if convolutions:
        hidden = _deep(convolutions, channels, width, norm, epsilon)
    else:
        hidden = _convolutions(width, norm, epsilon, size) if norm else _dense(width)
    # Small final weights: training starts from even odds and unmoved boxes (Fast R-CNN 3.1).
    classify = layers.Dense(
        num_classes,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        name="mrcnn_class_logits",
    )
    regress = layers.Dense(
        4 * num_classes,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
        name="mrcnn_bbox_fc",
    )
    softmax = layers.Softmax(name="mrcnn_class")

    def apply(pooled):
        x = hidden(pooled)
        logits = classify(x)
        deltas = layers.Reshape((pooled.shape[1], num_classes, 4), name="mrcnn_bbox")(regress(x))
        return logits, softmax(logits), deltas

    return apply


def _dense(width, depth=2):
    hidden = [
        layers.Dense(
            width, activation="relu", kernel_initializer="he_uniform", name=f"mrcnn_class_conv{i}"
        )
        for i in range(1, depth + 1)
    ]

    def apply(pooled):
        x = layers.Reshape((pooled.shape[1], -1))(pooled)  # rows of height, width, channels
        for layer in hidden:
            x = layer(x)
        return x

    return apply


def _deep(convolutions, channels, width, norm, epsilon):
    hidden = []
    for i in range(1, convolutions + 1):
        convolution = layers.Conv2D(
            channels, 3, padding="same", use_bias=norm is None, kernel_initializer="he_normal",
            name=f"mrcnn_box_conv{i}",
        )  # fmt: skip
        hidden.append(PerRegion(convolution))
        if norm:
            hidden.append(PerRegion(normalisation(norm, channels, f"mrcnn_box_bn{i}", epsilon)))
        hidden.append(layers.ReLU())
    connect = _dense(width, depth=1)

    def apply(pooled):
        for layer in hidden:
            pooled = layer(pooled)
        return connect(pooled)

    return apply


def _convolutions(width, norm, epsilon, size):
    hidden = []
    for i, kernel in ((1, size), (2, 1)):
        convolution = layers.Conv2D(
            width, kernel, kernel_initializer="he_uniform", name=f"mrcnn_class_conv{i}"
        )
        normalise = normalisation(norm, width, f"mrcnn_class_bn{i}", epsilon)
        hidden += [PerRegion(convolution), PerRegion(normalise), layers.ReLU()]

    def apply(pooled):
        x = pooled
        for layer in hidden:
            x = layer(x)
        return layers.Reshape((pooled.shape[1], width), name="pool_squeeze")(x)

    return apply
