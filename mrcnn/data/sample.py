"""Makes a training sample of one image: load, check, augment, fit, boxes from masks, pad."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn import batch as contract
from mrcnn import dialects
from mrcnn.data.augment import Augmenter
from mrcnn.data.dataset import Dataset, describe_image, image_size
from mrcnn.data.instances import Instances, SourceMasks, from_labels, from_masks
from mrcnn.images.values import to_channels, to_network_range

# Streams of random numbers: the order of an epoch, and the augmentation of an image.
_ORDER = 0
_IMAGE = 1


# --- One image -----------------------------------------------------------------------------------
def load_sample(
    dataset: Dataset,
    config: Any,
    image_id: int,
    augmentation: Any = None,
    rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Loads one image as a training sample.

    Args:
        dataset: Dataset. A prepared one.
        config: Config.
        image_id: int. Number of the image.
        augmentation: Augmenter or callable, as in `Batches`. Defaults to None.
        rng: numpy.random.Generator. Defaults to None: one seeded by the image id.

    Returns:
        dict of the arrays of `batch.training_specs`, without the batch axis.

    Raises:
        ValueError: if the image, its masks or its class ids cannot be used; naming the image.
    """
    rng = np.random.default_rng([0, _IMAGE, 0, int(image_id)]) if rng is None else rng
    image = load_network_image(dataset, config, image_id)
    # A callable of the user's moves single masks, so it cannot take a label image.
    plain = augmentation is None or isinstance(augmentation, Augmenter)
    labels = _load_labels(dataset, config, image_id, image.shape[:2]) if plain else None
    if labels is None:
        masks: Any = load_masks(dataset, config, image_id, image.shape[:2])
    else:
        masks = labels[0][..., None]
    image, masks, factor = _augment(image, masks, augmentation, rng, dataset, image_id)
    frame = dialects.of(config).frame
    plan = frame.plan(image.shape, config, scale_factor=factor, rng=rng)
    fitted = frame.apply(image, plan, config)
    if labels is None:
        instances = _fitted(masks, plan, describe_image(dataset, image_id))
    else:
        instances = from_labels(masks[..., 0], labels[1], plan)
    left_out = np.zeros((contract.LEFT_OUT_ROWS, 4), np.float32)
    if len(instances.crops) > config.MAX_GT_INSTANCES:
        rows = _choose(instances.class_ids, config.MAX_GT_INSTANCES, rng)
        boxes = np.delete(instances.boxes, rows, axis=0)[: len(left_out)]
        left_out[: len(boxes)] = boxes
        instances = instances.take(rows)
    sample = pad_sample(fitted.image, instances, config)
    sample[contract.LEFT_OUT] = left_out
    sample[contract.WINDOW] = frame.window(fitted)
    if dialects.of(config).active_classes:
        sample[contract.ACTIVE_CLASSES] = _active_classes(dataset, image_id, config)
    return sample


def _choose(class_ids, count, rng):
    """Returns the rows of the instances that have room: crowds, at most half, and the rest drawn.

    There is another choice in each epoch, so that no instance is left out for good. A crowd covers
    what nothing else in the batch does.
    """
    crowds = np.flatnonzero(class_ids < 0)[: count // 2]
    others = np.delete(np.arange(len(class_ids)), crowds)
    return np.sort(np.append(crowds, rng.choice(others, count - len(crowds), replace=False)))


def load_fitted_instances(
    dataset: Dataset, config: Any, image_id: int
) -> tuple[np.ndarray, Instances]:
    """Finds what is left of the instances of an image at the size of the network's input.

    The image itself is not read where the annotations say how large it is.

    Args:
        dataset: Dataset. A prepared one.
        config: Config.
        image_id: int. Number of the image.

    Returns:
        class_ids: int array. Of all instances, negative for crowds.
        instances: Instances. At the size of the network's input.

    Raises:
        ValueError: if the masks or class ids are unusable; naming the image.
    """
    frame = dialects.of(config).frame
    labels = _load_labels(dataset, config, image_id)
    if labels is not None:
        label, class_ids = labels
        return class_ids, from_labels(label, class_ids, frame.plan(label.shape, config))
    masks = load_masks(dataset, config, image_id)
    # Without instances there may be no size to plan with.
    plan = frame.plan(masks.shape if masks.class_ids.size else (1, 1), config)
    return masks.class_ids, _fitted(masks, plan, describe_image(dataset, image_id))


def _fitted(masks, plan, name):
    try:
        return from_masks(masks, plan)
    except ValueError as error:
        raise ValueError(f"Image {name}: {error}") from error


def _active_classes(dataset, image_id, config) -> np.ndarray:
    """Flags the classes that the source of an image knows, float32 `[NUM_CLASSES]`."""
    active = np.zeros(config.NUM_CLASSES, np.float32)
    known = dataset.source_class_ids.get(dataset.image_info[image_id]["source"])
    active[known or slice(None)] = 1
    return active


def load_network_image(dataset: Dataset, config: Any, image_id: int) -> np.ndarray:
    """Loads an image in the value range and with the channels of the network.

    Args:
        dataset: Dataset. A prepared one.
        config: Config.
        image_id: int. Number of the image.

    Returns:
        array [H, W, IMAGE_CHANNEL_COUNT], uint8 or float32, 0..255.

    Raises:
        ValueError: if the image cannot be used; naming it.
    """
    image = dataset.load_image(image_id)
    try:
        image = to_network_range(image, config.MEAN_PIXEL, config.IMAGE_STRETCH)
        return to_channels(image, config.IMAGE_CHANNEL_COUNT)
    except ValueError as error:
        raise ValueError(f"Image {describe_image(dataset, image_id)}: {error}") from error


def _load_labels(dataset, config, image_id, shape=None):
    """Returns the label image and class ids of an image, or None for a dataset without them."""
    if not dataset.has("labels"):
        return None
    labels, class_ids = dataset.load_label(image_id)
    class_ids = np.asarray(class_ids)
    name = describe_image(dataset, image_id)
    if shape is not None and labels.shape != tuple(shape):
        raise ValueError(
            f"Image {name}: its label image is {labels.shape[0]}x{labels.shape[1]} (height x "
            f"width), but the image is {shape[0]}x{shape[1]}. Both must have the same size."
        )
    _check_class_ids(class_ids, config, name)
    return labels, class_ids


def load_masks(
    dataset: Dataset, config: Any, image_id: int, shape: tuple[int, ...] | None = None
) -> SourceMasks:
    """Loads and checks the masks and class ids of an image; empty masks are left out.

    If masks are not used and the dataset has boxes of its own, each mask is a filled box.

    Args:
        dataset: Dataset. A prepared one.
        config: Config.
        image_id: int. Number of the image.
        shape: tuple of int. Height and width of the image. Defaults to None: those of its masks, if
            it has any.

    Returns:
        SourceMasks.

    Raises:
        ValueError: if the masks have another size than the image, there is not one class id per
            mask, or a class id is outside NUM_CLASSES.
    """
    name = describe_image(dataset, image_id)
    if not config.USE_MASKS and dataset.has("boxes"):
        boxes, class_ids = dataset.load_boxes(image_id)
        masks = SourceMasks.from_boxes(boxes, class_ids, _boxes_shape(dataset, image_id, shape))
    elif dataset.has("instances"):
        rles, _, class_ids = dataset.load_instances(image_id)
        found = rles[0]["size"] if rles else shape or (0, 0)
        _check_shape((*found, len(rles)), shape, name)
        masks = SourceMasks.from_rles(rles, class_ids, found)
    else:
        stack, class_ids = dataset.load_mask(image_id)
        stack, class_ids = np.asarray(stack), np.asarray(class_ids).reshape(-1)
        if stack.ndim == 3 and stack.shape[-1] == 0 and class_ids.size == 0:
            # without instances, old scripts return any shape
            stack = np.zeros((*(shape or stack.shape[:2]), 0), bool)
        _check_shape(stack.shape, shape, name)
        if stack.shape[-1] != class_ids.size:
            raise ValueError(
                f"Image {name}: {stack.shape[-1]} masks but {class_ids.size} class ids. "
                "load_mask must return one class id per mask."
            )
        # some scripts return an empty mask of class 0 for "no instance"
        masks = SourceMasks.from_stack(stack, class_ids)
    _check_class_ids(masks.class_ids, config, name)
    return masks


def _boxes_shape(dataset, image_id, shape):
    """Returns the size of the image that boxes are given in, checked where it is declared."""
    info = dataset.image_info[image_id]
    declared = (info.get("height"), info.get("width"))
    if shape is None:
        return image_size(dataset, image_id)
    if all(declared) and declared != tuple(shape):
        raise ValueError(
            f"Image {describe_image(dataset, image_id)}: its boxes are annotated in an image of "
            f"{declared[0]}x{declared[1]} (height x width), but the image is "
            f"{shape[0]}x{shape[1]}. Correct the size there, or the boxes."
        )
    return shape


def _check_shape(found, shape, name):
    if len(found) != 3 or (shape is not None and tuple(found[:2]) != tuple(shape)):
        height, width = shape if shape is not None else found[:2]
        raise ValueError(
            f"Image {name}: the masks have shape {found}, but the image is "
            f"{height}x{width} (height x width): load_mask must return [height, width, "
            "instances] of the size of its image."
        )


def _check_class_ids(class_ids, config, name):
    bad = class_ids[(class_ids == 0) | (np.abs(class_ids) >= config.NUM_CLASSES)]
    if bad.size:
        raise ValueError(
            f"Image {name}: class id {bad[0]} is outside 1..{config.NUM_CLASSES - 1} (negative: "
            f"crowds): NUM_CLASSES = {config.NUM_CLASSES}, the background 0 included. Set "
            "NUM_CLASSES to 1 + the number of classes, or correct the labels."
        )


def _augment(image, masks, augmentation, rng, dataset, image_id):
    """Returns the augmented image and masks, and the factor of the scale jitter."""
    if augmentation is None:
        return image, masks, 1.0
    if type(augmentation).__call__ is Augmenter.__call__:
        return *augmentation(image, masks, rng), augmentation.draw_scale(rng)
    class_ids = None
    if isinstance(masks, SourceMasks):  # code of the user's takes all masks as one array
        class_ids, masks = masks.class_ids, masks.stack()
    factor = 1.0
    if isinstance(augmentation, Augmenter):
        image, new_masks = augmentation(image, masks, rng)
        factor = augmentation.draw_scale(rng)
    else:
        image, new_masks = augmentation(image, masks)
    if new_masks.shape[:2] != image.shape[:2] or new_masks.shape[-1] != masks.shape[-1]:
        raise ValueError(
            f"Image {describe_image(dataset, image_id)}: the augmentation returned an image of "
            f"shape {image.shape} with masks of shape {new_masks.shape}; expected masks [H, W, "
            f"{masks.shape[-1]}] of the size of the image, empty ones included."
        )
    if class_ids is not None:
        new_masks = SourceMasks.from_stack(new_masks, class_ids)
    return image, new_masks, factor


def pad_sample(image: np.ndarray, instances: Instances, config: Any) -> dict[str, np.ndarray]:
    """Makes the arrays of one sample, with the ground truth padded to MAX_GT_INSTANCES rows.

    Args:
        image: array [H, W, C]. The network's input.
        instances: Instances in it, at most MAX_GT_INSTANCES.
        config: Config.

    Returns:
        dict of arrays, named as in `batch`.
    """
    count, rows = len(instances.crops), config.MAX_GT_INSTANCES
    class_ids = np.zeros(rows, np.int32)
    boxes = np.zeros((rows, 4), np.float32)
    class_ids[:count], boxes[:count] = instances.class_ids, instances.boxes
    sample = {
        contract.IMAGE: image,
        contract.GT_CLASS_IDS: class_ids,
        contract.GT_BOXES: boxes,
    }
    if config.USE_MASKS:
        shape = tuple(config.MINI_MASK_SHAPE) if config.USE_MINI_MASK else image.shape[:2]
        masks = np.zeros((rows, *shape), np.uint8)
        if count:
            mini = config.USE_MINI_MASK
            masks[:count] = instances.mini_masks(shape) if mini else instances.full_masks(shape)
        sample[contract.GT_MASKS] = masks
    return sample
