"""The detection layer, and the layer that pools regions from the pyramid."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms


@keras.saving.register_keras_serializable("mrcnn")
class DetectionLayer(layers.Layer):
    """Turns the box head's outputs into detections.

    Every class of every RoI is a candidate: decoded with that class's deltas, clipped to the image,
    dropped below `min_confidence`; NMS within each class; over all classes the best `count`.

    Args:
        count: detections an image.
        min_confidence: smallest score.
        nms_threshold: IoU above which the lower-scored of one class is dropped.
        std: four scales of the deltas.
        delta_clamp: upper bound of the log size deltas.
        best_class_only: of each RoI only the likeliest class is a candidate, the background too
            (Matterport's rule).
        normalised: boxes come in the coordinates of `ops.boxes.normalize`, and so they leave.
        min_side: detections with a shorter side are dropped, pixels.

    Call: image [batch, height, width, channels], rois [batch, rois, 4], probabilities
    [batch, rois, classes], deltas [batch, rois, classes, 4] and perhaps window [batch, 4] in the
    coordinates of the boxes, which boxes are clipped to instead of the image -> dict of `boxes`
    [batch, count, 4], `class_ids` int32 [batch, count], `scores` [batch, count], best first, zeros
    behind the last.
    """

    def __init__(
        self, count, min_confidence, nms_threshold, std, delta_clamp, best_class_only=False,
        normalised=False, min_side=0.0, **kwargs,
    ):  # fmt: skip
        super().__init__(**{"trainable": False} | kwargs)
        self.count, self.min_confidence = count, min_confidence
        self.nms_threshold, self.std, self.delta_clamp = nms_threshold, tuple(std), delta_clamp
        self.best_class_only, self.normalised = best_class_only, normalised
        self.min_side = min_side

    def call(self, image, rois, probabilities, deltas, window=None):
        rois_per_image, classes = probabilities.shape[1:]
        foreground = classes - 1
        scores = probabilities[..., 1:]
        usable = scores >= self.min_confidence
        if self.best_class_only:
            best_class = ops.argmax(probabilities, axis=-1)[..., None]
            usable = ops.logical_and(usable, best_class == ops.arange(1, classes))
        else:
            usable = ops.logical_and(usable, box_ops.area(rois)[..., None] > 0)  # padding rows
        flat = ops.reshape(ops.where(usable, scores, -1e30), (-1, rois_per_image * foreground))
        # Scores of one RoI sum to 1, so few classes of each can be of use: four a RoI are kept.
        best, index = ops.top_k(flat, min(rois_per_image * foreground, 4 * rois_per_image))
        roi_index, class_index = index // foreground, index % foreground
        flat_deltas = ops.reshape(deltas[:, :, 1:], (-1, rois_per_image * foreground, 4))
        boxes = box_ops.decode(
            ops.take_along_axis(rois, roi_index[..., None], axis=1),
            ops.take_along_axis(flat_deltas, index[..., None], axis=1),
            self.std,
            clamp=self.delta_clamp,
        )
        boxes = self._clip(boxes, image, window)
        if not self.normalised:  # where one pixel has no area
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

    def _clip(self, boxes, image, window):
        if window is not None:
            return box_ops.clip_to_window(boxes, window)
        height, width = (1, 1) if self.normalised else ops.shape(image)[1:3]
        return box_ops.clip(boxes, height, width)

    def compute_output_spec(self, image, rois, probabilities, deltas, window=None):
        batch = rois.shape[0]
        return {
            "boxes": keras.KerasTensor((batch, self.count, 4), "float32"),
            "class_ids": keras.KerasTensor((batch, self.count), "int32"),
            "scores": keras.KerasTensor((batch, self.count), "float32"),
        }

    def get_config(self):
        return super().get_config() | {
            "count": self.count, "min_confidence": self.min_confidence, "std": self.std,
            "nms_threshold": self.nms_threshold, "delta_clamp": self.delta_clamp,
            "best_class_only": self.best_class_only, "normalised": self.normalised,
            "min_side": self.min_side,
        }  # fmt: skip


@keras.saving.register_keras_serializable("mrcnn")
class SelectMasks(layers.Layer):
    """The mask of each detection's class, as probabilities.

    Args:
        probabilities: masks come as probabilities, not as logits.

    Call: masks [batch, n, height, width, classes], class_ids int32 [batch, n] ->
    [batch, n, height, width], 0..1.
    """

    def __init__(self, probabilities=False, **kwargs):
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
