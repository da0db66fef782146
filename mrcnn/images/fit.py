"""Images before the network: scaling, cropping and padding.

Training and detection use the same functions, so an image looks the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

PAD_MULTIPLE = 64  # the stride of P6: every pyramid level then has whole cells
EDGE_MULTIPLE = 32  # the stride of P5; torchvision and Detectron2 pad to it (mode shortest_edge)
MODES = ("square", "pad64", "crop", "none", "shortest_edge")  # of Config.IMAGE_RESIZE_MODE
_TRIANGLE = Image.Resampling.BILINEAR


class FitPlan(NamedTuple):
    """Where an image goes when it is fitted.

    Attributes:
        scale: float. Factor for both sides, before rounding to whole pixels.
        scaled_shape: tuple of int. Height and width of the whole image after scaling.
        offset: tuple of int. (y, x) of the kept part in the scaled image; (0, 0) if nothing is
            cropped.
        valid_shape: tuple of int. Height and width of the kept part.
        canvas_shape: tuple of int. Height and width of the result, including padding.
        origin: tuple of int. (y, x) of the kept part in the canvas. Defaults to (0, 0), the top
            left.
    """

    scale: float
    scaled_shape: tuple[int, int]
    offset: tuple[int, int]
    valid_shape: tuple[int, int]
    canvas_shape: tuple[int, int]
    origin: tuple[int, int] = (0, 0)


class FittedImage(NamedTuple):
    """An image that is scaled, cropped and padded for the network.

    Attributes:
        image: float32 array `[height, width, channels]`. The image and the padding around it.
        scale: float. Factor for both sides, before rounding to whole pixels.
        window: tuple of int. (y1, x1, y2, x2) of the part of `image` that is not padding.
        offset: tuple of int. (y, x) of the window in the scaled image; (0, 0) if nothing was
            cropped.
    """

    image: np.ndarray
    scale: float
    window: tuple[int, int, int, int]
    offset: tuple[int, int]


# --- Scaling, cropping and padding ---------------------------------------------------------------
def plan_fit(
    shape: tuple[int, ...],
    *,
    mode: str,
    min_dim: int,
    max_dim: int,
    min_scale: float = 0.0,
    scale_factor: float = 1.0,
    crop_rng: np.random.Generator | None = None,
    rounding: str = "half_even",
) -> FitPlan:
    """Decides scale, crop and padding of an image from its size alone.

    The modes:

    - `square`: the short side is scaled up to `min_dim` (never down), less if the long side would
      exceed `max_dim`. The result is padded to a square of `max_dim`.
    - `pad64`: the same without the limit of the long side, padded to multiples of 64.
    - `none`: not scaled, padded to multiples of 64.
    - `crop`: scaled like `pad64`. With `crop_rng`, a random part of `min_dim` x `min_dim` is kept
      (padded if the image is smaller). Without it, everything is kept as in `pad64`.
    - `shortest_edge`: the short side becomes `min_dim`, larger or smaller, less if the long side
      would exceed `max_dim`. Padded to multiples of 32; with `crop_rng` to a square that fits any
      image, so that batches can be made.

    Args:
        shape: tuple of int. Height and width of the image; more entries are ignored.
        mode: str. See above.
        min_dim: int. In pixels; see the modes.
        max_dim: int. In pixels; see the modes.
        min_scale: float. The image is scaled by at least this factor (in `square`, before the
            limit of the long side). Defaults to 0.
        scale_factor: float. Multiplies the scale at the end (scale jitter). What then exceeds a
            fixed canvas is cropped: at random with `crop_rng`, else at the top left. Defaults to 1.
        crop_rng: numpy.random.Generator or None. Places crops. Defaults to None.
        rounding: str. How sides become whole pixels: "half_even", "floor" (torchvision) or
            "half_up" (Detectron2). Defaults to "half_even".

    Returns:
        The `FitPlan`.

    Raises:
        ValueError: an unknown mode, or an image without pixels.
    """
    height, width = int(shape[0]), int(shape[1])
    if height < 1 or width < 1:
        raise ValueError(f"An image needs at least one pixel, got height {height}, width {width}.")
    scale = _fit_scale(height, width, mode, min_dim, max_dim, min_scale) * scale_factor
    sides: tuple[float, float] = (height * scale, width * scale)
    if rounding == "half_up" and mode == "shortest_edge" and scale_factor == 1.0:
        sides = _sides_in_steps(height, width, min_dim, max_dim)
    rows, columns = (max(1, _ROUND[rounding](side)) for side in sides)
    scaled = (rows, columns)
    canvas = _canvas(scaled, mode, min_dim, max_dim, crop_rng is not None)
    valid = (min(scaled[0], canvas[0]), min(scaled[1], canvas[1]))
    y = x = 0
    room = (scaled[0] - valid[0], scaled[1] - valid[1])
    if crop_rng is not None and any(room):
        y, x = (int(crop_rng.integers(0, side + 1)) for side in room)
    return FitPlan(float(scale), scaled, (y, x), valid, canvas)


def _canvas(scaled, mode, min_dim, max_dim, crops) -> tuple[int, int]:
    """Height and width of the result."""
    if mode == "square":
        return int(max_dim), int(max_dim)
    if mode == "crop" and crops:
        return int(min_dim), int(min_dim)
    height, width = scaled
    if mode == "shortest_edge":
        if crops:
            height = width = max_dim
        return multiple(height, EDGE_MULTIPLE), multiple(width, EDGE_MULTIPLE)
    return multiple(height, PAD_MULTIPLE), multiple(width, PAD_MULTIPLE)


def multiple(side: float, of: int) -> int:
    """Returns the smallest multiple of `of` that is not below `side`."""
    return -(-int(side) // of) * of


_ROUND: dict[str, Callable[[float], int]] = {
    "half_even": round,
    "floor": math.floor,
    "half_up": lambda side: math.floor(side + 0.5),
}


def _fit_scale(height, width, mode, min_dim, max_dim, min_scale):
    if mode not in MODES:
        raise ValueError(
            f"IMAGE_RESIZE_MODE must be one of {', '.join(map(repr, MODES))}, got {mode!r}."
        )
    if mode == "none":
        return 1.0
    if mode == "shortest_edge":
        return min(min_dim / min(height, width), max_dim / max(height, width))
    scale = max(1.0, (min_dim or 0) / min(height, width), min_scale or 0.0)
    if mode == "square" and round(max(height, width) * scale) > max_dim:
        scale = max_dim / max(height, width)
    return scale


def _sides_in_steps(height, width, min_dim, max_dim):
    """Mode `shortest_edge` in the order of Detectron2, since a half can depend on the last bit."""
    scale = min_dim / min(height, width)
    sides = (min_dim, scale * width) if height < width else (scale * height, min_dim)
    if max(sides) > max_dim:
        scale = max_dim / max(sides)
        sides = (sides[0] * scale, sides[1] * scale)
    return sides


def resize(image: np.ndarray, shape: tuple[int, int], interpolation: str = "area") -> np.ndarray:
    """Scales an image; pixel centers lie at whole numbers plus one half.

    Args:
        image: array `[height, width]` or `[height, width, channels]`, uint8, uint16 or float32.
        shape: tuple of int. Height and width of the result.
        interpolation: str. "area": area average on an axis that shrinks, bilinear on one that
            grows. "bilinear": of the four nearest pixels even where it shrinks, as float32
            (torchvision). "triangle": bilinear over a wider triangle where it shrinks, as in
            Pillow, to whole numbers if the image is uint8 (Detectron2). Defaults to "area".

    Returns:
        Array with the same number of axes and, except for "bilinear", the same dtype.
    """
    rows, cols = int(shape[0]), int(shape[1])
    if interpolation == "bilinear":
        return _bilinear(image, rows, cols)
    if interpolation == "triangle":
        return _triangle(image, rows, cols)
    result = image
    small = (min(rows, image.shape[0]), min(cols, image.shape[1]))
    if small != image.shape[:2]:
        size = (small[1], small[0])  # OpenCV wants width first
        result = cv2.resize(_contiguous(result), size, interpolation=cv2.INTER_AREA)
    if (rows, cols) != small:
        result = cv2.resize(_contiguous(result), (cols, rows), interpolation=cv2.INTER_LINEAR)
    return result[..., None] if result.ndim < image.ndim else result


def _bilinear(image, rows, cols):
    """Linear along one axis, then the other; positions in float32, as in PyTorch."""
    result = np.asarray(image, np.float32)
    for axis, size in enumerate((rows, cols)):
        last = result.shape[axis] - 1
        scale = np.float32(result.shape[axis]) / np.float32(size)
        at = np.maximum(scale * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - 0.5, 0)
        low = np.minimum(at.astype(np.int32), last)
        share = (at - low.astype(np.float32)).reshape(
            [-1 if i == axis else 1 for i in range(result.ndim)]
        )
        near, far = (result.take(index, axis) for index in (low, np.minimum(low + 1, last)))
        result = near * (1 - share) + far * share
    return result


def _triangle(image, rows, cols):
    planes = image[..., None] if image.ndim == 2 else image
    if planes.dtype != np.uint8:
        planes = planes.astype(np.float32)
    scaled = [
        np.asarray(Image.fromarray(_contiguous(planes[..., i])).resize((cols, rows), _TRIANGLE))
        for i in range(planes.shape[-1])
    ]
    return np.stack(scaled, axis=-1).reshape(rows, cols, *image.shape[2:]).astype(image.dtype)


def _contiguous(array):
    """Plain memory: OpenCV misreads some views (flipped, transposed)."""
    return np.ascontiguousarray(array)


def apply_plan(
    image: np.ndarray, plan: FitPlan, pad_value: Any, interpolation: str = "area"
) -> FittedImage:
    """Scales, crops and pads an image as planned.

    Args:
        image: array `[height, width, channels]`, uint8 or float32, 0..255.
        plan: FitPlan. Made for the size of this image.
        pad_value: float or sequence of float, one per channel. Fills the padding.
        interpolation: str. See `resize`. Defaults to "area".

    Returns:
        A `FittedImage`.
    """
    return place(resize(image, plan.scaled_shape, interpolation), plan, pad_value)


def place(scaled: np.ndarray, plan: FitPlan, pad_value: Any) -> FittedImage:
    """Crops and pads an image that is scaled already.

    Args:
        scaled: array `[height, width, channels]` of the plan's `scaled_shape`.
        plan: FitPlan. What is kept, and where it goes.
        pad_value: float or sequence of float, one per channel. Fills the padding.

    Returns:
        A `FittedImage`.
    """
    (y, x), (top, left) = plan.offset, plan.origin
    height, width = plan.valid_shape
    canvas = np.empty((*plan.canvas_shape, scaled.shape[2]), np.float32)
    if plan.valid_shape != plan.canvas_shape:
        canvas[:] = pad_value
    canvas[top : top + height, left : left + width] = scaled[y : y + height, x : x + width]
    window = (top, left, top + height, left + width)
    return FittedImage(canvas, plan.scale, window, plan.offset)
