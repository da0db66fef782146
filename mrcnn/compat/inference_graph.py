"""Matterport's inference graph: molded images, image_meta and anchors to seven outputs."""

from __future__ import annotations

import functools
from typing import Any

import keras

from mrcnn.compat.images import META_COLUMNS
from mrcnn.network.heads.rpn import join_levels
from mrcnn.network.layers.matterport import JoinDetections
from mrcnn.network.mask_rcnn import Network, Trunk, trunk


class OldNetwork(Network):
    """A network of the Matterport dialect whose detector has Matterport's inputs.

    Args:
        config: Config. Checked by `validate`.

    Attributes:
        old_inputs: list of tensors. Molded images `[batch, h, w, C]`, image_meta
            `[batch, 12 + NUM_CLASSES]` and normalized anchors `[batch, anchors, 4]`.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        meta = keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta")
        anchors = keras.Input((None, 4), name="input_anchors")
        self.old_inputs = [self.image, meta, anchors]
        self.window = meta[:, META_COLUMNS["window"]]

    @functools.cached_property
    def trunk(self) -> Trunk:
        """The part that the graphs share, from images without their mean pixel."""
        _, _, anchors = self.old_inputs
        return trunk(self.parts, self.image, self.image)._replace(anchors=[anchors])

    @functools.cached_property
    def _tensors(self) -> dict[str, Any]:
        """The forward path of `network.mask_rcnn.detections`, with its intermediate tensors."""
        parts, pyramid = self.parts, self.trunk.pyramid[:4]
        *_, window = inputs = proposal_inputs(self)
        rois = parts.proposals(*inputs)
        _, probabilities, deltas = parts.box_head(parts.pool_boxes(pyramid, rois))
        found = parts.detections(rois, probabilities, deltas, window)
        tensors = {"rois": rois, "probabilities": probabilities, "deltas": deltas, "found": found}
        if parts.has_masks:
            tensors["masks"] = parts.mask_head(parts.pool_masks(pyramid, found["boxes"]))
        return tensors

    @functools.cached_property
    def detector(self) -> keras.Model:
        """A model from Matterport's inputs to the dict of the detector of this package."""
        outputs = self._tensors["found"]
        if self.parts.has_masks:
            masks = self.parts.select_masks(self._tensors["masks"], outputs["class_ids"])
            outputs = outputs | {"masks": masks}
        return keras.Model(self.old_inputs, outputs, name="mask_rcnn")

    @functools.cached_property
    def inference(self) -> keras.Model:
        """A model from Matterport's inputs to its seven outputs (six without masks)."""
        tensors, rpn = self._tensors, self.trunk.rpn
        join = JoinDetections(self.config.DETECTION_MIN_CONFIDENCE, name="mrcnn_detection")
        outputs = [join(tensors["found"]), tensors["probabilities"], tensors["deltas"]]
        outputs += [tensors["masks"]] if self.parts.has_masks else []
        outputs += [
            tensors["rois"],
            join_levels(rpn.probabilities or [], "rpn_class"),
            join_levels(rpn.deltas, "rpn_bbox"),
        ]
        return keras.Model(self.old_inputs, outputs, name="mask_rcnn")


def proposal_inputs(network: Network) -> tuple:
    """Returns the arguments of the proposal layer in the inference graph of any dialect.

    Args:
        network: Network.
    """
    window = network.parts.coordinates(network.image, network.window)
    return network.trunk.rpn.scores, network.trunk.rpn.deltas, network.trunk.anchors, window


def rpn_layers(network: Network) -> dict[str, keras.Layer]:
    """Returns layers with the outputs of the RPN under Matterport's names, for any other dialect.

    The graph of such a dialect has no need of them: it keeps the levels of the pyramid apart, and
    has one logit per anchor, which is the second of two whose first is 0.

    Args:
        network: Network. Its inference graph is used.

    Returns:
        Dict of layers by name: the `output` of `rpn_class_logits` and `rpn_class` is
        `[batch, anchors, 2]`, that of `rpn_bbox` `[batch, anchors, 4]`.
    """
    rpn = network.trunk.rpn
    logits = keras.ops.concatenate(rpn.logits, axis=1)
    pair = keras.ops.stack([keras.ops.zeros_like(logits), logits], axis=-1)
    named = keras.layers.Identity(dtype="float32", name="rpn_class_logits")
    softmax = keras.layers.Softmax(dtype="float32", name="rpn_class")
    join = keras.layers.Concatenate(axis=1, dtype="float32", name="rpn_bbox")
    softmax(named(pair))
    join(rpn.deltas)
    return {layer.name: layer for layer in (named, softmax, join)}
