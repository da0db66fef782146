"""Layers that only the Matterport dialect needs.

Its graph uses the coordinates of `ops.boxes.normalize`, pools regions and cuts mask targets from
corner to corner with one sample per cell, and has two logits per anchor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.network.layers.basic import Unweighted
from mrcnn.network.rois.targets import MaskTargets
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import roi_align


@keras.saving.register_keras_serializable("mrcnn")
class NormalizeBoxes(Unweighted):
    """Brings pixel boxes into the coordinates of `ops.boxes.normalize`; zero rows stay zero.

    Call arguments:
        image: tensor `[batch, height, width, channels]`. Only its shape is used.
        boxes: tensor `[..., 4]` in pixels.

    Returns:
        Tensor of the shape of `boxes`.
    """

    def call(self, image, boxes):
        real = ops.any(boxes != 0, axis=-1, keepdims=True)
        height, width = ops.shape(image)[1:3]
        return ops.where(real, box_ops.normalize(boxes, height, width), 0.0)

    def compute_output_spec(self, image, boxes):
        return keras.KerasTensor(boxes.shape, "float32")


@keras.saving.register_keras_serializable("mrcnn")
class Margin(Unweighted):
    """Subtracts the first of two logits from the second: `[..., 2]` to `[...]`.

    The sigmoid of the result is the softmax of the second logit.
    """

    def call(self, logits):
        return logits[..., 1] - logits[..., 0]

    def compute_output_spec(self, logits):
        return keras.KerasTensor(logits.shape[:-1], logits.dtype)


@keras.saving.register_keras_serializable("mrcnn")
class CornerPooling(Unweighted):
    """Pools each region with one bilinear sample per cell, the outermost on the bounds of the box.

    Args:
        size: int. Cells per side of a pooled region.
        strides: sequence of int. Pixels per cell of the maps, P2 first.

    Call arguments:
        maps: list of tensors. P2..P5, `[batch, height, width, channels]`.
        boxes: tensor `[batch, rois, 4]`, normalized.

    Returns:
        Tensor `[batch, rois, size, size, channels]`.
    """

    def __init__(self, size: int, strides: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.strides = size, tuple(strides)

    def call(self, maps, boxes):
        rows, columns = ops.shape(maps[0])[1:3]
        levels = roi_align.assign_nearest_levels(boxes, rows * columns * self.strides[0] ** 2)
        return roi_align.pyramid_crop(maps, boxes, self.size, levels)

    def compute_output_spec(self, maps, boxes):
        shape = (*boxes.shape[:2], self.size, self.size, maps[0].shape[-1])
        return keras.KerasTensor(shape, maps[0].dtype)

    def get_config(self):
        return super().get_config() | {"size": self.size, "strides": self.strides}


@keras.saving.register_keras_serializable("mrcnn")
class CornerMaskTargets(MaskTargets):
    """Cuts mask targets as `MaskTargets`, from corner to corner and in normalized coordinates."""

    def whole_image(self, image: Any) -> list:
        """Returns the frame of a mask that covers the image."""
        return [0, 0, 1, 1]

    def crop(self, masks: Any, frames: Any, boxes: Any, gt_index: Any, output_size: Any) -> Any:
        """Samples masks inside boxes; see `ops.roi_align.crop_masks_at_corners`."""
        return roi_align.crop_masks_at_corners(masks, frames, boxes, gt_index, output_size)


@keras.saving.register_keras_serializable("mrcnn")
class JoinDetections(Unweighted):
    """Joins detections into the rows of Matterport's package.

    Args:
        min_confidence: float. Detections with a lower score become rows of zeros. Defaults to 0.

    Call arguments:
        detections: dict. The outputs of a `DetectionLayer`.

    Returns:
        Tensor `[batch, n, 6]`: y1, x1, y2, x2, class id, score.
    """

    def __init__(self, min_confidence: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
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


class ProposalStages(Unweighted):
    """Returns the stages of a `ProposalLayer` under Matterport's names.

    Args:
        layer: ProposalLayer. The layer to look into.

    Call arguments:
        scores, deltas, anchors, window: As of the `ProposalLayer`.

    Returns:
        Dict of `pre_nms_anchors`, `refined_anchors` and `refined_anchors_clipped` `[batch, n, 4]`,
        and `rpn_non_max_suppression` int32 `[n]`: the rows of these that NMS kept in the first
        image, best first.
    """

    _boxes = ("pre_nms_anchors", "refined_anchors", "refined_anchors_clipped")

    def __init__(self, layer: Any):
        super().__init__()
        self.layer = layer

    def call(self, scores, deltas, anchors, window):
        stages = self.layer.stages(scores, deltas, anchors, window)
        count = ops.sum(ops.cast(stages["valid"][0], "int32"))
        kept = stages["index"][0, :count]
        return {name: stages[name] for name in self._boxes} | {"rpn_non_max_suppression": kept}

    def compute_output_spec(self, scores, deltas, anchors, window):
        specs = {name: keras.KerasTensor((None, None, 4), "float32") for name in self._boxes}
        return specs | {"rpn_non_max_suppression": keras.KerasTensor((None,), "int32")}
