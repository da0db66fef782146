"""Anchors: the boxes that the region proposal network starts from, [y1, x1, y2, x2] in pixels."""

from __future__ import annotations

import math

from keras import ops


def level_anchors(
    size, ratios, stride, height, width, anchor_stride=1, offset=0.5, whole_sides=False
):
    """Anchors of one pyramid level.

    Args:
        size: side of the square anchor in pixels, or a sequence of sides.
        ratios: height / width of the anchors; each has the area of the square one.
        stride: pixels per cell of the feature map, a number or (y, x), which may be tensors.
        height, width: cells of the feature map, numbers or scalar tensors.
        anchor_stride: cells between anchors.
        offset: share of a stride between the corner of a cell and the centre of its anchors.
        whole_sides: half sides are rounded to whole pixels, ties to even (torchvision).

    Returns:
        [anchors, 4], cells row by row, in each cell by size, then by ratio; not clipped.
    """
    sizes = size if isinstance(size, (list, tuple)) else (size,)
    half_sides = [
        (0.5 * side * math.sqrt(ratio), 0.5 * side / math.sqrt(ratio))
        for side in sizes
        for ratio in ratios
    ]
    if whole_sides:
        half_sides = [(round(h), round(w)) for h, w in half_sides]
    corners = ops.convert_to_tensor([[-h, -w, h, w] for h, w in half_sides], dtype="float32")
    stride_y, stride_x = stride if isinstance(stride, tuple) else (stride, stride)
    y = _centres(height, stride_y, anchor_stride, offset)
    x = _centres(width, stride_x, anchor_stride, offset)
    y, x = ops.meshgrid(y, x, indexing="ij")
    centres = ops.stack([y, x, y, x], axis=-1)  # [rows, columns, 4]
    return ops.reshape(centres[:, :, None] + corners, (-1, 4))


def pyramid_anchors(sizes, ratios, strides, shapes, anchor_stride=1, offset=0.5, whole_sides=False):
    """Anchors of all levels, concatenated in the order given.

    Args:
        sizes: one entry a level: a side in pixels, or a sequence of sides.
        ratios: height / width, the same on every level.
        strides: pixels per cell, one entry a level.
        shapes: (height, width) of each level's map in cells.
        anchor_stride, offset, whole_sides: see `level_anchors`.

    Returns:
        [anchors, 4].

    Raises:
        ValueError: sizes, strides and shapes differ in number.
    """
    if not len(sizes) == len(strides) == len(shapes):
        raise ValueError(
            "sizes, strides and shapes need one entry for each pyramid level, but hold "
            f"{len(sizes)}, {len(strides)} and {len(shapes)}; give all three the same length"
        )
    levels = [
        level_anchors(size, ratios, stride, height, width, anchor_stride, offset, whole_sides)
        for size, stride, (height, width) in zip(sizes, strides, shapes, strict=True)
    ]
    return ops.concatenate(levels, axis=0)


def _centres(cells, stride, anchor_stride, offset):
    steps = ops.cast(ops.arange(0, cells, anchor_stride, dtype="int32"), "float32")
    return (steps + offset) * ops.cast(stride, "float32")
