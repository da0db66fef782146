"""Normalization layers of backbones, pyramid and heads."""

from __future__ import annotations

import math

import keras
from keras import layers


def normalisation(norm: str, channels: int, name: str, epsilon: float = 1e-5):
    """A layer that normalises feature maps [batch, height, width, channels].

    Args:
        norm: "batch" (statistics of the batch in training), "statistics" (moving statistics, but
            scale and offset learn), "frozen" (moving statistics, constant scale and offset) or
            "group" (Wu and He 2018: 32 groups, fewer where channels are few).
        channels: of the maps.
        name: of the layer.
        epsilon: added to the variance.
    """
    if norm == "group":
        return group_norm(channels, name, epsilon)
    kind = FixedStatistics if norm == "statistics" else layers.BatchNormalization
    return kind(epsilon=epsilon, momentum=0.9, name=name, trainable=norm != "frozen")


def normalise(x, name: str, norm: str, epsilon: float = 1e-5):
    """Applies such a layer to the maps `x`."""
    return normalisation(norm, x.shape[-1], name, epsilon)(x)


@keras.saving.register_keras_serializable("mrcnn")
class FixedStatistics(layers.BatchNormalization):
    """Batch normalisation by its moving statistics, in training too; scale and offset learn."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


def group_norm(channels: int, name: str, epsilon: float = 1e-5):
    """Group normalisation of so many channels: 32 groups from 128 channels on (Wu and He 2018).

    Narrower layers have fewer, so that a group holds several channels; the number always divides.
    """
    groups = math.gcd(32, channels) // (1 if channels >= 128 else 4)
    return layers.GroupNormalization(max(groups, 1), epsilon=epsilon, name=name)


def is_normalisation(layer) -> bool:
    """Whether a layer is batch or group normalisation, whose weights are not decayed."""
    return isinstance(layer, (keras.layers.BatchNormalization, keras.layers.GroupNormalization))
