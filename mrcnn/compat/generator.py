"""Matterport's view of training data: `load_image_gt` and `data_generator`, for old notebooks."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator, Sequence
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
from mrcnn.data.dataset import Dataset
from mrcnn.network.mask_rcnn import training_specs

logger = logging.getLogger("mrcnn")


def load_image_gt(
    dataset: Dataset,
    config: Any,
    image_id: int,
    augment: bool = False,
    augmentation: Any = None,
    use_mini_mask: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Loads an image with its instances, scaled and padded.

    Args:
        dataset: Dataset. A prepared data set.
        config: Config. Its image settings are read.
        image_id: int. Index of the image.
        augment: bool. Whether half of the images are mirrored. Deprecated: `augmentation` can do
            more. Defaults to False.
        augmentation: an imgaug augmenter, an `Augmenter`, or a function of (image, masks). Defaults
            to None.
        use_mini_mask: bool. Whether masks are cropped to their boxes and scaled to MINI_MASK_SHAPE.
            Defaults to False.

    Returns:
        image: array `[height, width, channels]`, from which the mean pixel is not subtracted.
        image_meta: array `[12 + NUM_CLASSES]`.
        class_ids: int array `[n]`.
        bbox: int32 array `[n, 4]` in pixels.
        mask: bool array `[height, width, n]`, or `[*MINI_MASK_SHAPE, n]` with mini-masks.
    """
    image = np.asarray(dataset.load_image(image_id))
    image = image[..., None] if image.ndim == 2 else image
    mask, class_ids = map(np.asarray, dataset.load_mask(image_id))
    original_shape = image.shape
    image, window, scale, padding, crop = resize_image(
        image,
        min_dim=config.IMAGE_MIN_DIM,
        max_dim=config.IMAGE_MAX_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        mode=config.IMAGE_RESIZE_MODE,
    )
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
    # Cropping and augmentation can move an instance out of the image.
    filled = mask.any(axis=(0, 1))
    mask, class_ids = mask[..., filled], class_ids[filled]
    bbox = extract_bboxes(mask)
    if use_mini_mask:
        mask = minimize_mask(bbox, mask, tuple(config.MINI_MASK_SHAPE))
    active = _active_classes(dataset, image_id)
    meta = compose_image_meta(image_id, original_shape, image.shape, window, scale, active)
    return image, meta, class_ids, bbox, mask


def _active_classes(dataset, image_id):
    """Returns 1 for the classes of the source of an image, otherwise 0: int32 [num_classes]."""
    active = np.zeros(dataset.num_classes, np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    return active


def compute_backbone_shapes(config: Any, image_shape: Sequence[int]) -> np.ndarray:
    """Returns the height and width of the maps P2 to P6 of an image.

    Args:
        config: Config. Of the model.
        image_shape: (height, width, channels) of the image.

    Returns:
        int array `[5, 2]`.
    """
    if callable(config.BACKBONE) and getattr(config, "COMPUTE_BACKBONE_SHAPE", None):
        return np.asarray(config.COMPUTE_BACKBONE_SHAPE(image_shape))
    strides = np.asarray(config.BACKBONE_STRIDES)[:, None]
    return np.ceil(np.asarray(image_shape)[None, :2] / strides).astype(int)


def data_generator(
    dataset: Dataset,
    config: Any,
    shuffle: bool = True,
    augment: bool = False,
    augmentation: Any = None,
    random_rois: int = 0,
    batch_size: int = 1,
    detection_targets: bool = False,
    no_augmentation_sources: Sequence[str] | None = None,
) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Yields training batches, in the form of Matterport's network, without end.

    Images without an instance are left out. An image that fails is logged and left out, until a
    sixth one fails, whose error is raised.

    Args:
        dataset: Dataset. A prepared data set.
        config: Config. Of the model.
        shuffle: bool. Whether each pass has another order. Defaults to True.
        augment: bool. See `load_image_gt`. Defaults to False.
        augmentation: see `load_image_gt`. Defaults to None.
        random_rois: int. Number of random proposals per image. Defaults to 0.
        batch_size: int. Images per batch. Defaults to 1.
        detection_targets: bool. Whether `random_rois` get targets of the heads. Defaults to False.
        no_augmentation_sources: sequence of str. Sources that are not augmented. Defaults to None.

    Yields:
        inputs: list of arrays. Images float32 `[batch, height, width, channels]` without their mean
            pixel; image_meta `[batch, 12 + NUM_CLASSES]`; rpn_match `[batch, num_anchors, 1]`;
            rpn_bbox `[batch, RPN_TRAIN_ANCHORS_PER_IMAGE, 4]`; gt_class_ids `[batch,
            MAX_GT_INSTANCES]`; gt_boxes `[batch, MAX_GT_INSTANCES, 4]`; gt_masks `[batch,
            mask_height, mask_width, MAX_GT_INSTANCES]`; with `random_rois` the proposals `[batch,
            random_rois, 4]`, and with targets the RoIs `[batch, TRAIN_ROIS_PER_IMAGE, 4]`.
        outputs: list of arrays. With targets, class ids `[batch, TRAIN_ROIS_PER_IMAGE, 1]`, boxes
            and masks; otherwise empty.

    Raises:
        ValueError: no image has an instance.
    """
    anchors = _anchors(config)

    def one(image_id):
        augmented = dataset.image_info[image_id]["source"] not in (no_augmentation_sources or [])
        loaded = load_image_gt(
            dataset,
            config,
            image_id,
            augment=augment and augmented,
            augmentation=augmentation if augmented else None,
            use_mini_mask=config.USE_MINI_MASK,
        )
        if not (loaded[2] > 0).any():
            return None
        return _sample(loaded, anchors, config, random_rois, detection_targets)

    samples = _samples(dataset, shuffle, one)
    while True:
        inputs, outputs = zip(*itertools.islice(samples, batch_size), strict=True)
        yield _stacked(inputs), _stacked(outputs)


def _anchors(config):
    """Returns the anchors of an image of IMAGE_SHAPE, [num_anchors, 4] in pixels."""
    return generate_pyramid_anchors(
        config.RPN_ANCHOR_SCALES,
        config.RPN_ANCHOR_RATIOS,
        list(compute_backbone_shapes(config, config.IMAGE_SHAPE)),
        config.BACKBONE_STRIDES,
        config.RPN_ANCHOR_STRIDE,
    )


def _stacked(samples):
    """Stacks the arrays of several images, place by place."""
    return [np.stack(arrays) for arrays in zip(*samples, strict=True)]


def new_inputs(inputs: Sequence[Any], config: Any) -> dict[str, np.ndarray]:
    """Turns a batch of `data_generator` into the arrays that the training graph takes.

    The graph matches anchors itself, so the targets of the RPN are not used.

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
        batch.GT_MASKS: np.moveaxis(masks, -1, 1),  # [batch, instance, height, width]
        batch.LEFT_OUT: np.zeros((len(molded), batch.LEFT_OUT_ROWS, 4)),  # unknown here
        batch.ACTIVE_CLASSES: meta[:, META_COLUMNS["active_class_ids"]],
    }
    specs = training_specs(config)
    return {name: np.asarray(arrays[name], spec.dtype) for name, spec in specs.items()}


def _samples(dataset, shuffle, make):
    """Yields `make(image_id)` of every image, pass after pass; None leaves an image out."""
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
            raise ValueError(
                "data_generator: the data set has no image with an instance. Check its masks and "
                "class ids."
            )


def _order(dataset, shuffle):
    image_ids = np.copy(dataset.image_ids)
    return np.random.permutation(image_ids) if shuffle else image_ids


def _sample(loaded, anchors, config, random_rois, detection_targets):
    """Returns the inputs and outputs of one image, without the batch axis."""
    image, meta, class_ids, boxes, masks = loaded
    rpn_match, rpn_bbox = build_rpn_targets(image.shape, anchors, class_ids, boxes, config)
    if len(class_ids) > config.MAX_GT_INSTANCES:
        rows = np.random.choice(len(class_ids), config.MAX_GT_INSTANCES, replace=False)
        class_ids, boxes, masks = class_ids[rows], boxes[rows], masks[..., rows]
    count, most = len(class_ids), config.MAX_GT_INSTANCES
    inputs = [
        mold_image(image.astype(np.float32), config).astype(np.float32),
        meta.astype(float),
        rpn_match[:, None],
        rpn_bbox,
        _padded(class_ids.astype(np.int32), most),
        _padded(boxes, most),
        np.pad(masks, ((0, 0), (0, 0), (0, most - count))),
    ]
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
    """Appends rows of zeros up to a number of rows."""
    return np.pad(rows, ((0, count - len(rows)), *[(0, 0)] * (rows.ndim - 1)))
