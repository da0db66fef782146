"""The proposal layer: anchors to regions of interest."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms


@keras.saving.register_keras_serializable("mrcnn")
class ProposalLayer(layers.Layer):
    """The best anchors, moved by their deltas, without near-duplicates.

    Per level: the `pre_nms` best scores, decoded and clipped to the image; NMS within each level;
    over all levels the `post_nms` best (Lin et al. 2017, section 4.1, as in Detectron).

    Args:
        pre_nms: anchors kept per level before NMS.
        post_nms: proposals kept in inference.
        post_nms_training: proposals kept in training.
        nms_threshold: IoU above which the lower-scored proposal is dropped.
        std: four scales of the deltas.
        delta_clamp: upper bound of the log size deltas.
        min_side: proposals with a shorter side are dropped, pixels.
        anchor_stride: cells between anchors.
        merged_levels: the `pre_nms` best of all levels together, and one NMS over them.
        normalised: boxes are in the coordinates of `ops.boxes.normalize`, and `min_side` too.
        pre_nms_inference: anchors kept per level in inference; None: `pre_nms`.

    Call: image [batch, height, width, channels], pyramid, scores [batch, anchors] (higher is
    better), deltas [batch, anchors, 4], anchors [anchors, 4] (or [batch, anchors, 4]) and perhaps
    window [batch, 4], which boxes are clipped to instead of the image -> proposals
    [batch, post_nms, 4] in pixels, best first, zero rows behind the last. No gradient flows through
    them.
    """

    def __init__(
        self,
        pre_nms,
        post_nms,
        post_nms_training,
        nms_threshold,
        std,
        delta_clamp,
        min_side,
        anchor_stride=1,
        merged_levels=False,
        normalised=False,
        pre_nms_inference=None,
        **kwargs,
    ):
        super().__init__(**{"trainable": False} | kwargs)
        self.merged_levels, self.normalised = merged_levels, normalised
        self.pre_nms, self.pre_nms_inference = pre_nms, pre_nms_inference
        self.post_nms, self.post_nms_training = post_nms, post_nms_training
        self.nms_threshold, self.std = nms_threshold, tuple(std)
        self.delta_clamp, self.min_side = delta_clamp, min_side
        self.anchor_stride = anchor_stride

    def call(self, image, pyramid, scores, deltas, anchors, window=None, training=False):
        stages = self.stages(image, pyramid, scores, deltas, anchors, window, training)
        boxes, index, valid = stages["refined_anchors_clipped"], stages["index"], stages["valid"]
        proposals = ops.take_along_axis(boxes, index[..., None], axis=1)
        # Not a product: a box that is no number times 0 would not be 0.
        return ops.stop_gradient(ops.where(valid[..., None], proposals, 0.0))

    def stages(self, image, pyramid, scores, deltas, anchors, window=None, training=False) -> dict:
        """What happens on the way, for those who want to see it.

        Returns:
            `pre_nms_anchors`, `refined_anchors`, `refined_anchors_clipped` [batch, n, 4]: the best
            anchors, moved, and clipped; `index` int32 [batch, post_nms]: the rows of these that NMS
            left, best first; `valid` bool [batch, post_nms].
        """
        pre_nms = self.pre_nms if training else self.pre_nms_inference or self.pre_nms
        sizes = [ops.shape(anchors)[-2]]
        if not self.merged_levels:
            cells = [_cells(feature_map, self.anchor_stride) for feature_map in pyramid]
            sizes = [count * (sizes[0] // sum(cells)) for count in cells]
        scores, deltas = ops.stop_gradient(scores), ops.stop_gradient(deltas)
        chosen, moved, best, levels = [], [], [], []
        start = 0
        for level, size in enumerate(sizes):
            stop = start + size
            count = _smaller(pre_nms, stop - start)
            level_best, index = ops.top_k(scores[:, start:stop], count)
            chosen.append(_rows(anchors, index + start))  # [batch, count, 4]
            level_deltas = _rows(deltas, index + start)
            moved.append(box_ops.decode(chosen[-1], level_deltas, self.std, self.delta_clamp))
            best.append(level_best)
            levels.append(ops.full((count,), level, dtype="int32"))
            start = stop
        moved, best = ops.concatenate(moved, axis=1), ops.concatenate(best, axis=1)
        if window is None:
            height, width = (1, 1) if self.normalised else ops.shape(image)[1:3]
            clipped = box_ops.clip(moved, height, width)
        else:
            clipped = box_ops.clip_to_window(moved, window)
        sides = ops.minimum(clipped[..., 2] - clipped[..., 0], clipped[..., 3] - clipped[..., 1])
        best = ops.where(sides >= self.min_side, best, -1e30)
        keep = self.post_nms_training if training else self.post_nms
        index, valid = nms.grouped_nms(
            clipped, best, ops.concatenate(levels), keep, self.nms_threshold
        )
        return {
            "pre_nms_anchors": ops.concatenate(chosen, axis=1), "refined_anchors": moved,
            "refined_anchors_clipped": clipped, "index": index, "valid": valid,
        }  # fmt: skip

    def compute_output_spec(
        self, image, pyramid, scores, deltas, anchors, window=None, training=False
    ):
        keep = self.post_nms_training if training else self.post_nms
        return keras.KerasTensor((image.shape[0], keep, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "pre_nms": self.pre_nms, "post_nms": self.post_nms,
            "pre_nms_inference": self.pre_nms_inference,
            "post_nms_training": self.post_nms_training, "nms_threshold": self.nms_threshold,
            "std": self.std, "delta_clamp": self.delta_clamp, "min_side": self.min_side,
            "anchor_stride": self.anchor_stride, "merged_levels": self.merged_levels,
            "normalised": self.normalised,
        }  # fmt: skip


def _rows(boxes, index):
    """Rows [batch, n] of boxes [batch, all, 4], or of the same [all, 4] for every image."""
    if len(boxes.shape) == 2:
        return ops.take(boxes, index, axis=0)
    return ops.take_along_axis(boxes, index[..., None], axis=1)


def _cells(feature_map, stride):
    """Cells of a map that hold anchors: every `stride`-th of a row and of a column."""
    height, width = ops.shape(feature_map)[1:3]
    return ((height + stride - 1) // stride) * ((width + stride - 1) // stride)


def _smaller(a, b):
    """The smaller of a number and a number or, where the image's size is open, a scalar tensor."""
    return min(a, b) if isinstance(b, int) else ops.minimum(a, b)
