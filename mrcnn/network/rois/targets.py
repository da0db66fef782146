"""Training targets, made in the graph: which anchors and proposals learn what.

One rule for both stages: match by IoU, sample some of each kind at random, regress only positives.
"""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import matching, roi_align


class _Sampler(layers.Layer):
    """A layer that draws random samples; with the same seed it draws the same again."""

    def __init__(self, seed=None, **kwargs):
        super().__init__(**{"trainable": False} | kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def random_like(self, labels):
        return keras.random.uniform(ops.shape(labels), seed=self.seed_generator)

    def get_config(self):
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable("mrcnn")
class RPNTargets(_Sampler):
    """Which anchors are objects, and where the objects lie from them (Ren et al. 2015, 3.1.2).

    Args:
        count: anchors sampled an image, at most half of them positive.
        positive_iou, negative_iou: positive from the first on, or when no anchor is better for an
            object; negative below the second; nothing in between, nor on crowds.
        std: four scales of the deltas.
        seed: of the sampling.

    Call: anchors [anchors, 4], gt_class_ids [batch, gt], gt_boxes [batch, gt, 4] -> bool
    `positive`, `negative` [batch, anchors] and `deltas` [batch, anchors, 4], no gradient.
    """

    def __init__(self, count, positive_iou, negative_iou, std, **kwargs):
        super().__init__(**kwargs)
        self.count, self.std = count, tuple(std)
        self.positive_iou, self.negative_iou = positive_iou, negative_iou

    def call(self, anchors, gt_class_ids, gt_boxes):
        batch = ops.shape(gt_boxes)[0]
        anchors = ops.broadcast_to(anchors[None], (batch, *ops.shape(anchors)))
        iou = box_ops.iou(anchors, gt_boxes)
        matched, labels = matching.match(
            iou, gt_class_ids > 0, self.positive_iou, self.negative_iou, low_quality=True,
            crowd_iou=matching.crowd_overlap(iou, gt_class_ids),
        )  # fmt: skip
        positive, negative = matching.sample(labels, self.count, 0.5, self.random_like(labels))
        target = ops.take_along_axis(gt_boxes, matched[..., None], axis=1)
        deltas = box_ops.encode(anchors, target, self.std)
        return positive, negative, deltas

    def compute_output_spec(self, anchors, gt_class_ids, gt_boxes):
        batch = gt_boxes.shape[0]
        # Two specs, not one twice: Keras tells the outputs apart by identity.
        positive, negative = (keras.KerasTensor((batch, None), "bool") for _ in range(2))
        return positive, negative, keras.KerasTensor((batch, None, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "count": self.count, "std": self.std,
            "positive_iou": self.positive_iou, "negative_iou": self.negative_iou,
        }  # fmt: skip


@keras.saving.register_keras_serializable("mrcnn")
class DetectionTargets(_Sampler):
    """The RoIs that train the heads, with their class, box and mask targets.

    Foreground are proposals with IoU >= `positive_iou` with an object (exactly this counts), the
    rest is background unless it lies on a crowd; crowds teach nothing.

    Args:
        count: RoIs sampled an image.
        positive_ratio: share of foreground among them, at most.
        positive_iou: see above; Fast R-CNN, section 2.3: 0.5.
        std: four scales of the deltas.
        append_gt: ground-truth boxes are proposals too.
        mask_shape: height and width of a mask target; None without masks.
        full_masks: gt masks lie in the frame of the image, not of their box.
        balanced: see `ops.matching.sample_indices`.
        corners: masks are cut by `ops.roi_align.crop_masks_at_corners`, and all boxes are in the
            coordinates of `ops.boxes.normalize`.
        seed: of the sampling.

    Call: image [batch, height, width, channels], proposals [batch, n, 4], gt_class_ids
    [batch, gt], gt_boxes [batch, gt, 4] and, with masks, gt_masks [batch, gt, mh, mw] (0..255).
    Returns a dict, no gradient: `rois` [batch, count, 4], foreground first, then background, then
    zero rows; `class_ids` int32 [batch, count], 0 background; `valid` bool [batch, count];
    `deltas` [batch, count, 4]; with masks `masks` [batch, positives, *mask_shape] 0 or 1, for the
    first int(count * positive_ratio) rows.
    """

    def __init__(
        self, count, positive_ratio, positive_iou, std, append_gt=True, mask_shape=None,
        full_masks=False, balanced=False, corners=False, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.balanced, self.corners = balanced, corners
        self.count, self.positive_ratio, self.positive_iou = count, positive_ratio, positive_iou
        self.std, self.append_gt, self.full_masks = tuple(std), append_gt, full_masks
        self.mask_shape = tuple(mask_shape) if mask_shape else None

    @property
    def max_positives(self):
        """Rows that foreground can take."""
        return int(self.count * self.positive_ratio)

    def call(self, image, proposals, gt_class_ids, gt_boxes, gt_masks=None):
        real = gt_class_ids > 0
        if self.append_gt:
            own = gt_boxes * ops.cast(real[..., None], "float32")
            proposals = ops.concatenate([own, proposals], axis=1)
        iou = box_ops.iou(proposals, gt_boxes)
        matched, labels = matching.match(
            iou, real, self.positive_iou, self.positive_iou, low_quality=False,
            crowd_iou=matching.crowd_overlap(iou, gt_class_ids),
        )  # fmt: skip
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
        }
        if self.mask_shape:
            outputs["masks"] = self._masks(image, gt_boxes, gt_masks, rois, matched)
        return {name: ops.stop_gradient(value) for name, value in outputs.items()}

    def _masks(self, image, gt_boxes, gt_masks, rois, matched):
        frames = gt_boxes
        if self.full_masks:
            height, width = (1, 1) if self.corners else ops.shape(image)[1:3]
            frame = ops.cast(ops.stack([0, 0, height, width]), "float32")
            frames = ops.zeros_like(gt_boxes) + frame
        n = self.max_positives
        crop = roi_align.crop_masks_at_corners if self.corners else roi_align.crop_masks
        masks = ops.cast(gt_masks, "float32") / 255.0
        soft = crop(masks, frames, rois[:, :n], matched[:, :n], self.mask_shape)
        return ops.cast(soft >= 0.5, "float32")

    def compute_output_spec(self, image, proposals, gt_class_ids, gt_boxes, gt_masks=None):
        batch = gt_boxes.shape[0]
        outputs = {
            "rois": keras.KerasTensor((batch, self.count, 4), "float32"),
            "class_ids": keras.KerasTensor((batch, self.count), "int32"),
            "valid": keras.KerasTensor((batch, self.count), "bool"),
            "deltas": keras.KerasTensor((batch, self.count, 4), "float32"),
        }
        if self.mask_shape:
            outputs["masks"] = keras.KerasTensor(
                (batch, self.max_positives, *self.mask_shape), "float32"
            )
        return outputs

    def get_config(self):
        return super().get_config() | {
            "count": self.count, "positive_ratio": self.positive_ratio,
            "positive_iou": self.positive_iou, "std": self.std, "append_gt": self.append_gt,
            "mask_shape": self.mask_shape, "full_masks": self.full_masks,
            "balanced": self.balanced, "corners": self.corners,
        }  # fmt: skip
