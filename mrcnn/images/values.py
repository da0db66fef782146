"""Pixel values: ranges, contrast stretching and channels."""

from __future__ import annotations

import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601 weights of red, green, blue


# --- Value range and channels --------------------------------------------------------------------
def to_uint8_range(image, stretch=None) -> np.ndarray:
    """Brings pixel values to 0..255.

    Args:
        image: any shape; bool, uint8, uint16, another integer or a float.
        stretch: None, or (low, high) percentiles in 0..100: the values at these percentiles of all
            pixels and channels become 0 and 255, what lies outside is clipped.

    Returns:
        The same shape. Without stretch: uint8 unchanged, bool times 255, uint16 / 257 as float32,
        floats as float32. With stretch: float32.

    Raises:
        ValueError: NaN or infinite pixels; without stretch, a float image in 0..1, or values
            outside 0..255.
    """
    image = np.asarray(image)
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
        return image.astype(np.float32) / np.float32(257)
    low, high = image.min(), image.max()
    if is_float and 0 < high <= 1.0 and low >= 0:
        raise ValueError(
            "The float image has values in 0..1, but 0..255 is expected: multiply by 255 "
            "(or give uint8, or set IMAGE_STRETCH)."
        )
    if low < 0 or high > 255:
        raise ValueError(
            f"The {image.dtype} image has values from {low} to {high}, but 0..255 is expected: "
            "scale it, give uint8 or uint16, or set IMAGE_STRETCH, for example (1, 99.8)."
        )
    return image.astype(np.float32)


def to_network_range(image, mean, stretch=None) -> np.ndarray:
    """`to_uint8_range`, but pictures whose mean shows that they are not in 0..255 stay as they are.

    Args:
        image, stretch: see `to_uint8_range`.
        mean: mean pixel [channels]. If its largest value is above 255, or 1 at most, pixels are not
            scaled (counts of a 16-bit camera, reflectance in 0..1), unless there is a stretch.

    Raises:
        ValueError: as `to_uint8_range`; NaN or infinite pixels in any case.
    """
    image, high = np.asarray(image), np.max(mean)
    if stretch is not None or image.dtype == np.uint8 or 1 < high <= 255:
        return to_uint8_range(image, stretch)
    if image.size == 0 or image.dtype.kind not in "biuf" or not np.isfinite(image).all():
        return to_uint8_range(image)  # which says what is wrong
    return image.astype(np.float32)


def _stretch(image, stretch):
    low, high = _percentiles(image, stretch)
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    return np.clip(scaled, 0, 255, out=scaled)


def _percentiles(image, stretch):
    """`numpy.percentile` of two values; from a histogram where the values are small integers."""
    if image.dtype not in (np.uint8, np.uint16):
        return (float(value) for value in np.percentile(image, stretch))
    cumulative = np.cumsum(np.bincount(image.ravel()))
    ranks = np.asarray(stretch, np.float64) / 100 * (image.size - 1)
    below = np.searchsorted(cumulative, np.floor(ranks), side="right")
    above = np.searchsorted(cumulative, np.ceil(ranks), side="right")
    values = below + (above - below) * (ranks - np.floor(ranks))
    return float(values[0]), float(values[1])


def to_channels(image, channels: int) -> np.ndarray:
    """Gives a picture the number of channels that the network takes.

    Grey is repeated, alpha dropped (2 and 4 channels), three channels become one by luminance.

    Args:
        image: [H, W] or [H, W, C].
        channels: number wanted.

    Returns:
        [H, W, channels], the same dtype.

    Raises:
        ValueError: other numbers of axes, or no rule leads from C to `channels`.
    """
    image = np.asarray(image)
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
    if have in (2, 4) and channels in (1, 3):
        image, have = image[..., : have - 1], have - 1
    if have == 1:
        return np.repeat(image, channels, axis=2)
    if have == 3 and channels == 1:
        grey = image.astype(np.float32) @ np.float32(LUMINANCE)
        if np.issubdtype(image.dtype, np.integer):
            grey = np.rint(grey)
        return grey.astype(image.dtype)[..., None]
    if have == channels:
        return image
    raise ValueError(
        f"The image has {image.shape[2]} channels, but IMAGE_CHANNEL_COUNT = {channels}: change "
        "the setting (and MEAN_PIXEL and PIXEL_STD with it) or give images with that many."
    )
