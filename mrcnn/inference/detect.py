"""Detection: resize, network, back to image coordinates."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mrcnn.dialects import dialect
from mrcnn.images import fit as image_ops
from mrcnn.images import masks as mask_ops
from mrcnn.images import rle, values


def fit_for_detection(image, config, name="image"):
    """Brings an image of the user into the network's range, channels and size.

    Args:
        image: [height, width] or [height, width, channels], uint8, uint16 or float in 0..255.
        config: the model's Config.
        name: what to call the image in an error.

    Returns:
        `ops.images.FittedImage`.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.size == 0:
        raise ValueError(
            f"{name}: expected an array [height, width] or [height, width, channels] with pixels, "
            f"got shape {image.shape}."
        )
    try:
        image = values.to_network_range(image, config.MEAN_PIXEL, config.IMAGE_STRETCH)
        image = values.to_channels(image, config.IMAGE_CHANNEL_COUNT)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    numerics = dialect(config.NUMERICS)
    return image_ops.fit_image(
        image,
        mode=config.IMAGE_RESIZE_MODE,
        min_dim=config.IMAGE_MIN_DIM,
        max_dim=config.IMAGE_MAX_DIM,
        min_scale=config.IMAGE_MIN_SCALE,
        pad_value=config.MEAN_PIXEL,
        rounding=numerics.rounding,
        interpolation=numerics.interpolation,
    )


def detect(predict, images, config, masks="full", min_score=None, geometry=None) -> list[dict]:
    """Detects in any number of images of any sizes.

    Args:
        predict: function of the inference graph's input arrays returning its outputs as arrays.
        images: arrays, see `fit_for_detection`.
        config: the model's Config.
        masks: "full" for bool masks, "rle" for COCO run-length encoding, which stays small.
        min_score: detections below are dropped; None: DETECTION_MIN_CONFIDENCE.
        geometry: how images reach the network and detections come back; None: that of the dialect.

    Returns:
        One dict an image, detections by descending score: `rois` int32 [N, 4] (y1, x1, y2, x2 in
        pixels of the image), `class_ids` int32 [N], `scores` float32 [N], `boxes` float32 [N, 4]:
        the rois before they were rounded, and with USE_MASKS `masks` bool [height, width, N], or
        `rles`, a list of N dicts.
    """
    if masks not in ("full", "rle"):
        raise ValueError(f"masks must be 'full' or 'rle', got {masks!r}.")
    geometry = geometry or geometry_of(dialect(config.NUMERICS))
    fitted = [geometry.fit(image, config, f"images[{i}]") for i, image in enumerate(images)]
    min_score = config.DETECTION_MIN_CONFIDENCE if min_score is None else min_score
    groups = {}
    for index, item in enumerate(fitted):
        groups.setdefault(item.image.shape, []).append(index)
    results = [None] * len(fitted)
    for indices in groups.values():
        for start in range(0, len(indices), config.BATCH_SIZE):
            chunk = indices[start : start + config.BATCH_SIZE]
            inputs = zip(*(geometry.inputs(fitted[i]) for i in chunk), strict=True)
            outputs = predict(*(np.stack(arrays).astype("float32") for arrays in inputs))
            for row, index in enumerate(chunk):
                shape = np.asarray(images[index]).shape[:2]
                restore = functools.partial(geometry.restore, fitted=fitted[index], shape=shape)
                results[index] = result_of(outputs, row, restore, shape, min_score, masks)
    return results


def result_of(outputs, row, restore, shape, min_score, masks="full") -> dict:
    """The dict of one image of a batch.

    Args:
        outputs: of the network, for the batch.
        row: of the image.
        restore: `Geometry.restore` for this image, a function of its detections.
        shape: height and width of the image.
        min_score, masks: see `detect`.
    """
    shown = (outputs["scores"][row] >= min_score) & (outputs["class_ids"][row] > 0)
    one = {name: array[row][shown] for name, array in outputs.items()}
    return to_result(one, *restore(one), shape, masks)


def to_result(outputs, boxes, pasted, shape, masks="full") -> dict:
    """The dict of one image; boxes that came to nothing are None and left out."""
    kept = [index for index, box in enumerate(boxes) if box is not None]
    exact = np.array([boxes[index] for index in kept], np.float32).reshape(-1, 4)
    result = {
        "rois": pixel_boxes(exact, shape),
        "class_ids": outputs["class_ids"][kept].astype("int32"),
        "scores": outputs["scores"][kept].astype("float32"),
        "boxes": exact,
    }
    if pasted is None:
        return result
    pasted = [pasted[index] for index in kept]
    if masks == "rle":
        result["rles"] = [rle.encode_rle(crop, region, shape) for crop, region in pasted]
    else:
        result["masks"] = np.zeros((*shape, len(pasted)), bool)
        for index, (crop, (y1, x1, y2, x2)) in enumerate(pasted):
            result["masks"][y1:y2, x1:x2, index] = crop
    return result


def in_classes(result, ours, theirs) -> dict:
    """A result (with `rles`, or no masks) in the class ids of a data set.

    Classes go by their names where the model knows all names of the data set, as one of COCO by
    category id does; otherwise by their numbers. Detections of other classes are left out.

    Args:
        result: of `detect`.
        ours, theirs: class names of the model and of the data set, background first.
    """
    if set(theirs) <= set(ours) and len(set(theirs)) == len(theirs):
        ids = {number: theirs.index(name) for number, name in enumerate(ours) if name in theirs}
    else:
        ids = {number: number for number in range(len(theirs))}
    # A network may know more classes than it has names, after a training on a part of them.
    class_ids = np.array([ids.get(number, 0) for number in result["class_ids"].tolist()], "int32")
    kept = np.flatnonzero(class_ids)
    return {
        name: [part[i] for i in kept] if name == "rles" else part[kept]
        for name, part in (result | {"class_ids": class_ids}).items()
    }


class Geometry(NamedTuple):
    """How images reach the network and detections come back.

    Attributes:
        fit: function (image, config, name) of an image, giving anything with `image`, the array for
            the network.
        inputs: function of that, giving the arrays of the graph's inputs for this image.
        restore: function (outputs, fitted, shape) of the detections of one image and its height and
            width, giving pixel boxes (None: left out) and either None or, for each, a mask
            (crop, region) as `ops.masks.paste_mask` returns.
    """

    fit: Callable
    inputs: Callable
    restore: Callable


def to_image(outputs, fitted, shape, paste=mask_ops.paste_mask):
    """Detections of one image from network coordinates to those of the user's image.

    Args:
        outputs: `boxes` [n, 4], `class_ids` [n], `scores` [n] and perhaps `masks` [n, mh, mw].
        fitted: the `FittedImage`.
        shape: height and width of the image.
        paste: function of a mask, its box and `shape`, see `ops.masks.paste_mask`.

    Returns:
        As `Geometry.restore` says.
    """
    low, high = np.array(fitted.window[:2]), np.array(fitted.window[2:])
    scale = (high - low) / np.array(shape)  # of each axis: sides were rounded to whole pixels
    boxes = (outputs["boxes"] - np.tile(low, 2)) / np.tile(scale, 2)
    boxes = np.clip(boxes, 0, np.tile(shape, 2)).astype("float32")
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # not wholly in the padding
    found = [box if inside else None for box, inside in zip(boxes, kept, strict=True)]
    if "masks" not in outputs:
        return found, None
    masks = zip(outputs["masks"], boxes, strict=True)
    return found, [paste(mask, box, shape) for mask, box in masks]


def pixel_boxes(boxes, shape):
    """Boxes rounded to whole pixels, at least one pixel wide and high, int32 [N, 4]."""
    low = np.minimum(np.round(boxes[:, :2]), np.array(shape) - 1)
    high = np.maximum(np.round(boxes[:, 2:]), low + 1)
    return np.concatenate([low, high], axis=1).astype("int32")


def geometry_of(numerics) -> Geometry:
    """The `Geometry` of a dialect whose network does its own pixel arithmetic."""
    restore = to_image
    if numerics.bordered_masks:
        restore = functools.partial(to_image, paste=mask_ops.paste_bordered_mask)

    def inputs(fitted):
        return [fitted.image, *([np.array(fitted.window)] if numerics.takes_window else [])]

    return Geometry(fit_for_detection, inputs, restore)
