"""Matterport's functions of boxes and batches as tensors, with their signatures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras import ops

from mrcnn.ops import boxes as box_ops

_ONES = (1.0, 1.0, 1.0, 1.0)  # deltas are not divided by a standard deviation here


def apply_box_deltas_graph(boxes: Any, deltas: Any) -> Any:
    """Moves and scales boxes by deltas.

    Args:
        boxes: tensor `[n, 4]`.
        deltas: tensor `[n, 4]`.

    Returns:
        Tensor `[n, 4]`.
    """
    return box_ops.decode(boxes, deltas, _ONES)


def box_refinement_graph(box: Any, gt_box: Any) -> Any:
    """Computes the deltas that move boxes onto other boxes.

    Args:
        box: tensor `[n, 4]`.
        gt_box: tensor `[n, 4]`.

    Returns:
        float32 tensor `[n, 4]`.
    """
    return box_ops.encode(ops.cast(box, "float32"), ops.cast(gt_box, "float32"), _ONES)


def clip_boxes_graph(boxes: Any, window: Any) -> Any:
    """Clips boxes to a window.

    Args:
        boxes: tensor `[n, 4]`.
        window: tensor `[4]`, y1, x1, y2, x2.

    Returns:
        Tensor `[n, 4]`.
    """
    low, high = (ops.concatenate([half, half]) for half in (window[:2], window[2:]))
    return ops.minimum(ops.maximum(boxes, low), high)


def overlaps_graph(boxes1: Any, boxes2: Any) -> Any:
    """Computes the IoU of every pair of boxes.

    Args:
        boxes1: tensor `[n, 4]`.
        boxes2: tensor `[m, 4]`.

    Returns:
        Tensor `[n, m]`.
    """
    return box_ops.iou(ops.convert_to_tensor(boxes1)[None], ops.convert_to_tensor(boxes2)[None])[0]


def norm_boxes_graph(boxes: Any, shape: Any) -> Any:
    """Normalizes boxes.

    Args:
        boxes: tensor `[..., 4]` in pixels.
        shape: (height, width) of the image.

    Returns:
        float32 tensor `[..., 4]`.
    """
    shape = ops.cast(shape, "float32")
    return box_ops.normalize(ops.cast(boxes, "float32"), shape[0], shape[1])


def denorm_boxes_graph(boxes: Any, shape: Any) -> Any:
    """Converts normalized boxes to pixels, rounding half to even.

    Args:
        boxes: tensor `[..., 4]`, normalized.
        shape: (height, width) of the image.

    Returns:
        int32 tensor `[..., 4]`.
    """
    scale = ops.cast(shape, "float32") - 1.0
    pixels = boxes * ops.concatenate([scale, scale]) + ops.array([0.0, 0.0, 1.0, 1.0])
    return ops.cast(ops.round(pixels), "int32")


def trim_zeros_graph(boxes: Any, name: str = "trim_zeros") -> tuple:
    """Removes boxes that are all zeros.

    Args:
        boxes: tensor `[n, 4]`.
        name: str. Not used. Defaults to "trim_zeros".

    Returns:
        The other boxes `[k, 4]`, and a bool tensor `[n]` that is True for these.
    """
    real = ops.any(ops.convert_to_tensor(boxes) != 0, axis=1)
    return ops.take(boxes, ops.nonzero(real)[0], axis=0), real


def batch_pack_graph(x: Any, counts: Any, num_rows: int) -> Any:
    """Joins the first rows of each item of a batch.

    Args:
        x: tensor `[batch, rows, ...]`.
        counts: int tensor `[batch]`. Number of rows per item.
        num_rows: int. Number of items that are read, from the first.

    Returns:
        Tensor `[sum(counts), ...]`.
    """
    return ops.concatenate([x[i, : counts[i]] for i in range(num_rows)], axis=0)


def batch_slice(inputs: Any, graph_fn: Callable, batch_size: int, names: Any = None) -> Any:
    """Applies a function to each image of a batch and stacks what it returns.

    Args:
        inputs: tensor `[batch, ...]`, or a list of such tensors.
        graph_fn: callable. Function of the slices of one image that returns a tensor or several.
        batch_size: int. Number of images.
        names: not used. Defaults to None.

    Returns:
        The stacked tensor, or a list of these if the function returns several.
    """
    inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    outputs = [graph_fn(*(x[i] for x in inputs)) for i in range(batch_size)]
    outputs = [out if isinstance(out, (list, tuple)) else [out] for out in outputs]
    stacked = [ops.stack(list(column), axis=0) for column in zip(*outputs, strict=True)]
    return stacked[0] if len(stacked) == 1 else stacked


def log2_graph(x: Any) -> Any:
    """Computes the logarithm to base 2.

    Args:
        x: tensor.

    Returns:
        Tensor of the same shape.
    """
    return ops.log(x) / math.log(2.0)
