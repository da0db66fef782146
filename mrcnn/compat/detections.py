"""Matterport's functions from images to the network's input, and from its output to detections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn import dialects
from mrcnn.compat.images import compose_image_meta, mold_image
from mrcnn.images.fit import FittedImage
from mrcnn.images.values import to_channels, to_network_range
from mrcnn.inference.detect import to_result


def mold_inputs(images: Sequence[Any], config: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts images to the inputs of Matterport's network.

    Args:
        images: sequence of arrays `[H, W, C]`.
        config: Config. Its image settings are read.

    Returns:
        molded_images `[N, h, w, C]` without their mean pixel, image_metas `[N, 12 + NUM_CLASSES]`,
        and windows `[N, 4]` in pixels.

    Raises:
        ValueError: the images come out with different sizes.
    """
    fitted = [_fit(image, config, f"images[{i}]") for i, image in enumerate(images)]
    shapes = {item.image.shape for item in fitted}
    if len(shapes) > 1:
        raise ValueError(
            f"IMAGE_RESIZE_MODE = {config.IMAGE_RESIZE_MODE!r} resizes these images to different "
            f"shapes, {sorted(shapes)}: mold them one by one, or use detect()."
        )
    metas = [
        image_meta((*np.shape(image), 1)[:3], item.image.shape, item.window, item.scale, config)
        for image, item in zip(images, fitted, strict=True)
    ]
    pixels = np.stack([mold_image(item.image, config) for item in fitted])
    return pixels, np.stack(metas), np.stack([item.window for item in fitted])


def _fit(image, config, name) -> FittedImage:
    """Fits an image as Matterport's package does, whatever the dialect of the model is."""
    try:
        image = to_network_range(image, config.MEAN_PIXEL, config.IMAGE_STRETCH)
        image = to_channels(image, config.IMAGE_CHANNEL_COUNT)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return dialects.named("matterport").frame.fit(image, config)


def image_meta(
    original_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[float],
    scale: float,
    config: Any,
) -> np.ndarray:
    """Returns one row of image_meta `[12 + NUM_CLASSES]`, with no class active."""
    active = np.zeros(config.NUM_CLASSES, np.int32)
    return compose_image_meta(0, original_shape, image_shape, window, scale, active)


def unmold_detections(
    detections: np.ndarray,
    mrcnn_mask: np.ndarray,
    original_image_shape: Sequence[int],
    image_shape: Sequence[int],
    window: Sequence[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Converts the outputs of Matterport's network for one image to pixels of that image.

    Args:
        detections: array `[N, 6]`: y1, x1, y2, x2 normalized, class id, score. Class 0 ends them.
        mrcnn_mask: array `[N, mask height, mask width, NUM_CLASSES]`.
        original_image_shape: sequence of int. (H, W, C) of the image.
        image_shape: sequence of int. (H, W, C) of the padded image.
        window: sequence of int. (y1, x1, y2, x2) of the image in the padded one, in pixels.

    Returns:
        boxes int32 `[n, 4]`, class_ids int32 `[n]`, scores `[n]`, masks bool `[H, W, n]`.
    """
    padding = np.flatnonzero(detections[:, 4] == 0)
    count = padding[0] if padding.size else len(detections)
    class_ids = detections[:count, 4].astype(np.int32)
    found = {
        "boxes": detections[:count, :4],
        "class_ids": class_ids,
        "scores": detections[:count, 5],
        "masks": mrcnn_mask[np.arange(count), :, :, class_ids],
    }
    blank = np.broadcast_to(np.uint8(0), tuple(image_shape))
    y1, x1, y2, x2 = window
    fitted = FittedImage(blank, 1.0, (y1, x1, y2, x2), (0, 0))
    height, width = original_image_shape[:2]
    shape = (height, width)
    restored = dialects.named("matterport").frame.restore(found, fitted, shape)
    result = to_result(found, *restored, shape)
    return tuple(result[name] for name in ("rois", "class_ids", "scores", "masks"))
