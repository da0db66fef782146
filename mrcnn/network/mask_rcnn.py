"""The two graphs of a model, training and inference, over one set of layers.

Read `trunk`, then `build_training_model`, then `build_inference_models`: the whole network from top
to bottom. This is the one file of the network that reads a Config.
"""

from __future__ import annotations

import types
from typing import NamedTuple

import keras

from mrcnn import batch
from mrcnn.network.backbones.build import backbone_maps
from mrcnn.network.heads.box import build_box_head
from mrcnn.network.heads.mask import build_mask_head
from mrcnn.network.heads.rpn import rpn_head
from mrcnn.network.layers import losses
from mrcnn.network.layers.basic import Loss, Normalise, numerics_of
from mrcnn.network.layers.fpn import feature_pyramid
from mrcnn.network.layers.matterport import JoinDetections, NormaliseBoxes
from mrcnn.network.rois.anchors import PyramidAnchors
from mrcnn.network.rois.detections import DetectionLayer, SelectMasks
from mrcnn.network.rois.pooling import PyramidROIAlign
from mrcnn.network.rois.proposals import ProposalLayer
from mrcnn.network.rois.targets import DetectionTargets, RPNTargets


class Network(NamedTuple):
    """The graphs of one network; they share every weight.

    Attributes:
        training: takes the arrays of `batch.training_specs`, returns a dict of loss scalars.
        detector: takes an image batch [batch, height, width, channels] 0..255, sides multiples of
            32, returns a dict of `boxes`, `class_ids`, `scores` and, with masks, `masks`. In a
            dialect that takes windows it takes image and window. In one of molded images it takes
            image, image_meta and anchors, and boxes come in the coordinates of
            `ops.boxes.normalize`.
        inference: the same graph, in such a dialect with Matterport's seven outputs.
        proposal_inputs: inputs of the proposal layer in inference, for `ProposalLayer.stages`.
    """

    training: keras.Model
    detector: keras.Model
    inference: keras.Model
    proposal_inputs: tuple


def build_network(config, mode="training") -> Network:
    """Builds the graphs of a checked Config.

    Args:
        config: see above.
        mode: the graph that is built first, "training" or "inference": a layer's `output` is what
            it gives in that one.
    """
    pieces = trunk(config)
    if mode == "training":
        training = build_training_model(pieces, config)
        return Network(training, *build_inference_models(pieces, config))
    inference = build_inference_models(pieces, config)
    return Network(build_training_model(pieces, config), *inference)


def trunk(config) -> types.SimpleNamespace:
    """What the graphs share: image to pyramid, RPN outputs, anchors, and the heads' layers."""
    numerics = numerics_of(config)
    image = keras.Input((None, None, config.IMAGE_CHANNEL_COUNT), name=batch.IMAGE)
    pixels = image
    if not numerics.molded_images:
        pixels = Normalise(config.MEAN_PIXEL, config.PIXEL_STD, name="normalise_pixels")(image)
    maps = backbone_maps(
        pixels, config.BACKBONE, config.BACKBONE_NORM, numerics, config.BACKBONE_WIDTH
    )
    pyramid = feature_pyramid(
        maps,
        config.TOP_DOWN_PYRAMID_SIZE,
        numerics.pyramid_norm or config.HEAD_NORM,
        numerics.pyramid_norm,
        numerics.batch_norm_epsilon,
    )
    ratios = config.RPN_ANCHOR_RATIOS
    logits, deltas, scores, rpn_class = rpn_head(
        pyramid,
        len(ratios),
        config.RPN_ANCHOR_STRIDE,
        numerics.rpn_channels,
        numerics.rpn_softmax,
        numerics.rpn_convolutions,
    )
    pieces = types.SimpleNamespace(
        image=image,
        pyramid=pyramid,
        logits=logits,
        deltas=deltas,
        scores=scores,
        rpn_class=rpn_class,
        anchors=PyramidAnchors(
            config.RPN_ANCHOR_SCALES,
            [1 / ratio for ratio in ratios] if numerics.ratio_is_width else ratios,
            config.BACKBONE_STRIDES,
            config.RPN_ANCHOR_STRIDE,
            numerics.anchor_offset,
            numerics.whole_anchors,
            name="anchors_in_pixels" if numerics.normalised_boxes else "anchors",
        )(image, pyramid),
        proposals=_proposal_layer(config, numerics),
        align_box=_align(config, numerics, config.POOL_SIZE, "roi_align_classifier"),
        box_head=build_box_head(
            config.NUM_CLASSES,
            config.FPN_CLASSIF_FC_LAYERS_SIZE,
            numerics.head_norm,
            numerics.batch_norm_epsilon,
            config.POOL_SIZE,
            numerics.box_convolutions,
            config.TOP_DOWN_PYRAMID_SIZE,
        ),
    )
    if numerics.molded_images:
        pieces.meta = keras.Input((config.IMAGE_META_SIZE,), name=batch.IMAGE_META)
    if numerics.takes_window:
        pieces.window = keras.Input((4,), name=batch.WINDOW)
    if config.USE_MASKS:
        pieces.align_mask = _align(config, numerics, config.MASK_POOL_SIZE, "roi_align_mask")
        pieces.mask_head = build_mask_head(
            config.NUM_CLASSES,
            config.MASK_CHANNELS,
            config.MASK_CONV_LAYERS,
            numerics.head_norm or config.HEAD_NORM,
            numerics.batch_norm_epsilon,
            bias=numerics.backbone_bias,
            probabilities=numerics.molded_images,
        )
    return pieces


def _proposal_layer(config, numerics):
    return ProposalLayer(
        config.PRE_NMS_LIMIT,
        config.POST_NMS_ROIS_INFERENCE,
        config.POST_NMS_ROIS_TRAINING,
        config.RPN_NMS_THRESHOLD,
        config.RPN_BBOX_STD_DEV,
        numerics.delta_clamp,
        numerics.min_proposal_side,
        config.RPN_ANCHOR_STRIDE,
        numerics.merged_levels,
        numerics.normalised_boxes,
        config.PRE_NMS_LIMIT_INFERENCE,
        name="ROI",
    )


def _align(config, numerics, size, name):
    return PyramidROIAlign(
        size,
        config.BACKBONE_STRIDES[:4],
        numerics.roi_sampling_ratio,
        numerics.canonical_roi_size,
        numerics.normalised_boxes,
        numerics.roi_aligned,
        numerics.level_tolerance,
        name=name,
    )


def ground_truth_shape(config) -> tuple | None:
    """Height and width of a ground-truth mask in a batch; None without masks."""
    if not config.USE_MASKS:
        return None
    shape = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else config.IMAGE_SHAPE[:2]
    return tuple(int(side) for side in shape)


def build_training_model(pieces, config) -> keras.Model:
    """Image and ground truth to the five losses; without masks there are four."""
    numerics = numerics_of(config)
    specs = batch.training_specs(
        tuple(pieces.image.shape[1:]),
        config.MAX_GT_INSTANCES,
        ground_truth_shape(config),
        config.IMAGE_META_SIZE if numerics.molded_images else None,
        numerics.takes_window,
    )
    inputs = {batch.IMAGE: pieces.image}
    if numerics.molded_images:
        inputs[batch.IMAGE_META] = pieces.meta
    window = []
    if numerics.takes_window:
        inputs[batch.WINDOW] = pieces.window
        window = [pieces.window]
    for name, spec in specs.items():
        if name not in inputs:
            inputs[name] = keras.Input(spec.shape, dtype=spec.dtype, name=name)
    ids, boxes, anchors = inputs[batch.GT_CLASS_IDS], inputs[batch.GT_BOXES], pieces.anchors
    positive, negative, rpn_target = RPNTargets(
        config.RPN_TRAIN_ANCHORS_PER_IMAGE,
        numerics.rpn_positive_iou,
        numerics.rpn_negative_iou,
        config.RPN_BBOX_STD_DEV,
        seed=config.SEED,
        name="rpn_targets",
    )(anchors, ids, boxes)
    if numerics.normalised_boxes:
        boxes = NormaliseBoxes(name="gt_boxes_normalised")(pieces.image, boxes)
        anchors = NormaliseBoxes(name="anchors")(pieces.image, anchors)
    proposals = pieces.proposals(
        pieces.image, pieces.pyramid, pieces.scores, pieces.deltas, anchors, *window, training=True
    )
    sampler = DetectionTargets(
        config.TRAIN_ROIS_PER_IMAGE,
        config.ROI_POSITIVE_RATIO,
        numerics.roi_positive_iou,
        config.BBOX_STD_DEV,
        append_gt=numerics.append_gt_boxes,
        mask_shape=config.MASK_SHAPE if config.USE_MASKS else None,
        full_masks=not config.USE_MINI_MASK,
        balanced=numerics.balanced_rois,
        corners=numerics.normalised_boxes,
        seed=config.SEED,
        name="proposal_targets",
    )
    targets = sampler(pieces.image, proposals, ids, boxes, inputs.get(batch.GT_MASKS))
    box_options = {
        "beta": numerics.smooth_l1_beta,
        "over_positives": numerics.losses_over_positives,
    }
    logits, _, deltas = pieces.box_head(pieces.align_box(pieces.pyramid[:4], targets["rois"]))
    valid, class_ids = targets["valid"], targets["class_ids"]
    active = []
    if numerics.molded_images:
        active = [pieces.meta[:, batch.META_COLUMNS["active_class_ids"]]]
    outputs = {
        "rpn_class_loss": Loss(losses.rpn_class_loss, name="rpn_class_loss")(
            pieces.logits, positive, negative
        ),
        "rpn_bbox_loss": Loss(losses.rpn_box_loss, name="rpn_bbox_loss", **box_options)(
            rpn_target, pieces.deltas, positive, negative
        ),
        "mrcnn_class_loss": Loss(
            losses.class_loss, name="mrcnn_class_loss", all_rows=numerics.losses_over_positives
        )(class_ids, logits, valid, *active),
        "mrcnn_bbox_loss": Loss(losses.box_loss, name="mrcnn_bbox_loss", **box_options)(
            targets["deltas"], class_ids, deltas, valid
        ),
    }
    if config.USE_MASKS:
        n = sampler.max_positives  # positives come first: the mask head sees no other row
        masks = pieces.mask_head(pieces.align_mask(pieces.pyramid[:4], targets["rois"][:, :n]))
        outputs["mrcnn_mask_loss"] = Loss(
            losses.mask_loss, name="mrcnn_mask_loss", probabilities=numerics.molded_images
        )(targets["masks"], class_ids[:, :n], masks)
    return keras.Model(inputs, outputs, name="mask_rcnn_training")


def build_inference_models(pieces, config) -> tuple:
    """Image to detections: `detector`, `inference` and `proposal_inputs` of a `Network`."""
    numerics = numerics_of(config)
    image, inputs, anchors, window = pieces.image, pieces.image, pieces.anchors, []
    proposal_window = []
    if numerics.takes_window:
        inputs = [image, pieces.window]
        window = proposal_window = [pieces.window]
    if numerics.molded_images:
        anchors = keras.Input((None, 4), name=batch.ANCHORS)
        inputs = [image, pieces.meta, anchors]
        corners = pieces.meta[:, batch.META_COLUMNS["window"]]
        window = [NormaliseBoxes(name="window_normalised")(image, corners)]
    proposal_inputs = (
        image, pieces.pyramid, pieces.scores, pieces.deltas, anchors, *proposal_window,
    )  # fmt: skip
    rois = pieces.proposals(*proposal_inputs, training=False)
    _, probabilities, deltas = pieces.box_head(pieces.align_box(pieces.pyramid[:4], rois))
    detections = DetectionLayer(
        config.DETECTION_MAX_INSTANCES,
        min(numerics.min_score, config.DETECTION_MIN_CONFIDENCE),
        config.DETECTION_NMS_THRESHOLD,
        config.BBOX_STD_DEV,
        numerics.delta_clamp,
        numerics.best_class_only,
        numerics.normalised_boxes,
        numerics.min_detection_side,
        name="detections" if numerics.molded_images else "mrcnn_detection",
    )(image, rois, probabilities, deltas, *window)
    outputs, masks = detections, []
    if config.USE_MASKS:
        masks = [pieces.mask_head(pieces.align_mask(pieces.pyramid[:4], detections["boxes"]))]
        select = SelectMasks(numerics.molded_images, name="mrcnn_mask_select")
        outputs = detections | {"masks": select(masks[0], detections["class_ids"])}
    detector = inference = keras.Model(inputs, outputs, name="mask_rcnn")
    if numerics.molded_images:
        join = JoinDetections(config.DETECTION_MIN_CONFIDENCE, name="mrcnn_detection")
        rows = join(detections)
        old = [rows, probabilities, deltas, *masks, rois, pieces.rpn_class, pieces.deltas]
        inference = keras.Model(inputs, old, name="mask_rcnn")
    return detector, inference, proposal_inputs
