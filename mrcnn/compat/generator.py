"""Matterport's view of training data: `load_image_gt` and `data_generator`, for old notebooks."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn import batch, dialects
from mrcnn.compat.augment import augmenter
from mrcnn.compat.boxes import extract_bboxes, generate_pyramid_anchors
from mrcnn.compat.images import (
    META_COLUMNS,
    compose_image_meta,
    mold_image,
    resize_image,
    resize_mask,
)
from mrcnn.compat.masks import minimize_mask
from mrcnn.compat.targets import build_detection_targets, build_rpn_targets, generate_random_rois
from mrcnn.data.augment import Augmenter
from mrcnn.network.mask_rcnn import training_specs

logger = logging.getLogger("mrcnn")


def load_image_gt(dataset, config, image_id, augment=False, augmentation=None, use_mini_mask=False):
    """A picture with its objects, scaled and padded.

    Args:
        dataset: a prepared Dataset.
        config: a Config.
        image_id: number of the image.
        augment: mirror half of the pictures; `augmentation` can do more.
        augmentation: an imgaug object, an `Augmenter`, or a function of (image, masks).
        use_mini_mask: masks are cut to their boxes and scaled to MINI_MASK_SHAPE.

    Returns:
        image [h, w, C] with its mean pixel; image_meta [12 + NUM_CLASSES]; class_ids [n];
        bbox int32 [n, 4] pixels; mask bool [h, w, n], or [*MINI_MASK_SHAPE, n].
    """
    image = np.asarray(dataset.load_image(image_id))
    image = image[..., None] if image.ndim == 2 else image
    mask, class_ids = dataset.load_mask(image_id)
    mask, class_ids = np.asarray(mask), np.asarray(class_ids)
    original_shape = image.shape
    image, window, scale, padding, crop = resize_image(
        image, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE,
        config.IMAGE_RESIZE_MODE,
    )  # fmt: skip
    if class_ids.size:
        mask = resize_mask(mask, scale, padding, crop) != 0
    else:
        mask = np.zeros((*image.shape[:2], 0), bool)
    if augment:
        logger.warning("'augment' is deprecated: use 'augmentation' instead.")
        if random.randint(0, 1):
            image, mask = np.fliplr(image), np.fliplr(mask)
    if isinstance(augmentation, Augmenter):
        image, mask = augmentation(image, mask, np.random.default_rng(random.getrandbits(64)))
    elif augmentation is not None:
        image, mask = augmenter(augmentation)(image, mask)
    filled = mask.any(axis=(0, 1))
    mask, class_ids = mask[..., filled], class_ids[filled]
    bbox = extract_bboxes(mask)
    active = np.zeros(dataset.num_classes, np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    if use_mini_mask:
        mask = minimize_mask(bbox, mask, tuple(config.MINI_MASK_SHAPE))
    meta = compose_image_meta(image_id, original_shape, image.shape, window, scale, active)
    return image, meta, class_ids, bbox, mask


def compute_backbone_shapes(config, image_shape) -> np.ndarray:
    """Height and width of the maps P2..P6 of a picture (H, W, C): int [5, 2]."""
    if callable(config.BACKBONE) and getattr(config, "COMPUTE_BACKBONE_SHAPE", None):
        return np.asarray(config.COMPUTE_BACKBONE_SHAPE(image_shape))
    strides = np.asarray(config.BACKBONE_STRIDES)[:, None]
    return np.ceil(np.asarray(image_shape)[None, :2] / strides).astype(int)


def data_generator(
    dataset, config, shuffle=True, augment=False, augmentation=None, random_rois=0, batch_size=1,
    detection_targets=False, no_augmentation_sources=None,
):  # fmt: skip
    """Endless training batches as the old network took them.

    Args:
        dataset: a prepared Dataset.
        config: a Config.
        shuffle: another order each pass.
        augment, augmentation: see `load_image_gt`.
        random_rois: proposals made at random an image; 0: none.
        batch_size: images a batch.
        detection_targets: with random_rois, the targets of the heads too.
        no_augmentation_sources: sources whose images are never augmented.

    Yields:
        (inputs, outputs). Inputs: images float32 [B, H, W, C] without their mean pixel, image_meta
        [B, 12 + NUM_CLASSES], rpn_match [B, A, 1], rpn_bbox [B, RPN_TRAIN_ANCHORS_PER_IMAGE, 4],
        gt_class_ids [B, MAX_GT_INSTANCES], gt_boxes [B, MAX_GT_INSTANCES, 4], gt_masks
        [B, mh, mw, MAX_GT_INSTANCES]; with random_rois the proposals [B, random_rois, 4], with
        targets the RoIs [B, T, 4] too. Outputs: [], or class ids [B, T, 1], boxes and masks.

    Images without an object are left out. One that fails is logged and left out, until a sixth
    fails: its error is raised.
    """
    anchors = generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES, config.RPN_ANCHOR_RATIOS,
        compute_backbone_shapes(config, config.IMAGE_SHAPE), config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )  # fmt: skip

    def one(image_id):
        augmented = dataset.image_info[image_id]["source"] not in (no_augmentation_sources or [])
        loaded = load_image_gt(
            dataset, config, image_id, augment and augmented, augmentation if augmented else None,
            config.USE_MINI_MASK,
        )  # fmt: skip
        if (loaded[2] > 0).any():
            return _sample(loaded, anchors, config, random_rois, detection_targets)
        return None

    samples = _samples(dataset, shuffle, one)
    while True:
        rows = itertools.islice(samples, batch_size)
        yield tuple([np.stack(a) for a in zip(*s, strict=True)] for s in zip(*rows, strict=True))


def new_inputs(inputs: Sequence[Any], config: Any) -> dict[str, np.ndarray]:
    """Turns a batch of `data_generator` into the arrays that the training graph takes.

    The graph matches anchors itself, so that the targets of the RPN are not used.

    Args:
        inputs: sequence of arrays. The inputs that `data_generator` yields.
        config: Config. Of the model.

    Returns:
        dict of arrays: those of `network.mask_rcnn.training_specs`.

    Raises:
        ValueError: there are fewer than seven arrays.
    """
    if len(inputs) < 7:
        raise ValueError(
            "Expected the seven inputs of data_generator (images, image_meta, rpn_match, rpn_bbox, "
            f"gt_class_ids, gt_boxes, gt_masks), got {len(inputs)} arrays."
        )
    molded, meta, _, _, class_ids, boxes, masks = inputs[:7]
    molded, meta = np.asarray(molded), np.asarray(meta)
    if dialects.of(config).frame.clips_to_window:
        window = meta[:, META_COLUMNS["window"]]
    else:
        window = np.broadcast_to([0, 0, *molded.shape[1:3]], (len(molded), 4))
    arrays = {
        batch.IMAGE: molded + np.asarray(config.MEAN_PIXEL),
        batch.WINDOW: window,
        batch.GT_CLASS_IDS: class_ids,
        batch.GT_BOXES: boxes,
        batch.GT_MASKS: np.moveaxis(masks, -1, 1),
        batch.ACTIVE_CLASSES: meta[:, META_COLUMNS["active_class_ids"]],
    }
    specs = training_specs(config)
    return {name: np.asarray(arrays[name], spec.dtype) for name, spec in specs.items()}


def _samples(dataset, shuffle, make):
    """What `make` makes of every image, pass after pass; it returns None for one to leave out."""
    failures = 0
    while True:
        found = False
        for image_id in _order(dataset, shuffle):
            try:
                sample = make(image_id)
            except Exception:
                logger.exception("Error processing image %s", dataset.image_info[image_id])
                failures += 1
                if failures > 5:
                    raise
                continue
            if sample is not None:
                found = True
                yield sample
        if not found and not failures:
            raise ValueError("The data set has no image with an object.")


def _order(dataset, shuffle):
    image_ids = np.copy(dataset.image_ids)
    return np.random.permutation(image_ids) if shuffle else image_ids


def _sample(loaded, anchors, config, random_rois, detection_targets):
    """The inputs and outputs of one image, without the batch axis."""
    image, meta, class_ids, boxes, masks = loaded
    rpn_match, rpn_bbox = build_rpn_targets(image.shape, anchors, class_ids, boxes, config)
    if len(class_ids) > config.MAX_GT_INSTANCES:
        rows = np.random.choice(len(class_ids), config.MAX_GT_INSTANCES, replace=False)
        class_ids, boxes, masks = class_ids[rows], boxes[rows], masks[..., rows]
    count, most = len(class_ids), config.MAX_GT_INSTANCES
    inputs = [
        mold_image(image.astype(np.float32), config).astype(np.float32), meta.astype(float),
        rpn_match[:, None], rpn_bbox, _padded(class_ids.astype(np.int32), most),
        _padded(boxes, most), np.pad(masks, ((0, 0), (0, 0), (0, most - count))),
    ]  # fmt: skip
    outputs = []
    if random_rois:
        rois = generate_random_rois(image.shape, random_rois, class_ids, boxes)
        inputs.append(rois)
        if detection_targets:
            rois, *targets = build_detection_targets(rois, class_ids, boxes, masks, config)
            inputs.append(rois)
            outputs = [targets[0][:, None], *targets[1:]]
    return inputs, outputs


def _padded(rows, count):
    return np.pad(rows, ((0, count - len(rows)), *[(0, 0)] * (rows.ndim - 1)))
