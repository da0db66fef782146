"""Normalization layers of backbones, pyramid and heads."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers


def normalization(norm: str, channels: int, name: str, epsilon: float = 1e-5) -> keras.layers.Layer:
    """Returns a layer that normalizes feature maps `[batch, height, width, channels]`.

    Args:
        norm: str. "batch" (statistics of the batch in training), "statistics" (moving statistics,
            but scale and offset learn), "frozen" (moving statistics, constant scale and offset) or
            "group" (Wu and He 2018: 32 groups, fewer if there are few channels).
        channels: int. Channels of the maps.
        name: str. Name of the layer.
        epsilon: float. Added to the variance. Defaults to 1e-5.
    """
    if norm == "group":
        return group_norm(channels, name, epsilon)
    kind = FixedStatistics if norm == "statistics" else layers.BatchNormalization
    return kind(epsilon=epsilon, momentum=0.9, name=name, trainable=norm != "frozen")


def normalize(x: Any, name: str, norm: str, epsilon: float = 1e-5) -> Any:
    """Applies a new layer of `normalization` to the maps `x`."""
    return normalization(norm, x.shape[-1], name, epsilon)(x)


@keras.saving.register_keras_serializable("mrcnn")
class FixedStatistics(layers.BatchNormalization):
    """Batch normalization with its moving statistics, in training too; scale and offset learn."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def group_norm(channels: int, name: str, epsilon: float = 1e-5) -> keras.layers.Layer:
    """Returns a group normalization layer: 32 groups from 128 channels on (Wu and He 2018).

    Narrower layers have fewer groups, so that a group holds several channels. The number of groups
    always divides the number of channels.

    Args:
        channels: int. Channels of the maps.
        name: str. Name of the layer.
        epsilon: float. Added to the variance. Defaults to 1e-5.
    """
    groups = math.gcd(32, channels) // (1 if channels >= 128 else 4)
    return layers.GroupNormalization(max(groups, 1), epsilon=epsilon, name=name)


def is_normalization(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer is a batch or group normalization."""
    return isinstance(layer, (keras.layers.BatchNormalization, keras.layers.GroupNormalization))
