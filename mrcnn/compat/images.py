"""Matterport's geometry of images: resizing, padding, the mean pixel, image_meta."""

from __future__ import annotations

import random
from typing import Any

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
    image: Any,
    output_shape: tuple[int, ...],
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
    clip: bool = True,
    preserve_range: bool = False,
    anti_aliasing: bool = False,
    anti_aliasing_sigma: Any = None,
) -> np.ndarray:
    """Calls `skimage.transform.resize` with the defaults of its old versions."""
    return skimage.transform.resize(
        image,
        output_shape,
        order=order,
        mode=mode,
        cval=cval,
        clip=clip,
        preserve_range=preserve_range,
        anti_aliasing=anti_aliasing,
        anti_aliasing_sigma=anti_aliasing_sigma,
    )


def resize_image(
    image: Any,
    min_dim: Any = None,
    max_dim: int | None = None,
    min_scale: float | None = None,
    mode: str = "square",
) -> tuple:
    """Scales and pads an image.

    Args:
        image: [H, W] or [H, W, C].
        min_dim: int or None. The short side is scaled up to this. Defaults to None.
        max_dim: int or None. In mode "square" the long side is scaled down to this, and both sides
            are padded to it. Defaults to None.
        min_scale: float or None. Minimum scale factor. Defaults to None.
        mode: str. "none", "square", "pad64" (sides padded to multiples of 64) or "crop" (a random
            square of side `min_dim`). Defaults to "square".

    Returns:
        image: [h, w, C], in the dtype of the input; uint8 values are truncated, not rounded.
        window: (y1, x1, y2, x2) of the image inside its padding, pixels, upper bounds exclusive.
        scale: float, the scale factor.
        padding: [(top, bottom), (left, right), (0, 0)].
        crop: None, or (y, x, h, w) in the scaled image.

    Raises:
        ValueError: for an unknown mode, or if "pad64" has a `min_dim` that is not a multiple of 64.
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
    """Splits padding into before and after; an odd pixel goes after."""
    return missing // 2, missing - missing // 2


def resize_mask(mask: Any, scale: float, padding: Any, crop: Any = None) -> np.ndarray:
    """Scales masks [H, W, N] (nearest neighbor), then crops or pads them as `resize_image` did."""
    mask = np.asarray(mask)
    # With another mode, rounding can put the last row or column outside, and it is lost.
    mask = scipy.ndimage.zoom(mask, zoom=[scale, scale, 1], order=0, mode="nearest")
    if crop is not None:
        y, x, height, width = crop
        return mask[y : y + height, x : x + width]
    return np.pad(mask, padding)


def as_images(images: Any, config: Any) -> list:
    """Applies `with_mean` to each image that `detect` got.

    Raises:
        ValueError: if `images` is one image instead of a list.
    """
    shape = np.shape(images) if isinstance(images, np.ndarray) else ()
    if len(shape) == 3 and shape[2] in (3, 4):
        raise ValueError(
            f"images: expected a list of images, got one of shape {shape}. Use detect([image])."
        )
    return [with_mean(image, config) for image in images]


def with_mean(image: Any, config: Any) -> np.ndarray:
    """Adds the mean pixel to an image from which it was subtracted before `detect`.

    Old tutorials pass such images. An image is taken for one of them if it is float [H, W, C], has
    negative values, and lies in 0..255 after the mean is added.

    Args:
        image: array.
        config: `Config`.

    Returns:
        The image with its mean pixel, or any other image unchanged.
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


# --- Values and metadata -------------------------------------------------------------------------
def mold_image(images: Any, config: Any) -> np.ndarray:
    """Subtracts the mean pixel from images, as the old network expects: float."""
    return np.asarray(images).astype(np.float32) - np.asarray(config.MEAN_PIXEL)


def unmold_image(normalized_images: Any, config: Any) -> np.ndarray:
    """Adds the mean pixel again, the inverse of `mold_image`; returns uint8."""
    return (np.asarray(normalized_images) + np.asarray(config.MEAN_PIXEL)).astype(np.uint8)


def compose_image_meta(
    image_id: int,
    original_image_shape: Any,
    image_shape: Any,
    window: Any,
    scale: float,
    active_class_ids: Any,
) -> np.ndarray:
    """Composes one row of numbers about an image: [12 + classes].

    Args:
        image_id: int.
        original_image_shape: (H, W, C) before resizing.
        image_shape: (H, W, C) after resizing and padding.
        window: (y1, x1, y2, x2) of the image inside its padding, pixels.
        scale: float, the scale factor.
        active_class_ids: 0 or 1 per class: whether the image's data set has the class.
    """
    return np.array(
        [image_id, *original_image_shape, *image_shape, *window, scale, *active_class_ids]
    )


def parse_image_meta(meta: Any) -> dict:
    """Splits image_meta [B, 12 + classes] into parts by name: int32, but `scale` float32."""
    parts = parse_image_meta_graph(np.asarray(meta))
    return {
        name: part.astype(np.float32 if name == "scale" else np.int32)
        for name, part in parts.items()
    }


def parse_image_meta_graph(meta: Any) -> dict:
    """Splits image_meta [B, 12 + classes], an array or tensor, into parts of the same dtype."""
    parts = {name: meta[:, columns] for name, columns in META_COLUMNS.items()}
    return parts | {name: parts[name][:, 0] for name in ("image_id", "scale")}
