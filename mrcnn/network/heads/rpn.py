"""Region proposal network (Ren et al. 2015): its head, its anchors and the proposal layer."""

from __future__ import annotations

import keras
from keras import layers

from mrcnn.network.layers.matterport import Margin


def rpn_model(
    depth: int, anchors_per_cell: int, anchor_stride: int = 1, channels: int | None = None,
    softmax: bool = False, convolutions: int = 1,
) -> keras.Model:  # fmt: skip
    """The small network that is slid over every level.

    Args:
        depth: channels of the maps.
        anchors_per_cell: ratios, and sizes where a level has several.
        anchor_stride: cells between anchors.
        channels: of the shared convolutions; None: `depth`.
        softmax: two logits an anchor, background and object, instead of one.
        convolutions: shared ones, one after another.

    Returns:
        Model named "rpn_model": a map [batch, height, width, depth] to logits [batch, anchors] (or
        [batch, anchors, 2], and their softmax) and deltas [batch, anchors, 4]. Anchors go cell by
        cell, row by row, then by ratio.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)  # Faster R-CNN, section 3.1.3
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    shared = feature_map
    for number in range(1, convolutions + 1):
        shared = layers.Conv2D(
            channels or depth, 3, strides=anchor_stride if number == 1 else 1, padding="same",
            activation="relu", kernel_initializer="he_normal",
            name="rpn_conv_shared" if number == 1 else f"rpn_conv_shared{number}",
        )(shared)  # fmt: skip
    objectness = layers.Conv2D(
        anchors_per_cell * (2 if softmax else 1), 1, kernel_initializer=small, name="rpn_class_raw"
    )(shared)
    regression = layers.Conv2D(
        4 * anchors_per_cell, 1, kernel_initializer=small, name="rpn_bbox_pred"
    )(shared)
    outputs = [layers.Reshape((-1, 2) if softmax else (-1,), name="rpn_logits")(objectness)]
    if softmax:
        outputs.append(layers.Softmax(name="rpn_class_xxx")(outputs[0]))
    outputs.append(layers.Reshape((-1, 4), name="rpn_deltas")(regression))
    return keras.Model(feature_map, outputs, name="rpn_model")


def rpn_head(
    pyramid: list, anchors_per_cell: int, anchor_stride: int = 1, channels: int | None = None,
    softmax: bool = False, convolutions: int = 1,
):  # fmt: skip
    """Objectness and box deltas of each anchor of all levels.

    Args:
        pyramid: P2..P6, [batch, height, width, channels].
        anchors_per_cell, anchor_stride, channels, softmax, convolutions: see `rpn_model`.

    Returns:
        `logits` [batch, anchors] and `deltas` [batch, anchors, 4], the levels concatenated P2..P6;
        `scores` [batch, anchors], which rank them: the logits, or the softmax of the object; and
        with softmax what it gives, [batch, anchors, 2], else None.
    """
    depth = pyramid[0].shape[-1]
    model = rpn_model(depth, anchors_per_cell, anchor_stride, channels, softmax, convolutions)
    names = ["rpn_class_logits", "rpn_class", "rpn_bbox"]
    if not softmax:
        names.remove("rpn_class")
    levels = zip(*(model(feature_map) for feature_map in pyramid), strict=True)
    logits, *probabilities, deltas = (
        layers.Concatenate(axis=1, name=name)(list(level))
        for name, level in zip(names, levels, strict=True)
    )
    if not softmax:
        return logits, deltas, logits, None
    # Ranked by probability, as the old code: where that is 1 the order is the anchors', which
    # the logits would tell apart.
    return Margin(name="rpn_objectness")(logits), deltas, probabilities[0][..., 1], probabilities[0]
