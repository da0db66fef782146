"""Training targets, made in the graph: which anchors and proposals learn what.

Both stages have one rule: match by IoU, sample some of each kind at random, regress positives only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.network.layers.basic import Unweighted
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import matching, roi_align

# An anchor is positive from the first IoU on, negative below the second (Ren et al. 2015, 3.1.2).
RPN_POSITIVE_IOU = 0.7
RPN_NEGATIVE_IOU = 0.3
# A proposal is foreground from this IoU on, and exactly this counts (Fast R-CNN, section 2.3).
ROI_POSITIVE_IOU = 0.5


class _Sampler(Unweighted):
    """A layer that draws random samples; with the same seed it draws the same again.

    Args:
        seed: int or None. Of the samples. Defaults to None: a new one each time.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def random_like(self, labels):
        return keras.random.uniform(ops.shape(labels), seed=self.seed_generator)

    def get_config(self):
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable("mrcnn")
class RPNTargets(_Sampler):
    """Samples the anchors that train the RPN (Ren et al. 2015, section 3.1.2).

    An anchor is positive from an IoU of 0.7 on, or if no anchor is better for an instance. It is
    negative below 0.3. In between it teaches nothing, and neither does one on a crowd, or one that
    would not be negative if it were matched with the instances that were left out of the batch.

    Args:
        count: int. Anchors sampled per image, at most half of them positive.
        std: sequence of float. Four numbers that the deltas are divided by.
        seed: int or None. Of the sampling. Defaults to None.

    Call arguments:
        anchors: tensor `[anchors, 4]`.
        gt_class_ids: int32 tensor `[batch, gt]`.
        gt_boxes: tensor `[batch, gt, 4]`.
        left_out: tensor `[batch, rows, 4]` or None. Boxes of the instances that have no row of
            ground truth, then zeros. Defaults to None: there are none.

    Returns:
        Bool tensors `positive` and `negative` `[batch, anchors]`, and `deltas`
        `[batch, anchors, 4]`. They have no gradient.
    """

    def __init__(self, count: int, std: Sequence[float], **kwargs: Any):
        super().__init__(**kwargs)
        self.count, self.std = count, tuple(std)

    def call(self, anchors, gt_class_ids, gt_boxes, left_out=None):
        batch = ops.shape(gt_boxes)[0]
        anchors = ops.broadcast_to(anchors[None], (batch, *ops.shape(anchors)))
        iou = box_ops.iou(anchors, gt_boxes)  # [batch, anchors, gt]
        matched, labels = matching.match(
            iou,
            gt_class_ids > 0,
            RPN_POSITIVE_IOU,
            RPN_NEGATIVE_IOU,
            low_quality=True,
            crowd_iou=matching.crowd_overlap(iou, gt_class_ids),
        )
        if left_out is not None:
            labels = matching.ignore_left_out(
                labels, anchors, left_out, RPN_NEGATIVE_IOU, low_quality=True
            )
        positive, negative = matching.sample(labels, self.count, 0.5, self.random_like(labels))
        target = ops.take_along_axis(gt_boxes, matched[..., None], axis=1)
        return positive, negative, box_ops.encode(anchors, target, self.std)

    def compute_output_spec(self, anchors, gt_class_ids, gt_boxes, left_out=None):
        batch = gt_boxes.shape[0]
        # Two specs, not one twice: Keras tells outputs apart by identity.
        positive = keras.KerasTensor((batch, None), "bool")
        negative = keras.KerasTensor((batch, None), "bool")
        return positive, negative, keras.KerasTensor((batch, None, 4), "float32")

    def get_config(self):
        return super().get_config() | {"count": self.count, "std": self.std}


@keras.saving.register_keras_serializable("mrcnn")
class DetectionTargets(_Sampler):
    """Samples the RoIs that train the heads, with their class and box targets.

    Proposals with an IoU of at least 0.5 with an instance are foreground. The rest is background,
    unless it lies on a crowd, or has such an IoU with an instance that was left out of the batch:
    these teach nothing.

    Args:
        count: int. RoIs sampled per image.
        positive_ratio: float. Share of foreground among them, at most.
        std: sequence of float. Four numbers that the deltas are divided by.
        append_gt: bool. Whether ground-truth boxes are proposals too. Defaults to True.
        balanced: bool. See `ops.matching.sample_indices`. Defaults to False.
        seed: int or None. Of the sampling. Defaults to None.

    Call arguments:
        proposals: tensor `[batch, n, 4]`.
        gt_class_ids: int32 tensor `[batch, gt]`.
        gt_boxes: tensor `[batch, gt, 4]`.
        left_out: tensor `[batch, rows, 4]` or None. As of `RPNTargets`. Defaults to None.

    Returns:
        Dict without gradient: `rois` `[batch, count, 4]`, foreground first, then background, then
        zero rows; `class_ids` int32 `[batch, count]`, 0 for background; `valid` bool
        `[batch, count]`; `deltas` `[batch, count, 4]`; `matched` int32 `[batch, count]`, the
        instance of each RoI. Foreground is within the first `max_positives` rows.
    """

    def __init__(
        self,
        count: int,
        positive_ratio: float,
        std: Sequence[float],
        append_gt: bool = True,
        balanced: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.count, self.positive_ratio, self.std = count, positive_ratio, tuple(std)
        self.append_gt, self.balanced = append_gt, balanced

    @property
    def max_positives(self) -> int:
        """The number of rows that foreground can take."""
        return int(self.count * self.positive_ratio)

    def call(self, proposals, gt_class_ids, gt_boxes, left_out=None):
        real = gt_class_ids > 0
        if self.append_gt:
            own = gt_boxes * ops.cast(real[..., None], "float32")
            proposals = ops.concatenate([own, proposals], axis=1)
        iou = box_ops.iou(proposals, gt_boxes)  # [batch, n, gt]
        matched, labels = matching.match(
            iou,
            real,
            ROI_POSITIVE_IOU,
            ROI_POSITIVE_IOU,
            low_quality=False,
            crowd_iou=matching.crowd_overlap(iou, gt_class_ids),
        )
        if left_out is not None:
            labels = matching.ignore_left_out(labels, proposals, left_out, ROI_POSITIVE_IOU)
        labels = ops.where(box_ops.area(proposals) > 0, labels, -1)  # padding rows are nothing
        index, kind = matching.sample_indices(
            labels, self.count, self.positive_ratio, self.random_like(labels), self.balanced
        )
        rois = ops.take_along_axis(proposals, index[..., None], axis=1)
        rois = rois * ops.cast(kind[..., None] >= 0, "float32")
        matched = ops.take_along_axis(matched, index, axis=1)
        class_ids = ops.take_along_axis(gt_class_ids, matched, axis=1)
        target = ops.take_along_axis(gt_boxes, matched[..., None], axis=1)
        outputs = {
            "rois": rois,
            "class_ids": ops.where(kind == 1, class_ids, 0),
            "valid": kind >= 0,
            "deltas": box_ops.encode(rois, target, self.std),
            "matched": matched,
        }
        return {name: ops.stop_gradient(value) for name, value in outputs.items()}

    def compute_output_spec(self, proposals, gt_class_ids, gt_boxes, left_out=None):
        batch = gt_boxes.shape[0]
        return {
            "rois": keras.KerasTensor((batch, self.count, 4), "float32"),
            "class_ids": keras.KerasTensor((batch, self.count), "int32"),
            "valid": keras.KerasTensor((batch, self.count), "bool"),
            "deltas": keras.KerasTensor((batch, self.count, 4), "float32"),
            "matched": keras.KerasTensor((batch, self.count), "int32"),
        }

    def get_config(self):
        return super().get_config() | {
            "count": self.count,
            "positive_ratio": self.positive_ratio,
            "std": self.std,
            "append_gt": self.append_gt,
            "balanced": self.balanced,
        }


@keras.saving.register_keras_serializable("mrcnn")
class MaskTargets(Unweighted):
    """Cuts what each RoI sees of the mask of its instance, so that thin instances keep a mask.

    Args:
        mask_shape: sequence of int. Height and width of a mask target.
        full_masks: bool. Whether ground-truth masks cover the whole image, not their box. Defaults
            to False.

    Call arguments:
        image: tensor `[batch, height, width, channels]`. Only its shape is used.
        gt_boxes: tensor `[batch, gt, 4]`.
        gt_masks: tensor `[batch, gt, mask height, mask width]`, in 0..255.
        rois: tensor `[batch, rois, 4]`.
        matched: int32 tensor `[batch, rois]`, the instance of each RoI.

    Returns:
        Tensor `[batch, rois, *mask_shape]` of 0 and 1, without gradient.
    """

    def __init__(self, mask_shape: Sequence[int], full_masks: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.mask_shape, self.full_masks = tuple(mask_shape), full_masks

    def call(self, image, gt_boxes, gt_masks, rois, matched):
        frames = gt_boxes
        if self.full_masks:
            frame = ops.cast(ops.stack(self.whole_image(image)), "float32")
            frames = ops.zeros_like(gt_boxes) + frame
        masks = ops.cast(gt_masks, "float32") / 255.0
        soft = self.crop(masks, frames, rois, matched, self.mask_shape)
        return ops.stop_gradient(binary_masks(soft))

    def whole_image(self, image: Any) -> list:
        """Returns the frame of a mask that covers the image: y1, x1, y2, x2."""
        height, width = ops.shape(image)[1:3]
        return [0, 0, height, width]

    def crop(self, masks: Any, frames: Any, boxes: Any, gt_index: Any, output_size: Any) -> Any:
        """Samples masks inside boxes; see `ops.roi_align.crop_masks`."""
        return roi_align.crop_masks(masks, frames, boxes, gt_index, output_size)

    def compute_output_spec(self, image, gt_boxes, gt_masks, rois, matched):
        return keras.KerasTensor((*rois.shape[:2], *self.mask_shape), "float32")

    def get_config(self):
        return super().get_config() | {
            "mask_shape": self.mask_shape,
            "full_masks": self.full_masks,
        }


def binary_masks(soft: Any) -> Any:
    """Makes mask targets of the share of each cell that an instance covers.

    Cells that are covered by at least half are inside. Of a thin instance, such as a line of one
    pixel in a large box, these are few or none, which would teach the mask head that there is
    nothing. So the threshold is then half of the usual share instead, where "usual" is the mean
    over the cells, weighted by the shares themselves. An instance is thin if more than a third of
    the cells above that threshold are not covered by half.

    Args:
        soft: tensor `[batch, rois, height, width]`, in 0..1.

    Returns:
        float32 tensor of the same shape, of 0 and 1. A mask is empty only where `soft` is all 0.
    """

    def cells(x):
        return ops.sum(x, axis=(2, 3), keepdims=True)

    usual = cells(soft * soft) / ops.maximum(cells(soft), 1e-9)
    covered = ops.cast(soft >= 0.5, "float32")
    # No share is 0 here, even if there is nothing.
    shown = ops.cast(soft >= ops.maximum(0.5 * usual, 1e-9), "float32")
    return ops.where(3.0 * cells(covered) < 2.0 * cells(shown), shown, covered)
