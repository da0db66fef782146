"""Region proposal network (Ren et al. 2015): its head, its anchors and the proposal layer."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms


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


@keras.saving.register_keras_serializable("mrcnn")
class Margin(layers.Layer):
    """[..., 2] -> [...]: the second logit less the first; its sigmoid is the softmax."""

    def call(self, logits):
        return logits[..., 1] - logits[..., 0]

    def compute_output_spec(self, logits):
        return keras.KerasTensor(logits.shape[:-1], logits.dtype)


@keras.saving.register_keras_serializable("mrcnn")
class PyramidAnchors(layers.Layer):
    """Anchors of a pyramid, made from the shapes of its maps.

    Args:
        sizes: anchor side in pixels, one a level.
        ratios: height / width.
        strides: pixels per cell, one a level.
        anchor_stride: cells between anchors.
        offset: share of a stride between a cell's corner and the centre of its anchors.
        whole: half sides are whole pixels, and strides are the sides of the image divided by those
            of the map, rounded down (torchvision): 61 instead of 64 for a side of 800.

    Call: image [batch, height, width, channels] and list of maps of the same axes -> float32
    [anchors, 4] in pixels, not clipped to the image.
    """

    def __init__(self, sizes, ratios, strides, anchor_stride=1, offset=0.5, whole=False, **kwargs):
        super().__init__(**{"trainable": False} | kwargs)
        self.sizes, self.ratios, self.strides = tuple(sizes), tuple(ratios), tuple(strides)
        self.anchor_stride, self.offset, self.whole = anchor_stride, offset, whole

    def call(self, image, pyramid):
        shapes, strides = [ops.shape(feature_map)[1:3] for feature_map in pyramid], self.strides
        if self.whole:
            height, width = ops.shape(image)[1:3]
            strides = [(height // rows, width // columns) for rows, columns in shapes]
        return anchor_ops.pyramid_anchors(
            self.sizes, self.ratios, strides, shapes,
            anchor_stride=self.anchor_stride, offset=self.offset, whole_sides=self.whole,
        )  # fmt: skip

    def compute_output_spec(self, image, pyramid):
        return keras.KerasTensor((None, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "sizes": self.sizes, "ratios": self.ratios, "strides": self.strides,
            "anchor_stride": self.anchor_stride, "offset": self.offset, "whole": self.whole,
        }  # fmt: skip


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
        normalised: boxes are in the coordinates of `ops.boxes.normalise`, and `min_side` too.
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
