"""Matterport's geometry of pictures: resizing, padding, the mean pixel, image_meta."""

from __future__ import annotations

import random

import numpy as np
import scipy.ndimage
import skimage.transform

# Columns of image_meta: numbers about the image, then one flag per class.
META_COLUMNS = {
    "image_id": slice(0, 1),
    "original_image_shape": slice(1, 4),
    "image_shape": slice(4, 7),
    "window": slice(7, 11),
    "scale": slice(11, 12),
    "active_class_ids": slice(12, None),
}


def resize(
    image, output_shape, order=1, mode="constant", cval=0, clip=True, preserve_range=False,
    anti_aliasing=False, anti_aliasing_sigma=None,
):  # fmt: skip
    """`skimage.transform.resize` with the defaults of old; see there."""
    return skimage.transform.resize(
        image, output_shape, order=order, mode=mode, cval=cval, clip=clip,
        preserve_range=preserve_range, anti_aliasing=anti_aliasing,
        anti_aliasing_sigma=anti_aliasing_sigma,
    )  # fmt: skip


def resize_image(image, min_dim=None, max_dim=None, min_scale=None, mode="square"):
    """Scales and pads a picture.

    Args:
        image: [H, W] or [H, W, C].
        min_dim: the short side is scaled up to this.
        max_dim: the long side is scaled down to this, and padded to it, in mode "square".
        min_scale: pictures are scaled by at least this factor.
        mode: "none", "square", "pad64" (sides padded to multiples of 64) or "crop" (a random
            square of side min_dim).

    Returns:
        image: [h, w, C], the dtype that it came with; uint8 is truncated, not rounded.
        window: (y1, x1, y2, x2) of the picture in it, pixels, upper bounds exclusive.
        scale: the factor.
        padding: [(top, bottom), (left, right), (0, 0)].
        crop: None, or (y, x, h, w) of the scaled picture.
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    height, width = image.shape[:2]
    padding = [(0, 0), (0, 0), (0, 0)]
    if mode == "none":
        return image, (0, 0, height, width), 1, padding, None
    scale = max(1, min_dim / min(height, width)) if min_dim else 1
    scale = max(scale, min_scale) if min_scale else scale
    if max_dim and mode == "square" and round(max(height, width) * scale) > max_dim:
        scale = max_dim / max(height, width)
    if scale != 1:
        shape = (round(height * scale), round(width * scale))
        image = resize(image, shape, preserve_range=True).astype(image.dtype)
    height, width = image.shape[:2]
    if mode == "crop":
        y, x = (random.randint(0, max(0, side - min_dim)) for side in (height, width))
        image = image[y : y + min_dim, x : x + min_dim]
        return image, (0, 0, min_dim, min_dim), scale, padding, (y, x, min_dim, min_dim)
    if mode == "square":
        padding = [_split(max_dim - height), _split(max_dim - width), (0, 0)]
    elif mode == "pad64":
        if min_dim % 64:
            raise ValueError(f"mode 'pad64' needs a min_dim that is a multiple of 64: {min_dim}.")
        padding = [_split(-height % 64), _split(-width % 64), (0, 0)]
    else:
        raise ValueError(f"mode must be 'none', 'square', 'pad64' or 'crop', got {mode!r}.")
    (top, _), (left, _), _ = padding
    image = np.pad(image, padding)
    return image, (top, left, top + height, left + width), scale, padding, None


def _split(missing):
    """Padding before and after; the odd pixel comes after."""
    return missing // 2, missing - missing // 2


def resize_mask(mask, scale, padding, crop=None) -> np.ndarray:
    """Masks [H, W, N] scaled (nearest neighbour), cropped or padded as `resize_image` says."""
    mask = np.asarray(mask)
    # "nearest": by rounding, the last row or column may lie outside, and was lost.
    mask = scipy.ndimage.zoom(mask, zoom=[scale, scale, 1], order=0, mode="nearest")
    if crop is not None:
        y, x, height, width = crop
        return mask[y : y + height, x : x + width]
    return np.pad(mask, padding)


def as_pictures(images, config) -> list:
    """The pictures that `detect` was given, each `with_mean`.

    Raises:
        ValueError: one picture instead of a list.
    """
    shape = np.shape(images) if isinstance(images, np.ndarray) else ()
    if len(shape) == 3 and shape[2] in (3, 4):
        raise ValueError(
            f"images: expected a list of pictures, got one of shape {shape}: use detect([image])."
        )
    return [with_mean(image, config) for image in images]


def with_mean(image, config):
    """A picture that lost its mean pixel before `detect`, as in old tutorials, has it back.

    Args:
        image: an array; taken for such a picture when it is float [H, W, C], has negative values
            and lies in 0..255 with the mean. Any other is returned as it is.
        config: a Config.
    """
    image = np.asarray(image)
    mean = np.asarray(config.MEAN_PIXEL, np.float32)
    if image.dtype.kind != "f" or image.ndim != 3 or image.shape[2] != mean.size:
        return image
    if not image.size or image.min() >= 0:
        return image
    restored = image + mean
    inside = -0.5 <= restored.min() and restored.max() <= 255.5
    return restored.clip(0, 255) if inside else image


# --- Values and meta data ------------------------------------------------------------------------
def mold_image(images, config) -> np.ndarray:
    """Pictures without their mean pixel, as the old network took them: float."""
    return np.asarray(images).astype(np.float32) - np.asarray(config.MEAN_PIXEL)


def unmold_image(normalized_images, config) -> np.ndarray:
    """The inverse of `mold_image`: uint8."""
    return (np.asarray(normalized_images) + np.asarray(config.MEAN_PIXEL)).astype(np.uint8)


def compose_image_meta(
    image_id, original_image_shape, image_shape, window, scale, active_class_ids
) -> np.ndarray:
    """One row of numbers about a picture: [12 + classes].

    Args:
        image_id: a number.
        original_image_shape: (H, W, C) before, `image_shape` after resizing.
        image_shape: see above.
        window: (y1, x1, y2, x2) of the picture inside the padded one, pixels.
        scale: factor of the resizing.
        active_class_ids: 0 or 1 a class: whether its data set knows the class.
    """
    return np.array(
        [image_id, *original_image_shape, *image_shape, *window, scale, *active_class_ids]
    )


def parse_image_meta(meta) -> dict:
    """The parts of image_meta [B, 12 + classes] by name: int32, `scale` float32."""
    parts = parse_image_meta_graph(np.asarray(meta))
    return {
        name: part.astype(np.float32 if name == "scale" else np.int32)
        for name, part in parts.items()
    }


def parse_image_meta_graph(meta) -> dict:
    """The parts of image_meta [B, 12 + classes] by name, in the dtype and kind that came."""
    parts = {name: meta[:, columns] for name, columns in META_COLUMNS.items()}
    return parts | {name: parts[name][:, 0] for name in ("image_id", "scale")}
