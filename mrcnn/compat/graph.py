"""Matterport's graph functions and layers, with their signatures, over the network of this package.

Boxes are (y1, x1, y2, x2), normalized by `ops.boxes.normalize`. Of `image_meta` only the window and
the shape of the molded image are read, and only by `DetectionLayer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from mrcnn.compat.backbone import EPSILON, MATTERPORT, norm_name
from mrcnn.compat.images import META_COLUMNS
from mrcnn.compat.tensors import norm_boxes_graph
from mrcnn.network.heads import box as box_head
from mrcnn.network.heads import mask as mask_head
from mrcnn.network.heads import rpn
from mrcnn.network.layers import matterport
from mrcnn.network.rois import detections, proposals, targets

_STRIDES = (4, 8, 16, 32)


class _OldLayer(layers.Layer):
    """Base of the layers without weights that wrap a layer of this package."""

    def build(self, input_shape):
        self.built = True


# --- Region proposals ----------------------------------------------------------------------------
def rpn_graph(feature_map: Any, anchors_per_location: int, anchor_stride: int) -> Any:
    """Adds the RPN on one map.

    Args:
        feature_map: tensor `[batch, height, width, depth]`.
        anchors_per_location: int. Anchors per cell.
        anchor_stride: int. Cells from one anchor to the next.

    Returns:
        Logits and probabilities `[batch, num_anchors, 2]`, and deltas `[batch, num_anchors, 4]`.
    """
    return build_rpn_model(anchor_stride, anchors_per_location, feature_map.shape[-1])(feature_map)


def build_rpn_model(anchor_stride: int, anchors_per_location: int, depth: int) -> keras.Model:
    """Builds the RPN as a model that takes one map.

    Args:
        anchor_stride: int. Cells from one anchor to the next.
        anchors_per_location: int. Anchors per cell.
        depth: int. Channels of the map.

    Returns:
        A model with the outputs of `rpn_graph`.
    """
    return rpn.rpn_model(
        depth,
        anchors_per_cell=anchors_per_location,
        anchor_stride=anchor_stride,
        **vars(MATTERPORT.rpn),
    )


class ProposalLayer(_OldLayer):
    """Selects proposals from the outputs of the RPN.

    Args:
        proposal_count: int. Rows of the result.
        nms_threshold: float. Of two proposals with a greater IoU, the one with the lower score is
            dropped.
        config: Config. Its PRE_NMS_LIMIT and RPN_BBOX_STD_DEV are read.

    Call arguments:
        inputs: list of probabilities `[batch, num_anchors, 2]`, deltas `[batch, num_anchors, 4]`
            and anchors `[batch, num_anchors, 4]`.

    Output shape:
        `[batch, proposal_count, 4]`, best proposal first. The rows after the last proposal are
        zeros.
    """

    def __init__(
        self, proposal_count: int, nms_threshold: float, config: Any = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.proposals = proposals.ProposalLayer(
            pre_nms=config.PRE_NMS_LIMIT,
            post_nms=proposal_count,
            nms_threshold=nms_threshold,
            std=config.RPN_BBOX_STD_DEV,
            **vars(MATTERPORT.proposals),
        )

    def call(self, inputs):
        """Computes the outputs; the class documents them."""
        probabilities, deltas, anchors = inputs
        return self.proposals.call([probabilities[..., 1]], [deltas], [anchors], window=None)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the proposals."""
        return (input_shape[0][0], self.proposals.post_nms, 4)


# --- Heads ---------------------------------------------------------------------------------------
class PyramidROIAlign(_OldLayer):
    """Pools each RoI from the level of the feature pyramid that fits its size.

    Args:
        pool_shape: two equal ints. Rows and columns of the result.

    Call arguments:
        inputs: list of RoIs `[batch, num_rois, 4]`, image_meta (not read), and the maps P2, P3, P4
            and P5.

    Output shape:
        `[batch, num_rois, rows, columns, channels]`
    """

    def __init__(self, pool_shape: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.pool_shape = tuple(pool_shape)
        self.align = matterport.CornerPooling(self.pool_shape[0], _STRIDES)

    def call(self, inputs):
        """Computes the outputs; the class documents them."""
        boxes, _, *maps = inputs
        return self.align.call(maps, boxes)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the pooled RoIs."""
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])


def fpn_classifier_graph(
    rois: Any,
    feature_maps: Sequence[Any],
    image_meta: Any,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
    fc_layers_size: int = 1024,
) -> Any:
    """Adds the box head.

    Args:
        rois: tensor `[batch, num_rois, 4]`.
        feature_maps: the maps P2, P3, P4 and P5.
        image_meta: tensor `[batch, 12 + num_classes]`.
        pool_size: int. Rows and columns of a pooled RoI.
        num_classes: int. Including the background.
        train_bn: bool or None. False normalizes by the moving statistics. Defaults to True.
        fc_layers_size: int. Units of the two dense layers. Defaults to 1024.

    Returns:
        Logits and probabilities `[batch, num_rois, num_classes]`, and deltas `[batch, num_rois,
        num_classes, 4]`.
    """
    align = PyramidROIAlign([pool_size, pool_size], name="roi_align_classifier")
    head = box_head.build_box_head(
        num_classes,
        width=fc_layers_size,
        norm=norm_name(train_bn),
        epsilon=EPSILON,
        size=pool_size,
    )
    return head(align([rois, image_meta, *feature_maps]))


def build_fpn_mask_graph(
    rois: Any,
    feature_maps: Sequence[Any],
    image_meta: Any,
    pool_size: int,
    num_classes: int,
    train_bn: bool | None = True,
) -> Any:
    """Adds the mask head.

    Args:
        rois: tensor `[batch, num_rois, 4]`.
        feature_maps: the maps P2, P3, P4 and P5.
        image_meta: tensor `[batch, 12 + num_classes]`.
        pool_size: int. Rows and columns of a pooled RoI.
        num_classes: int. Including the background.
        train_bn: bool or None. False normalizes by the moving statistics. Defaults to True.

    Returns:
        Probabilities `[batch, num_rois, 2 * pool_size, 2 * pool_size, num_classes]`.
    """
    align = PyramidROIAlign([pool_size, pool_size], name="roi_align_mask")
    head = mask_head.build_mask_head(
        num_classes,
        channels=256,
        depth=4,
        epsilon=EPSILON,
        **(vars(MATTERPORT.mask_head) | {"norm": norm_name(train_bn)}),
    )
    return head(align([rois, image_meta, *feature_maps]))


# --- Training targets ----------------------------------------------------------------------------
class DetectionTargetLayer(_OldLayer):
    """Samples the RoIs that train the heads, and computes their targets.

    Args:
        config: Config. T below is its TRAIN_ROIS_PER_IMAGE.

    Call arguments:
        inputs: list of proposals `[batch, num_proposals, 4]`, class ids `[batch, num_instances]`,
            boxes `[batch, num_instances, 4]` and masks `[batch, height, width, num_instances]`.

    Returns:
        RoIs `[batch, T, 4]`, class ids `[batch, T]`, deltas `[batch, T, 4]` and masks
        `[batch, T, *MASK_SHAPE]`.
    """

    def __init__(self, config: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        self.sampler = targets.DetectionTargets(
            count=config.TRAIN_ROIS_PER_IMAGE,
            positive_ratio=config.ROI_POSITIVE_RATIO,
            std=config.BBOX_STD_DEV,
            seed=config.SEED,
            **vars(MATTERPORT.targets),
        )
        self.masks = matterport.CornerMaskTargets(
            mask_shape=config.MASK_SHAPE, full_masks=not config.USE_MINI_MASK
        )

    def call(self, inputs):
        """Computes the outputs; the class documents them."""
        proposals, class_ids, boxes, masks = inputs
        boxes = ops.cast(boxes, "float32")
        # To [batch, num_instances, height, width] and 0..255, as the layer inside takes masks.
        masks = ops.transpose(ops.cast(masks, "float32"), (0, 3, 1, 2)) * 255.0
        found = self.sampler.call(
            ops.cast(proposals, "float32"), ops.cast(class_ids, "int32"), boxes
        )
        # Positive RoIs come first, so that only these rows need a mask.
        rois, matched = (
            found[name][:, : self.sampler.max_positives] for name in ("rois", "matched")
        )
        cut = self.masks.call(None, boxes, masks, rois, matched)
        is_object = found["class_ids"] > 0
        rows = self.config.TRAIN_ROIS_PER_IMAGE - self.sampler.max_positives
        cut = ops.pad(cut, ((0, 0), (0, rows), (0, 0), (0, 0)))
        deltas = ops.where(is_object[..., None], found["deltas"], 0.0)
        cut = ops.where(is_object[..., None, None], cut, 0.0)
        return [found["rois"], found["class_ids"], deltas, cut]

    def compute_output_shape(self, input_shape):
        """Returns the shapes of RoIs, class ids, deltas and masks."""
        images, rows = input_shape[0][0], self.config.TRAIN_ROIS_PER_IMAGE
        shapes = [(rows, 4), (rows,), (rows, 4), (rows, *self.config.MASK_SHAPE)]
        return [(images, *shape) for shape in shapes]

    def compute_mask(self, inputs, mask=None):
        """Returns no Keras masks."""
        return [None] * 4


def detection_targets_graph(
    proposals: Any, gt_class_ids: Any, gt_boxes: Any, gt_masks: Any, config: Any
) -> tuple:
    """Calls `DetectionTargetLayer` for one image.

    Args:
        proposals: tensor `[num_proposals, 4]`.
        gt_class_ids: int tensor `[num_instances]`.
        gt_boxes: tensor `[num_instances, 4]`.
        gt_masks: tensor `[height, width, num_instances]`.
        config: Config. See `DetectionTargetLayer`.

    Returns:
        RoIs, class ids, deltas and masks, without the batch axis.
    """
    inputs = (proposals, gt_class_ids, gt_boxes, gt_masks)
    found = DetectionTargetLayer(config).call([ops.convert_to_tensor(x)[None] for x in inputs])
    return tuple(value[0] for value in found)


# --- Detections ----------------------------------------------------------------------------------
class DetectionLayer(_OldLayer):
    """Turns the outputs of the box head into detections.

    Args:
        config: Config. Its `DETECTION_*` settings and BBOX_STD_DEV are read.

    Call arguments:
        inputs: list of RoIs `[batch, num_rois, 4]`, probabilities `[batch, num_rois, num_classes]`,
            deltas `[batch, num_rois, num_classes, 4]` and image_meta `[batch, 12 + num_classes]`.

    Output shape:
        `[batch, DETECTION_MAX_INSTANCES, 6]`: y1, x1, y2, x2, class id and score. The rows after
        the last detection are zeros.
    """

    def __init__(self, config: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.config = config
        self.detections = detections.DetectionLayer(
            count=config.DETECTION_MAX_INSTANCES,
            min_confidence=config.DETECTION_MIN_CONFIDENCE,
            nms_threshold=config.DETECTION_NMS_THRESHOLD,
            std=config.BBOX_STD_DEV,
            **vars(MATTERPORT.detections),
        )

    def call(self, inputs):
        """Computes the outputs; the class documents them."""
        rois, probabilities, deltas, meta = inputs
        meta = ops.cast(meta, "float32")
        shape = meta[0, META_COLUMNS["image_shape"]]
        windows = norm_boxes_graph(meta[:, META_COLUMNS["window"]], shape[:2])
        return self.rows(rois, probabilities, deltas, windows)

    def rows(self, rois: Any, probabilities: Any, deltas: Any, windows: Any) -> Any:
        """Computes the detections inside normalized windows.

        Args:
            rois: tensor `[batch, num_rois, 4]`.
            probabilities: tensor `[batch, num_rois, num_classes]`.
            deltas: tensor `[batch, num_rois, num_classes, 4]`.
            windows: tensor `[batch, 4]`. Detections are clipped to these.

        Returns:
            Tensor `[batch, DETECTION_MAX_INSTANCES, 6]`.
        """
        found = self.detections.call(rois, probabilities, deltas, windows)
        return matterport.JoinDetections().call(found)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the detections."""
        return (input_shape[0][0], self.config.DETECTION_MAX_INSTANCES, 6)


def refine_detections_graph(rois: Any, probs: Any, deltas: Any, window: Any, config: Any) -> Any:
    """Calls `DetectionLayer` for one image.

    Args:
        rois: tensor `[num_rois, 4]`.
        probs: tensor `[num_rois, num_classes]`.
        deltas: tensor `[num_rois, num_classes, 4]`.
        window: tensor `[4]`. The normalized window of the image.
        config: Config. See `DetectionLayer`.

    Returns:
        Tensor `[DETECTION_MAX_INSTANCES, 6]`.
    """
    inputs = (ops.convert_to_tensor(x, "float32")[None] for x in (rois, probs, deltas, window))
    return DetectionLayer(config).rows(*inputs)[0]
