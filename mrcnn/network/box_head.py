"""The box head: class and box of each pooled region (two fully connected layers)."""

from __future__ import annotations

import keras
from keras import layers


def build_box_head(num_classes: int, width: int):
    """Creates the layers once and returns the function that applies them, for both graphs.

    Args:
        num_classes: classes including the background.
        width: of the two hidden layers.

    Returns:
        Function of pooled features [batch, rois, size, size, channels] giving `logits`
        [batch, rois, classes], `probabilities` of the same shape and `deltas`
        [batch, rois, classes, 4].
    """
    hidden = [
        layers.Dense(
            width, activation="relu", kernel_initializer="he_uniform", name=f"mrcnn_class_conv{i}"
        )
        for i in (1, 2)
    ]
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
        x = layers.Reshape((pooled.shape[1], -1))(pooled)  # rows of height, width, channels
        for layer in hidden:
            x = layer(x)
        logits = classify(x)
        deltas = layers.Reshape((pooled.shape[1], num_classes, 4))(regress(x))
        return logits, softmax(logits), deltas

    return apply
