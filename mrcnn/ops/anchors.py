"""Anchors: the boxes that the region proposal network starts from, `[y1, x1, y2, x2]` in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops


def level_anchors(
    size: float,
    ratios: Sequence[float],
    stride: Any,
    height: Any,
    width: Any,
    anchor_stride: int = 1,
    offset: float = 0.5,
    whole_sides: bool = False,
) -> Any:
    """Returns the anchors of one pyramid level.

    Args:
        size: float. Side of the square anchor in pixels.
        ratios: sequence of floats. Height / width of the anchors of one cell. Each has the area
            of the square anchor.
        stride: number or scalar tensor, or a (y, x) tuple of these. Pixels per cell of the
            feature map.
        height: int or int32 scalar tensor. Rows of the feature map.
        width: int or int32 scalar tensor. Columns of the feature map.
        anchor_stride: int. Cells from one anchor to the next. Defaults to 1.
        offset: float in 0..1. Distance from the corner of a cell to the center of its anchors, as
            a fraction of the stride. Defaults to 0.5.
        whole_sides: bool. Whether half sides are rounded to whole pixels, ties to even, as
            torchvision does. Defaults to False.

    Returns:
        float32 `[num_anchors, 4]`, not clipped to the image. Cells come row by row; within a cell,
        anchors are in the order of `ratios`.
    """
    half_sides = [(0.5 * size * math.sqrt(r), 0.5 * size / math.sqrt(r)) for r in ratios]
    if whole_sides:
        half_sides = [(round(h), round(w)) for h, w in half_sides]
    corners = ops.convert_to_tensor([[-h, -w, h, w] for h, w in half_sides], dtype="float32")
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    y = _centers(height, stride_y, anchor_stride, offset)
    x = _centers(width, stride_x, anchor_stride, offset)
    y, x = ops.meshgrid(y, x, indexing="ij")
    centers = ops.stack([y, x, y, x], axis=-1)  # [rows, columns, 4]
    anchors = centers[:, :, None] + corners  # [rows, columns, num_ratios, 4]
    return ops.reshape(anchors, (-1, 4))


def pyramid_anchors(
    sizes: Sequence[float],
    ratios: Sequence[float],
    strides: Sequence[Any],
    shapes: Sequence[tuple[Any, Any]],
    anchor_stride: int = 1,
    offset: float = 0.5,
    whole_sides: bool = False,
) -> Any:
    """Returns the anchors of all pyramid levels, concatenated in the given order.

    Args:
        sizes: sequence of floats. Side of the square anchor in pixels, one per level.
        ratios: sequence of floats. Height / width of the anchors, the same on every level.
        strides: sequence of numbers, scalar tensors or (y, x) tuples. Pixels per cell, one per
            level.
        shapes: sequence of (height, width). Cells of each level's feature map.
        anchor_stride: int. See `level_anchors`. Defaults to 1.
        offset: float. See `level_anchors`. Defaults to 0.5.
        whole_sides: bool. See `level_anchors`. Defaults to False.

    Returns:
        float32 `[num_anchors, 4]`.

    Raises:
        ValueError: if `sizes`, `strides` and `shapes` have different lengths.
    """
    if not len(sizes) == len(strides) == len(shapes):
        raise ValueError(
            "sizes, strides and shapes need one entry per pyramid level, but hold "
            f"{len(sizes)}, {len(strides)} and {len(shapes)}. Give all three the same length."
        )
    levels = [
        level_anchors(
            size,
            ratios,
            stride,
            height,
            width,
            anchor_stride=anchor_stride,
            offset=offset,
            whole_sides=whole_sides,
        )
        for size, stride, (height, width) in zip(sizes, strides, shapes, strict=True)
    ]
    return ops.concatenate(levels, axis=0)


def _centers(cells, stride, anchor_stride, offset):
    """Returns the anchor centers along one axis, in pixels: `[cells / anchor_stride]`."""
    steps = ops.cast(ops.arange(0, cells, anchor_stride, dtype="int32"), "float32")
    return (steps + offset) * ops.cast(stride, "float32")
