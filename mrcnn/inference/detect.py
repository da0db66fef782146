"""Detection: from images of any size through the network, and back to their own pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn import dialects
from mrcnn.images import rle, values
from mrcnn.images.fit import FittedImage


def fit_for_detection(image: Any, config: Any, name: str = "image") -> FittedImage:
    """Brings an image of the user into the range, channels and size that the network takes.

    Args:
        image: array `[height, width]` or `[height, width, channels]`, uint8, uint16, or float in
            0..255.
        config: Config. Of the model.
        name: str. What to call the image in an error. Defaults to "image".

    Returns:
        A `FittedImage`.

    Raises:
        ValueError: not an image, or values or channels that the network cannot take.
    """
    image = np.asarray(image)
    _check_shape(image.shape, name)
    try:
        image = values.to_network_range(image, config.MEAN_PIXEL, config.IMAGE_STRETCH)
        image = values.to_channels(image, config.IMAGE_CHANNEL_COUNT)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return dialects.of(config).frame.fit(image, config)


def _check_shape(shape, name):
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"{name}: expected an array [height, width] or [height, width, channels] with pixels, "
            f"got shape {shape}."
        )


def detect(
    predict: Callable,
    images: Sequence[Any],
    config: Any,
    masks: str = "full",
    min_score: float | None = None,
) -> list[dict]:
    """Detects in any number of images of any sizes.

    Args:
        predict: callable. Function of a batch of images and their windows that returns the outputs
            of the network as arrays.
        images: sequence of arrays. See `fit_for_detection`.
        config: Config. Of the model.
        masks: str. "full" for bool masks, "rle" for COCO run-length codes, which stay small.
            Defaults to "full".
        min_score: float or None. Detections with a lower score are dropped. Defaults to None:
            `DETECTION_MIN_CONFIDENCE`.

    Returns:
        One dict per image, best detection first: `rois` int32 `[N, 4]` (y1, x1, y2, x2 in pixels of
        the image), `class_ids` int32 `[N]`, `scores` float32 `[N]`, `boxes` float32 `[N, 4]` (the
        rois before rounding), and with `USE_MASKS` `masks` bool `[height, width, N]` or `rles`, a
        list of N dicts.

    Raises:
        ValueError: `masks` is neither, a single image instead of a list, or an image that the
            network cannot take.
    """
    shape: tuple = getattr(images, "shape", ())
    if len(shape) == 3 and shape[2] in (3, 4):
        raise ValueError(
            f"images: expected a list of images, got one of shape {shape}: use detect([image])."
        )
    if masks not in ("full", "rle"):
        raise ValueError(f"masks must be 'full' or 'rle', got {masks!r}.")
    if min_score is None:
        min_score = config.DETECTION_MIN_CONFIDENCE
    frame = dialects.of(config).frame
    results: list[Any] = [None] * len(images)
    for chunk in _chunks(images, config):
        fitted = [fit_for_detection(images[i], config, f"images[{i}]") for i in chunk]
        pixels = np.stack([item.image for item in fitted]).astype("float32", copy=False)
        windows = np.stack([frame.window(item) for item in fitted])
        outputs = predict(pixels, windows)
        for row, index in enumerate(chunk):
            shape = np.shape(images[index])[:2]
            found = above(outputs, row, min_score)
            restored = frame.restore(found, fitted[row], shape)
            results[index] = to_result(found, *restored, shape, masks)
    return results


def _chunks(images, config):
    """Yields the indices of images that form a batch: those of one shape share a compiled graph.

    Only the shapes of the images are read here. An image is converted and scaled when its batch is
    computed, so that a long list does not take its memory a second time.
    """
    groups: dict[tuple, list[int]] = {}
    for index, image in enumerate(images):
        shape = np.shape(image)
        _check_shape(shape, f"images[{index}]")
        canvas = dialects.of(config).frame.plan(shape, config).canvas_shape
        groups.setdefault(canvas, []).append(index)
    for indices in groups.values():
        for start in range(0, len(indices), config.BATCH_SIZE):
            yield indices[start : start + config.BATCH_SIZE]


def above(outputs: dict[str, np.ndarray], row: int, min_score: float) -> dict[str, np.ndarray]:
    """Returns the detections of one image of a batch that reach a score.

    Args:
        outputs: dict of arrays. Outputs of the network for a batch.
        row: int. The image.
        min_score: float. Lowest score.
    """
    shown = (outputs["scores"][row] >= min_score) & (outputs["class_ids"][row] > 0)
    return {name: array[row][shown] for name, array in outputs.items()}


def to_result(
    found: dict[str, np.ndarray],
    boxes: list,
    pasted: list | None,
    shape: tuple[int, int],
    masks: str = "full",
) -> dict:
    """Assembles the result of one image. Empty boxes (None) are dropped.

    Args:
        found: dict of arrays. `class_ids` and `scores` of the detections.
        boxes: list. As `Frame.restore` returns it, like `pasted`.
        pasted: list or None.
        shape: tuple of int. Height and width of the image.
        masks: str. See `detect`. Defaults to "full".
    """
    kept = [index for index, box in enumerate(boxes) if box is not None]
    exact = np.array([boxes[index] for index in kept], np.float32).reshape(-1, 4)
    result: dict[str, Any] = {
        "rois": pixel_boxes(exact, shape),
        "class_ids": found["class_ids"][kept].astype("int32"),
        "scores": found["scores"][kept].astype("float32"),
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


def in_classes(result: dict, ids: Mapping[int, int]) -> dict:
    """Returns a result in the class ids of a data set. Detections of other classes are dropped.

    Args:
        result: dict. A result of `detect` with `rles`, or without masks.
        ids: dict. Class ids of the data set by those of the model, as `data.classes.match_classes`
            returns them.
    """
    # A network may know more classes than it has names, after training on a part of them.
    class_ids = np.array([ids.get(number, 0) for number in result["class_ids"].tolist()], "int32")
    kept = np.flatnonzero(class_ids)
    return {
        name: [part[i] for i in kept] if name == "rles" else part[kept]
        for name, part in (result | {"class_ids": class_ids}).items()
    }


def pixel_boxes(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rounds boxes to whole pixels, at least one pixel wide and high.

    Args:
        boxes: array `[N, 4]`.
        shape: tuple of int. Height and width of the image.

    Returns:
        int32 array `[N, 4]`.
    """
    low = np.minimum(np.round(boxes[:, :2]), np.array(shape) - 1)
    high = np.maximum(np.round(boxes[:, 2:]), low + 1)
    return np.concatenate([low, high], axis=1).astype("int32")
