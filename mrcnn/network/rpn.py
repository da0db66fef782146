"""Region proposal network (Ren et al. 2015): its head, its anchors and the proposal layer."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms


def rpn_head(
    pyramid: list, anchors_per_cell: int, anchor_stride: int = 1, channels: int | None = None,
    softmax: bool = False,
):  # fmt: skip
    """One small network slid over every level: objectness and box deltas of each anchor.

    Args:
        pyramid: P2..P6, [batch, height, width, channels].
        anchors_per_cell: ratios, and sizes where a level has several.
        anchor_stride: cells between anchors.
        channels: of the shared convolution; None: those of the pyramid.
        softmax: two logits an anchor, background and object, instead of one. Their difference is
            the logit, so nothing else knows.

    Returns:
        `logits` [batch, anchors] and `deltas` [batch, anchors, 4], the levels concatenated P2..P6,
        in the anchors' order: cells row by row, then ratio.
    """
    small = keras.initializers.RandomNormal(stddev=0.01)  # Faster R-CNN, section 3.1.3
    conv = layers.Conv2D(
        channels or pyramid[0].shape[-1], 3, strides=anchor_stride, padding="same",
        activation="relu", kernel_initializer="he_normal", name="rpn_conv_shared",
    )  # fmt: skip
    objectness = layers.Conv2D(
        anchors_per_cell * (2 if softmax else 1), 1, kernel_initializer=small, name="rpn_class_raw"
    )
    regression = layers.Conv2D(
        4 * anchors_per_cell, 1, kernel_initializer=small, name="rpn_bbox_pred"
    )
    shape = (-1, 2) if softmax else (-1,)
    logits, deltas = [], []
    for level, feature_map in enumerate(pyramid, start=2):
        shared = conv(feature_map)
        logits.append(layers.Reshape(shape, name=f"rpn_class_p{level}")(objectness(shared)))
        deltas.append(layers.Reshape((-1, 4), name=f"rpn_bbox_p{level}")(regression(shared)))
    logits = layers.Concatenate(axis=1, name="rpn_class_logits")(logits)
    if softmax:
        logits = Margin(name="rpn_objectness")(logits)
    return logits, layers.Concatenate(axis=1, name="rpn_bbox")(deltas)


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
        normalised: in the coordinates of `ops.boxes.normalise`.

    Call: list of maps [batch, height, width, channels] -> float32 [anchors, 4] in pixels, not
    clipped to the image.
    """

    def __init__(
        self, sizes, ratios, strides, anchor_stride=1, offset=0.5, normalised=False, **kwargs
    ):
        super().__init__(**{"trainable": False} | kwargs)
        self.sizes, self.ratios, self.strides = tuple(sizes), tuple(ratios), tuple(strides)
        self.anchor_stride, self.offset, self.normalised = anchor_stride, offset, normalised

    def call(self, pyramid):
        shapes = [ops.shape(feature_map)[1:3] for feature_map in pyramid]
        anchors = anchor_ops.pyramid_anchors(
            self.sizes, self.ratios, self.strides, shapes,
            anchor_stride=self.anchor_stride, offset=self.offset,
        )  # fmt: skip
        if not self.normalised:
            return anchors
        height, width = (cells * self.strides[0] for cells in shapes[0])
        return box_ops.normalise(anchors, height, width)

    def compute_output_spec(self, pyramid):
        return keras.KerasTensor((None, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "sizes": self.sizes, "ratios": self.ratios, "strides": self.strides,
            "anchor_stride": self.anchor_stride, "offset": self.offset,
            "normalised": self.normalised,
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

    Call: image [batch, height, width, channels], pyramid, logits [batch, anchors], deltas
    [batch, anchors, 4], anchors [anchors, 4] -> proposals [batch, post_nms, 4] in pixels, best
    first, zero rows behind the last. No gradient flows through them.
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
        **kwargs,
    ):
        super().__init__(**{"trainable": False} | kwargs)
        self.merged_levels, self.normalised = merged_levels, normalised
        self.pre_nms, self.post_nms, self.post_nms_training = pre_nms, post_nms, post_nms_training
        self.nms_threshold, self.std = nms_threshold, tuple(std)
        self.delta_clamp, self.min_side = delta_clamp, min_side
        self.anchor_stride = anchor_stride

    def call(self, image, pyramid, logits, deltas, anchors, training=False):
        height, width = (1, 1) if self.normalised else ops.shape(image)[1:3]
        sizes = [_cells(feature_map, self.anchor_stride) for feature_map in pyramid]
        per_cell = ops.shape(anchors)[0] // sum(sizes)
        if self.merged_levels:
            sizes = [sum(sizes)]
        boxes, scores, levels = [], [], []
        start = 0
        for level, size in enumerate(sizes):
            stop = start + size * per_cell
            count = _smaller(self.pre_nms, stop - start)
            best, index = ops.top_k(ops.stop_gradient(logits[:, start:stop]), count)
            moved = box_ops.decode(
                ops.take(anchors[start:stop], index, axis=0),
                ops.take_along_axis(
                    ops.stop_gradient(deltas[:, start:stop]), index[..., None], axis=1
                ),
                self.std,
                clamp=self.delta_clamp,
            )  # [batch, count, 4]
            boxes.append(box_ops.clip(moved, height, width))
            scores.append(best)
            levels.append(ops.full((count,), level, dtype="int32"))
            start = stop
        boxes, scores = ops.concatenate(boxes, axis=1), ops.concatenate(scores, axis=1)
        sides = ops.minimum(boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1])
        scores = ops.where(sides >= self.min_side, scores, -1e30)
        keep = self.post_nms_training if training else self.post_nms
        index, valid = nms.grouped_nms(
            boxes, scores, ops.concatenate(levels), keep, self.nms_threshold
        )
        proposals = ops.take_along_axis(boxes, index[..., None], axis=1)
        # Not a product: a box that is no number times 0 would not be 0.
        return ops.stop_gradient(ops.where(valid[..., None], proposals, 0.0))

    def compute_output_spec(self, image, pyramid, logits, deltas, anchors, training=False):
        keep = self.post_nms_training if training else self.post_nms
        return keras.KerasTensor((image.shape[0], keep, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "pre_nms": self.pre_nms, "post_nms": self.post_nms,
            "post_nms_training": self.post_nms_training, "nms_threshold": self.nms_threshold,
            "std": self.std, "delta_clamp": self.delta_clamp, "min_side": self.min_side,
            "anchor_stride": self.anchor_stride, "merged_levels": self.merged_levels,
            "normalised": self.normalised,
        }  # fmt: skip


def _cells(feature_map, stride):
    """Cells of a map that hold anchors: every `stride`-th of a row and of a column."""
    height, width = ops.shape(feature_map)[1:3]
    return ((height + stride - 1) // stride) * ((width + stride - 1) // stride)


def _smaller(a, b):
    """The smaller of a number and a number or, where the image's size is open, a scalar tensor."""
    return min(a, b) if isinstance(b, int) else ops.minimum(a, b)
