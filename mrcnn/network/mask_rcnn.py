"""Mask R-CNN as a recipe: its parts, and the two graphs over them.

Read `trunk`, `detections` and `losses`: the whole network from top to bottom. This is the one file
of the network that reads a Config.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from mrcnn import batch, dialects
from mrcnn.network import backbones
from mrcnn.network.heads.box import build_box_head
from mrcnn.network.heads.mask import build_mask_head
from mrcnn.network.heads.rpn import RPNOutputs, join_levels, rpn_head
from mrcnn.network.layers import losses as loss_functions
from mrcnn.network.layers.basic import Loss, Normalize, leaf_layers
from mrcnn.network.layers.fpn import feature_pyramid
from mrcnn.network.layers.matterport import (
    CornerMaskTargets,
    CornerPooling,
    Margin,
    NormalizeBoxes,
)
from mrcnn.network.rois.anchors import PyramidAnchors
from mrcnn.network.rois.detections import MIN_SCORE, DetectionLayer, SelectMasks
from mrcnn.network.rois.pooling import PyramidROIAlign
from mrcnn.network.rois.proposals import ProposalLayer
from mrcnn.network.rois.targets import DetectionTargets, MaskTargets, RPNTargets


# --- The forward path ----------------------------------------------------------------------------
class Trunk(NamedTuple):
    """What both graphs share.

    Attributes:
        image: tensor `[batch, height, width, channels]`.
        maps: list of tensors. C2..C5.
        pyramid: list of tensors. P2..P6.
        rpn: RPNOutputs. Lists with one entry per level.
        pixel_anchors: list of tensors `[anchors, 4]`, in pixels.
        anchors: the same in the coordinates of the graph.
    """

    image: Any
    maps: list
    pyramid: list
    rpn: RPNOutputs
    pixel_anchors: list
    anchors: list


def trunk(parts: Parts, image: Any, pixels: Any) -> Trunk:
    """Image to pyramid, RPN outputs and anchors; `pixels` is the normalized image."""
    maps = parts.backbone(pixels)
    pyramid = parts.pyramid(maps)
    pixel_anchors = parts.anchors(image, pyramid)
    anchors = [parts.coordinates(image, level) for level in pixel_anchors]
    return Trunk(image, maps, pyramid, parts.rpn(pyramid), pixel_anchors, anchors)


def detections(parts: Parts, trunk: Trunk, window: Any) -> dict[str, Any]:
    """Pyramid to detections: boxes, classes and scores, and the masks of the boxes."""
    window = parts.coordinates(trunk.image, window)
    rois = parts.proposals(trunk.rpn.scores, trunk.rpn.deltas, trunk.anchors, window)
    _, probabilities, deltas = parts.box_head(parts.pool_boxes(trunk.pyramid[:4], rois))
    found = parts.detections(rois, probabilities, deltas, window)
    if not parts.has_masks:
        return found
    masks = parts.mask_head(parts.pool_masks(trunk.pyramid[:4], found["boxes"]))
    return found | {"masks": parts.select_masks(masks, found["class_ids"])}


def losses(parts: Parts, trunk: Trunk, inputs: dict[str, Any]) -> dict[str, Any]:
    """Pyramid and ground truth to the five losses; without masks there are four."""
    class_ids, pixel_boxes = inputs[batch.GT_CLASS_IDS], inputs[batch.GT_BOXES]
    left_out = inputs[batch.LEFT_OUT]
    rpn_targets = parts.rpn_targets(
        keras.ops.concatenate(trunk.pixel_anchors, axis=0), class_ids, pixel_boxes, left_out
    )
    found = parts.rpn_losses(trunk.rpn, *rpn_targets)
    boxes = parts.coordinates(trunk.image, pixel_boxes)
    window = parts.coordinates(trunk.image, inputs[batch.WINDOW])
    proposals = parts.training_proposals(trunk.rpn.scores, trunk.rpn.deltas, trunk.anchors, window)
    left_out = parts.coordinates(trunk.image, left_out)
    rois = parts.roi_targets(proposals, class_ids, boxes, left_out)
    logits, _, deltas = parts.box_head(parts.pool_boxes(trunk.pyramid[:4], rois["rois"]))
    found |= parts.box_losses(rois, logits, deltas, inputs.get(batch.ACTIVE_CLASSES))
    if not parts.has_masks:
        return found
    # Positives come first: the mask head sees no other row.
    positives = {name: rows[:, : parts.roi_targets.max_positives] for name, rows in rois.items()}
    targets = parts.mask_targets(
        trunk.image, boxes, inputs[batch.GT_MASKS], positives["rois"], positives["matched"]
    )
    masks = parts.mask_head(parts.pool_masks(trunk.pyramid[:4], positives["rois"]))
    # A RoI that sees no cell of its instance would teach that there is none: it has no mask loss.
    seen = keras.ops.any(targets > 0, axis=(2, 3))
    class_ids = keras.ops.where(seen, positives["class_ids"], 0)
    return found | {"mrcnn_mask_loss": parts.mask_loss(targets, class_ids, masks)}


# --- The parts -----------------------------------------------------------------------------------
class Parts:
    """The layers and functions that a network is made of, built from a checked Config.

    The groups of the dialect go to the parts as they are: their fields are the keyword arguments.
    Heads are created once, and applied in both graphs.

    Args:
        config: Config. It was checked by `validate`.
    """

    def __init__(self, config: Any):
        dialect = dialects.of(config)
        self.has_masks = config.USE_MASKS
        self._trunk_parts(config, dialect)
        self._roi_parts(config, dialect)
        self._heads(config, dialect)
        self._targets(config, dialect)
        self._losses(config, dialect)

    def _trunk_parts(self, config, dialect):
        epsilon = dialect.resnet.epsilon
        self.pixels = Normalize(config.MEAN_PIXEL, config.PIXEL_STD, name="normalize_pixels")
        self.backbone: Callable[..., list] = functools.partial(
            backbones.build,
            backbone=config.BACKBONE,
            norm=config.BACKBONE_NORM,
            width=config.BACKBONE_WIDTH,
            **vars(dialect.resnet),
        )
        self.pyramid: Callable[..., list] = functools.partial(
            feature_pyramid,
            channels=config.TOP_DOWN_PYRAMID_SIZE,
            norm=dialect.pyramid.lateral_norm or config.HEAD_NORM,
            epsilon=epsilon,
            **vars(dialect.pyramid),
        )
        self.rpn: Callable[..., RPNOutputs] = functools.partial(
            rpn_head,
            anchors_per_cell=len(config.RPN_ANCHOR_RATIOS),
            anchor_stride=config.RPN_ANCHOR_STRIDE,
            **vars(dialect.rpn),
        )
        self.anchors = PyramidAnchors(
            sizes=config.RPN_ANCHOR_SCALES,
            ratios=config.RPN_ANCHOR_RATIOS,
            strides=config.BACKBONE_STRIDES,
            anchor_stride=config.RPN_ANCHOR_STRIDE,
            **vars(dialect.anchors),
            name="anchors",
        )
        self.coordinates = NormalizeBoxes() if dialect.normalized_boxes else _in_pixels

    def _roi_parts(self, config, dialect):
        proposals: Callable[..., ProposalLayer] = functools.partial(
            ProposalLayer,
            nms_threshold=config.RPN_NMS_THRESHOLD,
            std=config.RPN_BBOX_STD_DEV,
            **vars(dialect.proposals),
        )
        self.proposals = proposals(
            pre_nms=config.PRE_NMS_LIMIT_INFERENCE or config.PRE_NMS_LIMIT,
            post_nms=config.POST_NMS_ROIS_INFERENCE,
            name="ROI",
        )
        self.training_proposals = proposals(
            pre_nms=config.PRE_NMS_LIMIT,
            post_nms=config.POST_NMS_ROIS_TRAINING,
            name="training_ROI",
        )
        in_corners = isinstance(dialect.pooling, dialects.CornerPooling)
        pooling: Callable[..., Any] = functools.partial(
            CornerPooling if in_corners else PyramidROIAlign,
            strides=config.BACKBONE_STRIDES[:4],
            **vars(dialect.pooling),
        )
        self.pool_boxes = pooling(size=config.POOL_SIZE, name="roi_align_classifier")
        self.pool_masks = pooling(size=config.MASK_POOL_SIZE, name="roi_align_mask")
        self.detections = DetectionLayer(
            count=config.DETECTION_MAX_INSTANCES,
            min_confidence=min(MIN_SCORE, config.DETECTION_MIN_CONFIDENCE),
            nms_threshold=config.DETECTION_NMS_THRESHOLD,
            std=config.BBOX_STD_DEV,
            **vars(dialect.detections),
            name="detections",
        )

    def _heads(self, config, dialect):
        epsilon = dialect.resnet.epsilon
        self.box_head = build_box_head(
            config.NUM_CLASSES,
            width=config.FPN_CLASSIF_FC_LAYERS_SIZE,
            epsilon=epsilon,
            size=config.POOL_SIZE,
            channels=config.TOP_DOWN_PYRAMID_SIZE,
            **vars(dialect.box_head),
        )
        self.mask_head = build_mask_head(
            config.NUM_CLASSES,
            channels=config.MASK_CHANNELS,
            depth=config.MASK_CONV_LAYERS,
            epsilon=epsilon,
            **(vars(dialect.mask_head) | {"norm": dialect.mask_head.norm or config.HEAD_NORM}),
        )
        self.select_masks = SelectMasks(
            probabilities=dialect.mask_head.probabilities, name="mrcnn_mask_select"
        )

    def _targets(self, config, dialect):
        self.rpn_targets = RPNTargets(
            count=config.RPN_TRAIN_ANCHORS_PER_IMAGE,
            std=config.RPN_BBOX_STD_DEV,
            seed=config.SEED,
            name="rpn_targets",
        )
        self.roi_targets = DetectionTargets(
            count=config.TRAIN_ROIS_PER_IMAGE,
            positive_ratio=config.ROI_POSITIVE_RATIO,
            std=config.BBOX_STD_DEV,
            seed=config.SEED,
            **vars(dialect.targets),
            name="proposal_targets",
        )
        in_corners = isinstance(dialect.pooling, dialects.CornerPooling)
        self.mask_targets = (CornerMaskTargets if in_corners else MaskTargets)(
            mask_shape=config.MASK_SHAPE, full_masks=not config.USE_MINI_MASK, name="mask_targets"
        )

    def _losses(self, config, dialect):
        def loss(function, name, **options):
            return Loss(function, name=name, **options)

        box_options = vars(dialect.box_loss)
        self._rpn_class_loss = loss(loss_functions.rpn_class_loss, "rpn_class_loss")
        self._rpn_box_loss = loss(loss_functions.rpn_box_loss, "rpn_bbox_loss", **box_options)
        self._class_loss = loss(
            loss_functions.class_loss, "mrcnn_class_loss", **vars(dialect.class_loss)
        )
        self._box_loss = loss(loss_functions.box_loss, "mrcnn_bbox_loss", **box_options)
        self.mask_loss = loss(
            loss_functions.mask_loss,
            "mrcnn_mask_loss",
            probabilities=dialect.mask_head.probabilities,
        )

    def rpn_losses(
        self, rpn: RPNOutputs, positive: Any, negative: Any, target: Any
    ) -> dict[str, Any]:
        """Returns the losses of the RPN: class and box."""
        logits = join_levels(rpn.logits, "rpn_class_logits")
        if rpn.probabilities is not None:
            logits = Margin(name="rpn_objectness")(logits)
        deltas = join_levels(rpn.deltas, "rpn_bbox")
        return {
            "rpn_class_loss": self._rpn_class_loss(logits, positive, negative),
            "rpn_bbox_loss": self._rpn_box_loss(target, deltas, positive, negative),
        }

    def box_losses(
        self, rois: dict[str, Any], logits: Any, deltas: Any, active: Any = None
    ) -> dict[str, Any]:
        """Returns the losses of the box head: class and box."""
        class_ids, valid = rois["class_ids"], rois["valid"]
        known = [] if active is None else [active]
        return {
            "mrcnn_class_loss": self._class_loss(class_ids, logits, valid, *known),
            "mrcnn_bbox_loss": self._box_loss(rois["deltas"], class_ids, deltas, valid),
        }


def _in_pixels(image, boxes):
    """The coordinates of dialects whose graph uses pixels."""
    return boxes


# --- The graphs ----------------------------------------------------------------------------------
class Network:
    """The graphs of one network. They share every weight, and are built when first asked for.

    `layer.output` is the output in the graph that was built first.

    Args:
        config: Config. It was checked by `validate`.

    Raises:
        ValueError: the dtype policy of Keras has weights of another dtype than float32.

    Attributes:
        parts: Parts. The layers that the graphs are made of.
        image: tensor. The input `[batch, height, width, channels]`, pixels in 0..255, sides
            multiples of 32.
        window: tensor. The input `[batch, 4]`, y1, x1, y2, x2 in pixels: what boxes are clipped to.
    """

    def __init__(self, config: Any):
        policy = keras.config.dtype_policy()
        if policy.variable_dtype != "float32":
            raise ValueError(
                f"Keras' dtype policy is {policy.name!r}, but the weights of MaskRCNN are float32. "
                "Call keras.config.set_dtype_policy('float32') before the model is built; "
                "'mixed_bfloat16' and 'mixed_float16' compute in 16 bits."
            )
        self.config = config
        self.parts = Parts(config)
        self.image = keras.Input((None, None, config.IMAGE_CHANNEL_COUNT), name=batch.IMAGE)
        self.window = keras.Input((4,), name=batch.WINDOW)

    @functools.cached_property
    def trunk(self) -> Trunk:
        """What the graphs share."""
        return trunk(self.parts, self.image, self.parts.pixels(self.image))

    @functools.cached_property
    def training(self) -> keras.Model:
        """Takes the arrays of `training_inputs`, returns a dict of loss scalars."""
        inputs = {batch.IMAGE: self.image, batch.WINDOW: self.window}
        for name, spec in training_specs(self.config).items():
            if name not in inputs:
                inputs[name] = keras.Input(spec.shape, dtype=spec.dtype, name=name)
        outputs = losses(self.parts, self.trunk, inputs)
        return keras.Model(inputs, outputs, name="mask_rcnn_training")

    @functools.cached_property
    def detector(self) -> keras.Model:
        """Takes image and window, returns a dict of `boxes`, `class_ids`, `scores` and `masks`."""
        outputs = detections(self.parts, self.trunk, self.window)
        return keras.Model([self.image, self.window], outputs, name="mask_rcnn")

    @property
    def layers(self) -> list:
        """The layers of the graph that was built first; both have the same weights."""
        built = [name for name in ("training", "detector") if name in vars(self)]
        return leaf_layers(getattr(self, built[0] if built else "detector"))

    @functools.cached_property
    def stages(self) -> dict[int, set[str]]:
        """Layer names of the backbone by stage 2..5; see `backbones.stages`."""
        return backbones.stages(self.image, self.trunk.maps)


def training_specs(config: Any) -> dict[str, batch.ArraySpec]:
    """Describes the arrays of a training batch for a Config; see `batch.training_specs`."""
    return batch.training_specs(
        (None, None, config.IMAGE_CHANNEL_COUNT),
        config.MAX_GT_INSTANCES,
        ground_truth_shape(config),
        config.NUM_CLASSES if dialects.of(config).active_classes else None,
    )


def ground_truth_shape(config: Any) -> tuple[int, int] | None:
    """Returns height and width of a ground-truth mask in a batch, None without masks."""
    if not config.USE_MASKS:
        return None
    height, width = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else config.IMAGE_SHAPE[:2]
    return int(height), int(width)
