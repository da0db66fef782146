"""Matterport's graph functions and layers, with their signatures, over the network of this package.

Boxes are in the coordinates of `ops.boxes.normalize`. Arguments whose values the arrays hold
themselves, as most of `image_meta`, are not read.
"""

from __future__ import annotations

import math

from keras import layers, ops

from mrcnn.compat.images import META_COLUMNS
from mrcnn.dialects.matterport import DIALECTS
from mrcnn.network.backbones import resnet
from mrcnn.network.heads import box as box_head
from mrcnn.network.heads import mask as mask_head
from mrcnn.network.heads import rpn
from mrcnn.network.layers import matterport
from mrcnn.network.rois import detections, proposals, targets
from mrcnn.ops import boxes as box_ops

_STRIDES = (4, 8, 16, 32)
(MATTERPORT,) = DIALECTS
_EPSILON = MATTERPORT.resnet.epsilon
_ONES = (1.0, 1.0, 1.0, 1.0)


class _OldLayer(layers.Layer):
    """A layer without weights that lends its old signature to a layer inside."""

    def build(self, input_shape):
        self.built = True


# --- Backbone ------------------------------------------------------------------------------------
class BatchNorm(layers.BatchNormalization):
    """Batch normalisation; called with training=False it uses its moving statistics."""

    def call(self, inputs, training=None):
        """As Keras'."""
        return super().call(inputs, training=training)


def identity_block(
    input_tensor, kernel_size, filters, stage, block, use_bias=True, train_bn=True
):  # fmt: skip
    """A bottleneck block of a ResNet whose shortcut is its input.

    Args:
        input_tensor: [batch, height, width, channels].
        kernel_size: of the middle convolution.
        filters: three numbers of channels.
        stage: 2..5 and `block`, a letter: for the names.
        block: see above.
        use_bias: the convolutions have biases.
        train_bn: False: normalise by moving statistics.
    """
    return _bottleneck(input_tensor, kernel_size, filters, stage, block, 0, use_bias, train_bn)


def conv_block(
    input_tensor, kernel_size, filters, stage, block, strides=(2, 2), use_bias=True, train_bn=True
):
    """A bottleneck block with a convolution in its shortcut; see `identity_block`."""
    return _bottleneck(
        input_tensor, kernel_size, filters, stage, block, strides[0], use_bias, train_bn
    )


def _bottleneck(x, kernel_size, filters, stage, block, strides, use_bias, train_bn):
    """`strides` 0: no convolution in the shortcut."""
    blocks = resnet.Blocks(_norm(train_bn), use_bias, epsilon=_EPSILON)
    name = f"{{}}{stage}{block}_branch"
    y = blocks.conv_norm(x, filters[0], 1, name + "2a", strides or 1)
    y = blocks.conv_norm(y, filters[1], kernel_size, name + "2b")
    y = blocks.conv_norm(y, filters[2], 1, name + "2c", activation=False)
    if strides:
        x = blocks.conv_norm(x, filters[2], 1, name + "1", strides, activation=False)
    y = layers.Add(name=f"res{stage}{block}_add")([y, x])
    return layers.ReLU(name=f"res{stage}{block}_out")(y)


def _norm(train_bn):
    return "statistics" if train_bn is False else "batch"


def resnet_graph(input_image, architecture, stage5=False, train_bn=True):
    """The maps [C1, C2, C3, C4, C5] of a "resnet50" or "resnet101"; C5 None without `stage5`."""
    maps = resnet.resnet(input_image, architecture, norm=_norm(train_bn), **vars(MATTERPORT.resnet))
    return [*maps[:4], maps[4] if stage5 else None]


# --- Region proposals ----------------------------------------------------------------------------
def rpn_graph(feature_map, anchors_per_location, anchor_stride):
    """The RPN on one map: logits and probabilities [batch, anchors, 2], deltas [batch, anchors, 4].

    Args:
        feature_map: [batch, height, width, depth].
        anchors_per_location: anchors a cell.
        anchor_stride: cells between anchors.
    """
    return build_rpn_model(anchor_stride, anchors_per_location, feature_map.shape[-1])(feature_map)


def build_rpn_model(anchor_stride, anchors_per_location, depth):
    """The RPN as a model of maps with `depth` channels; see `rpn_graph`."""
    return rpn.rpn_model(
        depth,
        anchors_per_cell=anchors_per_location,
        anchor_stride=anchor_stride,
        **vars(MATTERPORT.rpn),
    )


class ProposalLayer(_OldLayer):
    """Proposals out of the RPN's outputs.

    Args:
        proposal_count: rows of the result.
        nms_threshold: IoU above which the lower-scored proposal is dropped.
        config: a Config.

    Call: [probabilities [batch, anchors, 2], deltas [batch, anchors, 4], anchors
    [batch, anchors, 4]] -> [batch, proposal_count, 4], zeros behind the last.
    """

    def __init__(self, proposal_count, nms_threshold, config=None, **kwargs):
        super().__init__(**kwargs)
        self.proposals = proposals.ProposalLayer(
            pre_nms=config.PRE_NMS_LIMIT,
            post_nms=proposal_count,
            nms_threshold=nms_threshold,
            std=config.RPN_BBOX_STD_DEV,
            **vars(MATTERPORT.proposals),
        )

    def call(self, inputs):
        """See the class."""
        probabilities, deltas, anchors = inputs
        return self.proposals.call([probabilities[..., 1]], [deltas], [anchors], window=None)

    def compute_output_shape(self, input_shape):
        """Shape of the proposals."""
        return (input_shape[0][0], self.proposals.post_nms, 4)


# --- Regions -------------------------------------------------------------------------------------
class PyramidROIAlign(_OldLayer):
    """Pools regions from the maps that fit their sizes.

    Args:
        pool_shape: rows and columns of the result, equal.

    Call: [boxes [batch, rois, 4], image_meta, P2, P3, P4, P5] ->
    [batch, rois, rows, columns, channels].
    """

    def __init__(self, pool_shape, **kwargs):
        super().__init__(**kwargs)
        self.pool_shape = tuple(pool_shape)
        self.align = matterport.CornerPooling(self.pool_shape[0], _STRIDES)

    def call(self, inputs):
        """See the class."""
        boxes, _, *maps = inputs
        return self.align.call(maps, boxes)

    def compute_output_shape(self, input_shape):
        """Shape of the pooled regions."""
        return (*input_shape[0][:2], *self.pool_shape, input_shape[2][-1])


def fpn_classifier_graph(
    rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True, fc_layers_size=1024
):
    """The box head: logits and probabilities [batch, rois, classes], deltas [.., classes, 4].

    Args:
        rois: [batch, rois, 4].
        feature_maps: P2..P5.
        image_meta: [batch, 12 + classes].
        pool_size: cells per side of a pooled region.
        num_classes: the background included.
        train_bn: False: normalise by moving statistics.
        fc_layers_size: width of the head.
    """
    align = PyramidROIAlign([pool_size, pool_size], name="roi_align_classifier")
    head = box_head.build_box_head(
        num_classes,
        width=fc_layers_size,
        norm=_norm(train_bn),
        epsilon=_EPSILON,
        size=pool_size,
    )
    return head(align([rois, image_meta, *feature_maps]))


def build_fpn_mask_graph(rois, feature_maps, image_meta, pool_size, num_classes, train_bn=True):
    """The mask head: probabilities [batch, rois, 2 pool_size, 2 pool_size, classes]."""
    align = PyramidROIAlign([pool_size, pool_size], name="roi_align_mask")
    head = mask_head.build_mask_head(
        num_classes,
        channels=256,
        depth=4,
        epsilon=_EPSILON,
        **(vars(MATTERPORT.mask_head) | {"norm": _norm(train_bn)}),
    )
    return head(align([rois, image_meta, *feature_maps]))


# --- Training targets ----------------------------------------------------------------------------
class DetectionTargetLayer(_OldLayer):
    """The RoIs that train the heads, and what they are to learn; T is TRAIN_ROIS_PER_IMAGE.

    Args:
        config: a Config.

    Call: [proposals [batch, n, 4], gt_class_ids [batch, gt], gt_boxes [batch, gt, 4], gt_masks
    [batch, h, w, gt]] -> rois [batch, T, 4], class_ids [batch, T], deltas [batch, T, 4], masks
    [batch, T, *MASK_SHAPE].
    """

    def __init__(self, config, **kwargs):
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
        """See the class."""
        proposals, class_ids, boxes, masks = inputs
        boxes = ops.cast(boxes, "float32")
        masks = ops.transpose(ops.cast(masks, "float32"), (0, 3, 1, 2)) * 255.0
        found = self.sampler.call(
            ops.cast(proposals, "float32"), ops.cast(class_ids, "int32"), boxes
        )
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
        """Shapes of rois, class_ids, deltas and masks."""
        images, rows = input_shape[0][0], self.config.TRAIN_ROIS_PER_IMAGE
        shapes = [(rows, 4), (rows,), (rows, 4), (rows, *self.config.MASK_SHAPE)]
        return [(images, *shape) for shape in shapes]

    def compute_mask(self, inputs, mask=None):
        """No masking."""
        return [None] * 4


def detection_targets_graph(proposals, gt_class_ids, gt_boxes, gt_masks, config):
    """`DetectionTargetLayer` for one image: the same arrays without the batch axis."""
    inputs = (proposals, gt_class_ids, gt_boxes, gt_masks)
    found = DetectionTargetLayer(config).call([ops.convert_to_tensor(x)[None] for x in inputs])
    return tuple(value[0] for value in found)


# --- Detections ----------------------------------------------------------------------------------
class DetectionLayer(_OldLayer):
    """Turns the box head's outputs into detections.

    Args:
        config: a Config.

    Call: [rois [batch, rois, 4], probabilities [batch, rois, classes], deltas
    [batch, rois, classes, 4], image_meta [batch, 12 + classes]] ->
    [batch, DETECTION_MAX_INSTANCES, 6]: y1, x1, y2, x2, class id, score; zeros behind the last.
    """

    def __init__(self, config=None, **kwargs):
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
        """See the class."""
        rois, probabilities, deltas, meta = inputs
        meta = ops.cast(meta, "float32")
        shape = meta[0, META_COLUMNS["image_shape"]]
        windows = norm_boxes_graph(meta[:, META_COLUMNS["window"]], shape[:2])
        return self.rows(rois, probabilities, deltas, windows)

    def rows(self, rois, probabilities, deltas, windows):
        """The same with normalised windows [batch, 4]."""
        found = self.detections.call(rois, probabilities, deltas, windows)
        return matterport.JoinDetections().call(found)

    def compute_output_shape(self, input_shape):
        """Shape of the detections."""
        return (input_shape[0][0], self.config.DETECTION_MAX_INSTANCES, 6)


def refine_detections_graph(rois, probs, deltas, window, config):
    """`DetectionLayer` for one image, with a normalised window [4]."""
    inputs = (ops.convert_to_tensor(x, "float32")[None] for x in (rois, probs, deltas, window))
    return DetectionLayer(config).rows(*inputs)[0]


# --- Boxes and batches ---------------------------------------------------------------------------
def apply_box_deltas_graph(boxes, deltas):
    """Boxes [n, 4] moved by deltas [n, 4]."""
    return box_ops.decode(boxes, deltas, _ONES)


def box_refinement_graph(box, gt_box):
    """Deltas [n, 4] that move boxes [n, 4] onto others."""
    return box_ops.encode(ops.cast(box, "float32"), ops.cast(gt_box, "float32"), _ONES)


def clip_boxes_graph(boxes, window):
    """Boxes [n, 4] clipped to a window (y1, x1, y2, x2)."""
    low, high = (ops.concatenate([half, half]) for half in (window[:2], window[2:]))
    return ops.minimum(ops.maximum(boxes, low), high)


def overlaps_graph(boxes1, boxes2):
    """IoU of boxes [n, 4] and [m, 4]: [n, m]."""
    return box_ops.iou(ops.convert_to_tensor(boxes1)[None], ops.convert_to_tensor(boxes2)[None])[0]


def norm_boxes_graph(boxes, shape):
    """Pixel boxes [..., 4] of a picture (height, width), normalised."""
    shape = ops.cast(shape, "float32")
    return box_ops.normalize(ops.cast(boxes, "float32"), shape[0], shape[1])


def denorm_boxes_graph(boxes, shape):
    """The inverse, int32; ties to even."""
    scale = ops.cast(shape, "float32") - 1.0
    pixels = boxes * ops.concatenate([scale, scale]) + ops.array([0.0, 0.0, 1.0, 1.0])
    return ops.cast(ops.round(pixels), "int32")


def trim_zeros_graph(boxes, name="trim_zeros"):
    """The rows of boxes [n, 4] that are not all zero, and which these are: bool [n]."""
    real = ops.any(ops.convert_to_tensor(boxes) != 0, axis=1)
    return ops.take(boxes, ops.nonzero(real)[0], axis=0), real


def batch_pack_graph(x, counts, num_rows):
    """The first counts[i] rows of each x[i], one below the other, for i < num_rows."""
    return ops.concatenate([x[i, : counts[i]] for i in range(num_rows)], axis=0)


def batch_slice(inputs, graph_fn, batch_size, names=None):
    """Applies a function to each image of a batch and stacks what it returns.

    Args:
        inputs: an array [batch, ...], or a list of such.
        graph_fn: function of their slices, giving an array or several.
        batch_size: images.
        names: unused.

    Returns:
        The stacked array, or a list where the function gives several.
    """
    inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    outputs = [graph_fn(*(x[i] for x in inputs)) for i in range(batch_size)]
    outputs = [out if isinstance(out, (list, tuple)) else [out] for out in outputs]
    stacked = [ops.stack(list(column), axis=0) for column in zip(*outputs, strict=True)]
    return stacked[0] if len(stacked) == 1 else stacked


def log2_graph(x):
    """Logarithm to the base 2."""
    return ops.log(x) / math.log(2.0)
