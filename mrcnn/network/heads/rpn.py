"""The head of the region proposal network (Ren et al. 2015)."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import keras
from keras import layers


class RPNOutputs(NamedTuple):
    """What the RPN says about every anchor: lists with one entry per level, P2..P6.

    Attributes:
        logits: list of tensors `[batch, anchors]`, or `[batch, anchors, 2]` with softmax.
        probabilities: list of tensors `[batch, anchors, 2]` with softmax, else None.
        deltas: list of tensors `[batch, anchors, 4]`.
    """

    logits: list
    probabilities: list | None
    deltas: list

    @property
    def scores(self) -> list:
        """What ranks the anchors, `[batch, anchors]`: the logits, or the softmax of the object.

        Matterport's package ranks by probability. Saturated scores (1.0) then tie and keep the
        order of the anchors, whereas their logits would still differ.
        """
        if self.probabilities is None:
            return self.logits
        return [probability[..., 1] for probability in self.probabilities]


def rpn_head(
    pyramid: list,
    *,
    anchors_per_cell: int,
    anchor_stride: int = 1,
    channels: int | None = None,
    softmax: bool = False,
    convolutions: int = 1,
) -> RPNOutputs:
    """Applies one RPN to all levels of a pyramid.

    Args:
        pyramid: list of tensors. P2..P6, `[batch, height, width, channels]`.
        anchors_per_cell: int. See `rpn_model`, as for all further arguments.
        anchor_stride: int.
        channels: int or None.
        softmax: bool.
        convolutions: int.

    Returns:
        The `RPNOutputs`.
    """
    model = rpn_model(
        pyramid[0].shape[-1],
        anchors_per_cell=anchors_per_cell,
        anchor_stride=anchor_stride,
        channels=channels,
        softmax=softmax,
        convolutions=convolutions,
    )
    outputs = [model(feature_map) for feature_map in pyramid]
    if softmax:
        logits, probabilities, deltas = map(list, zip(*outputs, strict=True))
        return RPNOutputs(logits, probabilities, deltas)
    logits, deltas = map(list, zip(*outputs, strict=True))
    return RPNOutputs(logits, None, deltas)


def rpn_model(
    depth: int,
    *,
    anchors_per_cell: int,
    anchor_stride: int = 1,
    channels: int | None = None,
    softmax: bool = False,
    convolutions: int = 1,
) -> keras.Model:
    """Builds the small network that slides over every level.

    Args:
        depth: int. Channels of the maps.
        anchors_per_cell: int. Anchors per cell: the number of ratios.
        anchor_stride: int. Cells between anchors. Defaults to 1.
        channels: int or None. Channels of the shared convolutions. Defaults to None: `depth`.
        softmax: bool. Whether there are two logits per anchor, background and object. Defaults to
            False: one logit.
        convolutions: int. Shared convolutions, one after another. Defaults to 1.

    Returns:
        Model named "rpn_model": from a map `[batch, height, width, depth]` to logits
        `[batch, anchors]` (or `[batch, anchors, 2]`, followed by their softmax) and deltas
        `[batch, anchors, 4]`. Anchors are ordered by row, then by column, then by ratio.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)  # Faster R-CNN, section 3.1.3
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    shared = feature_map
    for number in range(1, convolutions + 1):
        first = number == 1
        shared = layers.Conv2D(
            channels or depth,
            3,
            strides=anchor_stride if first else 1,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name="rpn_conv_shared" if first else f"rpn_conv_shared{number}",
        )(shared)
    # In any dtype policy, as all that a head returns: 16 bits are not enough for it.
    exact = {"dtype": "float32"}
    predict = functools.partial(layers.Conv2D, kernel_size=1, kernel_initializer=small, **exact)
    raw = predict(anchors_per_cell * (2 if softmax else 1), name="rpn_class_raw")(shared)
    regression = predict(4 * anchors_per_cell, name="rpn_bbox_pred")(shared)
    deltas = layers.Reshape((-1, 4), name="rpn_deltas", **exact)(regression)
    if not softmax:
        logits = layers.Reshape((-1,), name="rpn_logits", **exact)(raw)
        return keras.Model(feature_map, [logits, deltas], name="rpn_model")
    logits = layers.Reshape((-1, 2), name="rpn_logits", **exact)(raw)
    probabilities = layers.Softmax(name="rpn_class_xxx", **exact)(logits)
    return keras.Model(feature_map, [logits, probabilities, deltas], name="rpn_model")


def join_levels(levels: list, name: str) -> Any:
    """Concatenates the anchors of all levels: list of `[batch, anchors, ...]` to one tensor."""
    return layers.Concatenate(axis=1, dtype="float32", name=name)(levels)
