"""Decoding with Pillow: the formats that OpenCV does not read, or reads without their palette.

The class of each format is opened by name. `PIL.Image.open` would try all formats that are
installed, among them EPS, which starts another program.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

import numpy as np

from mrcnn.images.values import as_native

_CLASSES = {
    "avif": ("AvifImagePlugin", "AvifImageFile"),
    "bmp": ("BmpImagePlugin", "BmpImageFile"),
    "gif": ("GifImagePlugin", "GifImageFile"),
    "jpeg2000": ("Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    "png": ("PngImagePlugin", "PngImageFile"),
    "tiff": ("TiffImagePlugin", "TiffImageFile"),
    "webp": ("WebPImagePlugin", "WebPImageFile"),
}
_DEEP = ("I", "F")  # the first letters of the modes with more than 8 bits


def open_image(file: io.BytesIO, kind: str) -> Any:
    """Reads the header of an image file; the pixels are decoded when they are asked for.

    Args:
        file: io.BytesIO. The contents of the file.
        kind: str. One of the formats above.

    Returns:
        A `PIL.Image.Image`.

    Raises:
        ValueError: if this Pillow does not know the format.
        Exception: whatever Pillow raises for a damaged file.
    """
    module, name = _CLASSES[kind]
    try:
        plugin = importlib.import_module(f"PIL.{module}")
    except ImportError as error:
        raise ValueError(f"this version of Pillow does not read {kind.upper()}") from error
    return getattr(plugin, name)(file)


def color_pixels(image: Any) -> np.ndarray:
    """Decodes an image in color.

    Args:
        image: PIL.Image.Image.

    Returns:
        [H, W, 3] uint8, or [H, W] of another dtype for gray images of more than 8 bits.
    """
    if image.mode.startswith(_DEEP):
        return stored_pixels(image)
    return np.array(image.convert("RGB"))


def stored_pixels(image: Any) -> np.ndarray:
    """Decodes an image without converting its values: a palette stays numbers of colors.

    Args:
        image: PIL.Image.Image.

    Returns:
        [H, W] or [H, W, C], in native byte order.
    """
    return as_native(np.array(image))
