"""Layers that only the Matterport dialect needs."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import boxes as box_ops


@keras.saving.register_keras_serializable("mrcnn")
class NormaliseBoxes(layers.Layer):
    """Pixel boxes of an image batch in the coordinates of `ops.boxes.normalize`; zeros stay."""

    def call(self, image, boxes):
        real = keras.ops.any(boxes != 0, axis=-1, keepdims=True)
        height, width = keras.ops.shape(image)[1:3]
        return keras.ops.where(real, box_ops.normalize(boxes, height, width), 0.0)

    def compute_output_spec(self, image, boxes):
        return keras.KerasTensor(boxes.shape, "float32")


@keras.saving.register_keras_serializable("mrcnn")
class JoinDetections(layers.Layer):
    """Matterport's rows of detections.

    Args:
        min_confidence: detections of a lower score become rows of zeros.

    Call: the outputs of `DetectionLayer` -> [batch, n, 6]: y1, x1, y2, x2, class id, score.
    """

    def __init__(self, min_confidence=0.0, **kwargs):
        super().__init__(**{"trainable": False} | kwargs)
        self.min_confidence = min_confidence

    def call(self, detections):
        class_ids = ops.cast(detections["class_ids"], "float32")[..., None]
        scores = detections["scores"][..., None]
        rows = ops.concatenate([detections["boxes"], class_ids, scores], axis=-1)
        return ops.where(scores >= self.min_confidence, rows, 0.0)

    def compute_output_spec(self, detections):
        return keras.KerasTensor((*detections["boxes"].shape[:2], 6), "float32")

    def get_config(self):
        return super().get_config() | {"min_confidence": self.min_confidence}


@keras.saving.register_keras_serializable("mrcnn")
class Margin(layers.Layer):
    """[..., 2] -> [...]: the second logit less the first; its sigmoid is the softmax."""

    def call(self, logits):
        return logits[..., 1] - logits[..., 0]

    def compute_output_spec(self, logits):
        return keras.KerasTensor(logits.shape[:-1], logits.dtype)


class ProposalStages(layers.Layer):
    """The stages of a `ProposalLayer`, for those who want to see them.

    Args:
        layer: the ProposalLayer.

    Call: its inputs -> dict of `pre_nms_anchors`, `refined_anchors`, `refined_anchors_clipped`
    [batch, n, 4], and `rpn_non_max_suppression` int32 [n]: the rows of these that NMS left in the
    first image, best first. (Matterport's names.)
    """

    def __init__(self, layer):
        super().__init__(trainable=False)
        self.layer = layer

    def call(self, *inputs):
        stages = self.layer.stages(*inputs)
        count = ops.sum(ops.cast(stages["valid"][0], "int32"))
        kept = stages["index"][0, :count]
        return {name: stages[name] for name in self._boxes} | {"rpn_non_max_suppression": kept}

    _boxes = ("pre_nms_anchors", "refined_anchors", "refined_anchors_clipped")

    def compute_output_spec(self, *inputs):
        specs = {name: keras.KerasTensor((None, None, 4), "float32") for name in self._boxes}
        return specs | {"rpn_non_max_suppression": keras.KerasTensor((None,), "int32")}
