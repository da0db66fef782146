"""Shared by the formats of annotation tools: checked values of a file, and outlines of shapes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from mrcnn.data.annotations import Rle
from mrcnn.errors import shorten
from mrcnn.images.rle import MAX_RLE_PIXELS, encode_rle

NUMBER = (int, float)
MAX_NUMBER = 1e9  # larger ones are no coordinates, and overflow in further arithmetic
MAX_CURVE_POINTS = 128  # of a circle or ellipse: off by 0.03% of the radius

# --- Checked values ------------------------------------------------------------------------------
_KINDS = {
    dict: "an object {...}",
    list: "a list [...]",
    str: "text",
    NUMBER: "a number",
    int: "a whole number",
}


def field(entry: Any, key: str, kind: Any, default: Any = ...) -> Any:
    """Returns the value of a key of a JSON object, checked.

    Args:
        entry: dict. The object.
        key: str.
        kind: dict, list, str, int, or (int, float): the type that the value must have.
        default: the value where the key is missing or null. Defaults to ...: it must be there.

    Raises:
        ValueError: if `entry` is not an object, or the value is missing, of another type or not
            finite.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object {{...}}, got {shorten(entry)}")
    value = entry.get(key)
    if value is None and default is not ...:
        return default
    good = isinstance(value, kind) and not isinstance(value, bool)
    # a huge integer cannot be converted to a float
    if good and isinstance(value, (int, float)):
        good = abs(value) <= MAX_NUMBER
    if not good:
        raise ValueError(f'its "{key}" must be {_KINDS[kind]}, got {shorten(value)}')
    return value


def numbers(values: Any, what: str) -> np.ndarray:
    """Returns a list of numbers as float64 [N].

    Args:
        values: list of int or float.
        what: str. What they are, for the error.

    Raises:
        ValueError: if it is not a list of finite numbers.
    """
    if not isinstance(values, list) or not set(map(type, values)) <= {int, float}:
        raise ValueError(f"{what} must be a list of numbers, got {shorten(values)}")
    try:
        array = np.array(values, np.float64)
    except OverflowError:
        array = np.array([np.inf])
    if not (np.abs(array) <= MAX_NUMBER).all():  # nor NaN
        raise ValueError(f"{what} must be finite, at most {MAX_NUMBER:g}, got {shorten(values)}")
    return array


def points(values: Any, what: str = "its points") -> np.ndarray:
    """Returns a list of points [x, y] as float64 [N, 2].

    Raises:
        ValueError: if it is not a list of pairs of finite numbers.
    """
    if not isinstance(values, list):
        raise ValueError(f"{what} must be a list of [x, y], got {shorten(values)}")
    if not all(isinstance(point, list) and len(point) == 2 for point in values):
        raise ValueError(f"{what} must be pairs [x, y], got {shorten(values)}")
    flat = [value for point in values for value in point]
    return numbers(flat, what).reshape(-1, 2)


def sides(height: Any, width: Any) -> tuple[int, int]:
    """Returns the (height, width) that a file says an image has, checked.

    Raises:
        ValueError: if they are not whole numbers of at least 1, or too large for a mask.
    """
    for side in (height, width):
        if isinstance(side, bool) or not isinstance(side, int) or side < 1:
            raise ValueError(f"its height and width must be whole numbers, got {shorten(side)}")
    if height * width > MAX_RLE_PIXELS:
        raise ValueError(
            f"its size {shorten(height)}x{shorten(width)} is more than {MAX_RLE_PIXELS} pixels"
        )
    return height, width


def decode_png(text: str, limit: tuple[int, int]) -> np.ndarray:
    """Returns the mask of a PNG file in base64, bool [height, width], not zero inside.

    Args:
        text: str. The file in base64.
        limit: (height, width). The size of the image; a larger mask is refused before it is
            decoded.

    Raises:
        ValueError: if it is not a PNG file, or larger.
    """
    data = base64.b64decode(text, validate=True)
    with PillowImage.open(io.BytesIO(data), formats=["PNG"]) as png:
        if png.height > limit[0] or png.width > limit[1]:
            raise ValueError(f"its mask of {png.height}x{png.width} is larger than its image")
        return np.asarray(png.convert("L")) > 0


def place(crop: np.ndarray, x: int, y: int, size: tuple[int, int]) -> Rle:
    """Returns the code of a mask that is given inside a box, clipped to its image.

    Args:
        crop: bool [h, w]. The mask inside the box.
        x, y: ints. The upper left pixel of the box in the image.
        size: (height, width) of the image.

    Raises:
        ValueError: if the box is outside the image.
    """
    top, left = max(-y, 0), max(-x, 0)
    y, x = max(y, 0), max(x, 0)
    inside = crop[top : top + max(size[0] - y, 0), left : left + max(size[1] - x, 0)]
    if not inside.size:
        raise ValueError("its mask is outside its image")
    bounds = (y, x, y + inside.shape[0], x + inside.shape[1])
    return Rle(**encode_rle(inside, bounds, size))


# --- Outlines ------------------------------------------------------------------------------------
def rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Returns the corners of a rectangle, float64 [4, 2], clockwise from the upper left one."""
    right, bottom = x + width, y + height
    return np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float64)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> np.ndarray:
    """Returns a polygon of the area of an ellipse, float64 [num_points, 2].

    Args:
        x, y: floats. The center.
        radius_x, radius_y: floats, at least 0.
    """
    count = int(np.clip(math.pi * max(radius_x, radius_y), 16, MAX_CURVE_POINTS))
    angles = np.arange(count) * (2 * math.pi / count)
    # A polygon with its corners on the ellipse is smaller: scale it to the same area.
    scale = math.sqrt(2 * math.pi / (count * math.sin(2 * math.pi / count)))
    return np.stack(
        [x + radius_x * scale * np.cos(angles), y + radius_y * scale * np.sin(angles)], axis=1
    )


def rotate(ring: np.ndarray, center: Sequence[float], radians: float) -> np.ndarray:
    """Rotates points about a center, clockwise as seen on the screen, where y points down.

    Args:
        ring: array [num_points, 2], x, y.
        center: (x, y).
        radians: float.
    """
    cos, sin = math.cos(radians), math.sin(radians)
    turned = (ring - np.asarray(center)) @ np.array([[cos, sin], [-sin, cos]])
    return turned + np.asarray(center)
