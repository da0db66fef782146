"""Matterport's way from an image to the network and back, for weights that were trained with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mrcnn.compat.boxes import denorm_boxes, norm_boxes
from mrcnn.compat.images import compose_image_meta, mold_image, resize, resize_image
from mrcnn.images.values import to_channels, to_network_range
from mrcnn.inference.detect import Geometry, to_result


class Molded(NamedTuple):
    """A picture scaled and padded by `resize_image`, with its mean pixel.

    Attributes:
        image: [h, w, C], 0..255.
        window: (y1, x1, y2, x2) of the picture in it, pixels.
        scale: the factor.
    """

    image: np.ndarray
    window: tuple
    scale: float

    @property
    def normalised_window(self):
        """The window as the network takes it: float32 [4]."""
        return norm_boxes(np.array(self.window), self.image.shape[:2])


def fit(image, config, name="image") -> Molded:
    """Scales and pads an image as the old `mold_inputs` did.

    Args:
        image: [height, width] or [height, width, channels], uint8, uint16 or float in 0..255.
        config: the model's Config.
        name: what to call the image in an error.
    """
    try:
        image = to_network_range(image, config.MEAN_PIXEL, config.IMAGE_STRETCH)
        image = to_channels(image, config.IMAGE_CHANNEL_COUNT)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    mode = config.IMAGE_RESIZE_MODE
    if mode == "crop":  # a random part of the picture is for training
        mode = "square"
    image, window, scale, _, _ = resize_image(
        image, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, config.IMAGE_MIN_SCALE, mode
    )
    return Molded(image, window, scale)


def restore(outputs, fitted: Molded, shape):
    """Detections of one image in its own pixels; see `mrcnn.detect.Geometry`."""
    boxes = _in_window(outputs["boxes"], fitted.normalised_window, shape)
    real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    pixels = [box if one else None for box, one in zip(boxes, real, strict=True)]
    if "masks" not in outputs:
        return pixels, None
    return pixels, [
        _paste(mask, box) if one else None
        for mask, box, one in zip(outputs["masks"], boxes, real, strict=True)
    ]


def _in_window(boxes, window, shape) -> np.ndarray:
    """Boxes normalised in the padded image as int32 pixel boxes of the picture [N, 4]."""
    y1, x1, y2, x2 = window
    size = np.array([y2 - y1, x2 - x1] * 2)
    return denorm_boxes((boxes - np.array([y1, x1, y1, x1])) / size, shape)


def _paste(mask, box):
    """A mask in its box, as crop and region."""
    y1, x1, y2, x2 = (int(value) for value in box)
    return resize(mask, (y2 - y1, x2 - x1)) >= 0.5, (y1, x1, y2, x2)


def geometry(config, anchors) -> Geometry:
    """The `Geometry` of networks that take molded images.

    Args:
        config: the model's Config.
        anchors: function of an image's shape giving its normalised anchors [A, 4].
    """

    def inputs(fitted):
        image = fitted.image
        meta = _meta(image.shape, fitted, config)  # the size before is nothing to the network
        return [mold_image(image, config), meta, anchors(image.shape)]

    return Geometry(fit, inputs, restore)


def _meta(original_shape, molded, config):
    active = np.zeros(config.NUM_CLASSES, np.int32)
    return compose_image_meta(
        0, original_shape, molded.image.shape, molded.window, molded.scale, active
    )


# --- The old functions ---------------------------------------------------------------------------
def mold_inputs(images, config):
    """Pictures as the old network took them.

    Args:
        images: list of [H, W, C].
        config: a Config.

    Returns:
        molded_images [N, h, w, C] without their mean pixel, image_metas [N, 12 + NUM_CLASSES],
        windows [N, 4] pixels.

    Raises:
        ValueError: the pictures come out at different sizes.
    """
    molded = [fit(image, config, f"images[{i}]") for i, image in enumerate(images)]
    shapes = {item.image.shape for item in molded}
    if len(shapes) > 1:
        raise ValueError(
            f"IMAGE_RESIZE_MODE = {config.IMAGE_RESIZE_MODE!r} gives these images different "
            f"shapes, {sorted(shapes)}: mold them one by one, or use detect()."
        )
    metas = [
        _meta((*np.shape(image), 1)[:3], item, config)
        for image, item in zip(images, molded, strict=True)
    ]
    pixels = np.stack([mold_image(item.image, config) for item in molded])
    return pixels, np.stack(metas), np.stack([item.window for item in molded])


def unmold_detections(detections, mrcnn_mask, original_image_shape, image_shape, window):
    """The old network's output for one image in pixels of the original picture.

    Args:
        detections: [N, 6]: y1, x1, y2, x2 normalised, class id, score; class 0 ends them.
        mrcnn_mask: [N, mh, mw, NUM_CLASSES].
        original_image_shape: (H, W, C) of the picture, `image_shape` of the padded one.
        image_shape: see above.
        window: (y1, x1, y2, x2) of the picture in the padded one, pixels.

    Returns:
        boxes int32 [n, 4], class_ids int32 [n], scores [n], masks bool [H, W, n].
    """
    padding = np.flatnonzero(detections[:, 4] == 0)
    count = padding[0] if padding.size else len(detections)
    class_ids = detections[:count, 4].astype(np.int32)
    masks = mrcnn_mask[np.arange(count), :, :, class_ids]
    molded = Molded(np.broadcast_to(np.uint8(0), image_shape), tuple(window), 1.0)
    shape = tuple(original_image_shape[:2])
    outputs = {
        "boxes": detections[:count, :4], "class_ids": class_ids, "scores": detections[:count, 5],
        "masks": masks,
    }  # fmt: skip
    result = to_result(outputs, *restore(outputs, molded, shape), shape)
    return tuple(result[name] for name in ("rois", "class_ids", "scores", "masks"))
