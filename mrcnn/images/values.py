"""Pixel values: ranges, contrast stretching and channels."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601 weights of red, green, blue
BIT_DEPTHS = (8, 10, 12, 14, 16)  # of cameras that store uint16

_told: set[int] = set()  # the bit depths that the user was told of

logger = logging.getLogger("mrcnn")


def as_native(image: Any) -> np.ndarray:
    """Returns an array in the byte order of the machine, which NumPy and OpenCV take as equal.

    Args:
        image: array of any dtype and byte order.
    """
    image = np.asarray(image)
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def bit_depth(image: np.ndarray) -> int:
    """Returns the bits that a uint16 image uses: the smallest of `BIT_DEPTHS` that hold its values.

    Cameras of 10, 12 and 14 bits store uint16, and no file format says so reliably. Divided by
    65535, their images would be nearly black. The first image of each depth below 16 is reported
    (logger "mrcnn").

    Args:
        image: uint16 array.
    """
    most = int(image.max())
    bits = next(bits for bits in BIT_DEPTHS if most < 2**bits)
    if bits < 16 and most and bits not in _told:
        _told.add(bits)
        logger.warning(
            "A uint16 image has no value above %d, so it is taken as an image of %d bits: 0 to %d "
            "become 0 to 255. The depth is found for each image by itself. If the images of a data "
            "set differ in it, set IMAGE_STRETCH, for example to (1, 99.8), or scale them to "
            "uint8 before.",
            most,
            bits,
            2**bits - 1,
        )
    return bits


def to_uint8_range(image: Any, stretch: tuple[float, float] | None = None) -> np.ndarray:
    """Converts pixel values to the range 0..255.

    Args:
        image: array of any shape; bool, integer or float.
        stretch: tuple (low, high) of percentiles in 0..100, or None. The values at these
            percentiles of all pixels and channels become 0 and 255; values outside are clipped.
            Defaults to None, no stretch.

    Returns:
        An array of the same shape. Without a stretch, uint8 is unchanged, bool is multiplied by
        255, uint16 is scaled by its `bit_depth` as float32 (16 bits are divided by 257), and other
        types become float32. With a stretch, float32. The byte order is that of the machine.

    Raises:
        ValueError: if the image is empty, not numeric, or has NaN or infinite pixels; without a
            stretch also for a float image in 0..1 or values outside 0..255.
    """
    image = as_native(image)
    if image.size == 0:
        raise ValueError(f"An image needs at least one pixel, got shape {image.shape}.")
    if image.dtype == bool:
        image = image.astype(np.uint8) * 255
    is_float = np.issubdtype(image.dtype, np.floating)
    if not is_float and not np.issubdtype(image.dtype, np.integer):
        raise ValueError(f"An image must hold numbers, got dtype {image.dtype}.")
    if is_float and not np.isfinite(image).all():
        bad = int(np.size(image) - np.count_nonzero(np.isfinite(image)))
        raise ValueError(
            f"The image holds {bad} NaN or infinite pixel values. "
            "Replace them first, for example with numpy.nan_to_num."
        )
    if stretch is not None:
        return _stretch(image, stretch)
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return image.astype(np.float32) / np.float32((2 ** bit_depth(image) - 1) / 255)
    low, high = image.min(), image.max()
    # An image in 0..1 would be nearly black, and training on it would fail without an error.
    if is_float and 0 < high <= 1.0 and low >= 0:
        raise ValueError(
            "The float image has values in 0..1, but 0..255 is expected: multiply by 255, give "
            "uint8, or set IMAGE_STRETCH, for example to (1, 99.8)."
        )
    if low < 0 or high > 255:
        raise ValueError(
            f"The {image.dtype} image has values from {low} to {high}, but 0..255 is expected: "
            "scale it, give uint8 or uint16, or set IMAGE_STRETCH, for example to (1, 99.8)."
        )
    return image.astype(np.float32)


def to_network_range(
    image: Any, mean: Any, stretch: tuple[float, float] | None = None
) -> np.ndarray:
    """Converts pixel values to 0..255, unless the mean pixel implies another range.

    Args:
        image: array of any shape; bool, integer or float.
        mean: sequence of floats, the mean pixel [channels]. If its largest value is above 255 or
            at most 1, pixels are not scaled (counts of a 16-bit camera, reflectance in 0..1),
            unless there is a stretch.
        stretch: tuple of two floats or None. See `to_uint8_range`. Defaults to None.

    Returns:
        An array of the same shape: as `to_uint8_range`, or the values unchanged as float32.

    Raises:
        ValueError: as `to_uint8_range`. NaN and infinite pixels are refused in any case.
    """
    image = as_native(image)
    high = np.max(mean)
    if stretch is not None or image.dtype == np.uint8 or 1 < high <= 255:
        return to_uint8_range(image, stretch)
    if image.size == 0 or image.dtype.kind not in "biuf" or not np.isfinite(image).all():
        return to_uint8_range(image)  # raises an error that says what is wrong
    return image.astype(np.float32)


def _stretch(image, stretch):
    low, high = _percentiles(image, stretch)
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255, out=scaled)


def _percentiles(image, stretch):
    """Computes two values of `numpy.percentile`, for small integers from a histogram (faster)."""
    if image.dtype not in (np.uint8, np.uint16):
        return (float(value) for value in np.percentile(image, stretch))
    cumulative = np.cumsum(np.bincount(image.ravel()))
    ranks = np.asarray(stretch, np.float64) / 100 * (image.size - 1)
    # Interpolate between the values at the ranks below and above, as NumPy does.
    below = np.searchsorted(cumulative, np.floor(ranks), side="right")
    above = np.searchsorted(cumulative, np.ceil(ranks), side="right")
    values = below + (above - below) * (ranks - np.floor(ranks))
    return float(values[0]), float(values[1])


def to_channels(image: Any, channels: int) -> np.ndarray:
    """Converts an image to the number of channels that the network expects.

    Gray is repeated, alpha is dropped (2 and 4 channels), and three channels become one by
    luminance.

    Args:
        image: array [H, W] or [H, W, C].
        channels: int. Number of channels of the result.

    Returns:
        [H, W, channels], in the dtype of the image.

    Raises:
        ValueError: if the image has another number of axes, or if there is no rule from C to
            `channels`.
    """
    image = as_native(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3:
        raise ValueError(
            "An image must have the axes [height, width] or [height, width, channels], "
            f"got shape {image.shape}."
        )
    have = image.shape[2]
    if have == channels:
        return image
    if have in (2, 4) and channels in (1, 3):  # drop alpha
        have -= 1
        image = image[..., :have]
    if have == 1:
        return np.repeat(image, channels, axis=2)
    if have == 3 and channels == 1:
        gray = image.astype(np.float32) @ np.array(LUMINANCE, np.float32)
        if np.issubdtype(image.dtype, np.integer):
            gray = np.rint(gray)
        return gray.astype(image.dtype)[..., None]
    if have == channels:
        return image
    raise ValueError(
        f"The image has {image.shape[2]} channels, but IMAGE_CHANNEL_COUNT = {channels}. Give "
        f"images with {channels} channels, or change the setting (and MEAN_PIXEL and PIXEL_STD "
        "with it)."
    )
