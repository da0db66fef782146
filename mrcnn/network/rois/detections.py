"""The detection layer: from the outputs of the box head to detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.network.layers.basic import Unweighted
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms

# Scores below this never leave the graph, as in torchvision and Detectron2. Users filter higher.
MIN_SCORE = 0.05
# Scores of one RoI sum to 1, so only few classes of each can matter: this many are kept per RoI.
_CLASSES_PER_ROI = 4


@keras.saving.register_keras_serializable("mrcnn")
class DetectionLayer(Unweighted):
    """Turns the outputs of the box head into detections.

    Every class of every RoI is a candidate: it is decoded with the deltas of that class, clipped,
    and dropped if its score is below `min_confidence`. After NMS within each class, the `count`
    best over all classes are kept.

    Args:
        count: int. Detections per image.
        min_confidence: float. Lowest score.
        nms_threshold: float. IoU above which the lower-scored detection of one class is dropped.
        std: sequence of float. Four numbers that the deltas are multiplied with.
        best_class_only: bool. Whether a RoI is a candidate only for its most likely class, the
            background included (Matterport). Defaults to False.
        min_side: float or None. Detections with a shorter side are dropped, as are empty ones.
            Defaults to 0. None: none is dropped, for coordinates in which one pixel has no area.

    Call arguments:
        rois: tensor `[batch, rois, 4]`.
        probabilities: tensor `[batch, rois, classes]`.
        deltas: tensor `[batch, rois, classes, 4]`.
        window: tensor `[batch, 4]`, in the coordinates of the RoIs. Boxes are clipped to it.

    Returns:
        Dict of `boxes` `[batch, count, 4]`, `class_ids` int32 `[batch, count]` and `scores`
        `[batch, count]`, best first, with zeros behind the last.
    """

    def __init__(
        self,
        count: int,
        min_confidence: float,
        nms_threshold: float,
        std: Sequence[float],
        best_class_only: bool = False,
        min_side: float | None = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.count, self.min_confidence = count, min_confidence
        self.nms_threshold, self.std = nms_threshold, tuple(std)
        self.best_class_only, self.min_side = best_class_only, min_side

    def call(self, rois, probabilities, deltas, window):
        rois_per_image, classes = probabilities.shape[1:]
        foreground = classes - 1
        scores = probabilities[..., 1:]
        usable = scores >= self.min_confidence
        if self.best_class_only:
            best_class = ops.argmax(probabilities, axis=-1)[..., None]
            usable = ops.logical_and(usable, best_class == ops.arange(1, classes))
        else:
            usable = ops.logical_and(usable, box_ops.area(rois)[..., None] > 0)  # padding rows
        candidates = rois_per_image * foreground
        flat = ops.reshape(ops.where(usable, scores, -1e30), (-1, candidates))
        best, index = ops.top_k(flat, min(candidates, _CLASSES_PER_ROI * rois_per_image))
        roi_index, class_index = index // foreground, index % foreground
        flat_deltas = ops.reshape(deltas[:, :, 1:], (-1, candidates, 4))
        boxes = box_ops.decode(
            ops.take_along_axis(rois, roi_index[..., None], axis=1),
            ops.take_along_axis(flat_deltas, index[..., None], axis=1),
            self.std,
        )
        boxes = box_ops.clip_to_window(boxes, window)
        if self.min_side is not None:
            side = ops.minimum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])
            best = ops.where(ops.logical_and(side > 0, side >= self.min_side), best, -1e30)
        keep, valid = nms.grouped_nms(boxes, best, class_index, self.count, self.nms_threshold)
        chosen = ops.take_along_axis(boxes, keep[..., None], axis=1)
        class_ids = ops.take_along_axis(class_index, keep, axis=1) + 1
        return {
            "boxes": ops.where(valid[..., None], chosen, 0.0),
            "class_ids": ops.cast(class_ids, "int32") * ops.cast(valid, "int32"),
            "scores": ops.where(valid, ops.take_along_axis(best, keep, axis=1), 0.0),
        }

    def compute_output_spec(self, rois, probabilities, deltas, window):
        batch = rois.shape[0]
        return {
            "boxes": keras.KerasTensor((batch, self.count, 4), "float32"),
            "class_ids": keras.KerasTensor((batch, self.count), "int32"),
            "scores": keras.KerasTensor((batch, self.count), "float32"),
        }

    def get_config(self):
        return super().get_config() | {
            "count": self.count,
            "min_confidence": self.min_confidence,
            "nms_threshold": self.nms_threshold,
            "std": self.std,
            "best_class_only": self.best_class_only,
            "min_side": self.min_side,
        }


@keras.saving.register_keras_serializable("mrcnn")
class SelectMasks(Unweighted):
    """Selects the mask of each detection's class, as probabilities.

    Args:
        probabilities: bool. Whether the masks come as probabilities. Defaults to False: logits.

    Call arguments:
        masks: tensor `[batch, n, height, width, classes]`.
        class_ids: int32 tensor `[batch, n]`.

    Returns:
        Tensor `[batch, n, height, width]`, in 0..1.
    """

    def __init__(self, probabilities: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.probabilities = probabilities

    def call(self, masks, class_ids):
        one_hot = ops.one_hot(class_ids, masks.shape[-1], dtype=masks.dtype)
        chosen = ops.sum(masks * one_hot[:, :, None, None, :], axis=-1)
        return chosen if self.probabilities else ops.sigmoid(chosen)

    def compute_output_spec(self, masks, class_ids):
        return keras.KerasTensor(masks.shape[:-1], masks.dtype)

    def get_config(self):
        return super().get_config() | {"probabilities": self.probabilities}
