"""All maps of a feature pyramid on one canvas, so that one crop can read from any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import ops


def edge_padded(feature_map: Any) -> Any:
    """Pads a map by repeating its border pixels once.

    Args:
        feature_map: tensor `[batch, height, width, channels]`.

    Returns:
        `[batch, height + 2, width + 2, channels]`.
    """
    rows = ops.concatenate([feature_map[:, :1], feature_map, feature_map[:, -1:]], axis=1)
    return ops.concatenate([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2)


def lay_out(feature_maps: Sequence[Any]) -> tuple[Any, Any]:
    """Lays the padded maps out on one canvas: the first on the left, the others stacked right.

    Args:
        feature_maps: list of tensors `[batch, height, width, channels]`, finest first.

    Returns:
        canvas: `[batch, height, width, channels]`, zeros where there is no map.
        origins: float32 `[levels, 2]`, the (y, x) of each padded map on the canvas, in cells.
    """
    maps = [edge_padded(feature_map) for feature_map in feature_maps]
    sizes = [ops.shape(padded)[1:3] for padded in maps]
    if len(maps) == 1:
        return maps[0], ops.zeros((1, 2))
    height = _larger(sizes[0][0], sum(size[0] for size in sizes[1:]))
    width = sizes[1][1]  # later maps are narrower
    right = ops.concatenate([_grown(padded, None, width) for padded in maps[1:]], axis=1)
    canvas = ops.concatenate([_grown(maps[0], height, None), _grown(right, height, None)], axis=2)
    origins = [(0, 0)]
    top = 0
    for size in sizes[1:]:
        origins.append((top, sizes[0][1]))
        top = top + size[0]
    origins = ops.stack([ops.cast(ops.stack(list(origin)), "float32") for origin in origins])
    return canvas, origins


def _grown(images, height, width):
    """Adds zeros at the bottom and on the right up to the given size; None keeps the size."""
    batch, rows, columns = ops.shape(images)[:3]
    channels = images.shape[3]
    if height is not None and not _same(height, rows):
        zeros = ops.zeros((batch, height - rows, columns, channels), dtype=images.dtype)
        images = ops.concatenate([images, zeros], axis=1)
        rows = height
    if width is not None and not _same(width, columns):
        zeros = ops.zeros((batch, rows, width - columns, channels), dtype=images.dtype)
        images = ops.concatenate([images, zeros], axis=2)
    return images


def _larger(a, b):
    """Returns the larger of two sizes, each an int or, where it is unknown, a tensor."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return ops.maximum(a, b)


def _same(a, b):
    """Returns whether two sizes are known to be equal."""
    return isinstance(a, int) and isinstance(b, int) and a == b
