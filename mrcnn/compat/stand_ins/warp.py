"""Moves the pixels of an image and of its masks by the same map of source coordinates."""

from __future__ import annotations

import cv2
import numpy as np

# OpenCV's borders by the names that imgaug takes (those of np.pad and of scikit-image).
BORDERS = {
    "constant": cv2.BORDER_CONSTANT,
    "edge": cv2.BORDER_REPLICATE,
    "nearest": cv2.BORDER_REPLICATE,
    "symmetric": cv2.BORDER_REFLECT,
    "reflect": cv2.BORDER_REFLECT_101,
    "wrap": cv2.BORDER_WRAP,
}
_ORDERS = {0: cv2.INTER_NEAREST, 1: cv2.INTER_LINEAR, 3: cv2.INTER_CUBIC}
_CHANNELS = 4  # per call: with more, OpenCV returns wrong values or fails


def warp(
    array: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
    *,
    masks: bool,
    order: int = 1,
    mode: str = "constant",
    cval: float = 0,
) -> np.ndarray:
    """Samples an array at the given coordinates.

    Args:
        array: array `[height, width, channels]`.
        xs: float array `[height, width]`. For each pixel of the result, the column that it comes
            from; whole numbers are pixel centers.
        ys: float array `[height, width]`. The same for the row.
        masks: bool. If True, the nearest value is taken, and 0 outside in mode `"constant"`, so
            that no new values appear.
        order: int. For images: 0 nearest, 1 linear, 3 cubic. Defaults to 1.
        mode: str. A key of `BORDERS`: what lies outside. Defaults to `"constant"`.
        cval: float. Value outside of images in mode `"constant"`. Defaults to 0.

    Returns:
        Array of the same shape and dtype.

    Raises:
        ValueError: an order or mode that does not exist.
    """
    if mode not in BORDERS:
        raise ValueError(f"imgaug: mode must be one of {', '.join(BORDERS)}, got {mode!r}.")
    if order not in _ORDERS:
        raise ValueError(f"imgaug: order must be 0, 1 or 3, got {order!r}.")
    if masks:
        return _gather(array, xs, ys, mode)
    plain = array.dtype in (np.uint8, np.uint16, np.int16, np.float32, np.float64)
    values = array if plain else array.astype(np.float32)
    maps = xs.astype(np.float32), ys.astype(np.float32)
    parts = [
        cv2.remap(
            np.ascontiguousarray(values[..., start : start + _CHANNELS]),
            *maps,
            interpolation=_ORDERS[order],
            borderMode=BORDERS[mode],
            borderValue=(float(cval),) * 4,
        ).reshape(*xs.shape, -1)
        for start in range(0, values.shape[-1], _CHANNELS)
    ]
    return like(np.concatenate(parts, axis=-1), array.dtype) if parts else array


def _gather(array, xs, ys, mode):
    height, width = array.shape[:2]
    columns, rows = np.rint(xs).astype(int), np.rint(ys).astype(int)
    outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
    moved = array[_inside(rows, height, mode), _inside(columns, width, mode)]
    if mode == "constant":
        moved[outside] = 0
    return moved


def _inside(index, size, mode):
    """Replaces each index outside by the one that a border of this mode shows."""
    if mode == "wrap":
        return index % size
    if mode == "symmetric":
        index = index % (2 * size)
        return np.minimum(index, 2 * size - 1 - index)
    if mode == "reflect" and size > 1:
        index = index % (2 * size - 2)
        return np.minimum(index, 2 * size - 2 - index)
    return np.clip(index, 0, size - 1)


def like(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Returns values in a dtype: rounded and clipped to its range if it holds whole numbers."""
    if values.dtype == dtype:
        return values
    if np.issubdtype(dtype, np.bool_):
        return values > 0.5
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)
