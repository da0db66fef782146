"""Operations for which some backend has its own kernel: the only file of `ops` that knows backends.

Each one also has a generic version in `keras.ops`. Both return the same values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from mrcnn.ops import boxes as box_ops

# NMS never selects an entry whose score is at or below this value.
NEVER = -1e30


def crop_and_resize(images: Any, boxes: Any, box_indices: Any, crop_size: tuple[int, int]) -> Any:
    """Samples a regular grid from each box, bilinearly, as `tf.image.crop_and_resize` does.

    The first and the last sample lie on the bounds of the box: sample i of n lies at
    y1 * (H - 1) + i * ((y2 - y1) * (H - 1) / (n - 1)). A single sample lies in the middle.

    Args:
        images: tensor `[batch, height, width, channels]`.
        boxes: tensor `[n, 4]`, (y1, x1, y2, x2), where 0 and 1 are the centers of the first and the
            last pixel.
        box_indices: int32 tensor `[n]`. Index of each box's image in the batch.
        crop_size: tuple of two ints, (rows, columns).

    Returns:
        float32 `[n, rows, columns, channels]`. Samples outside the image are 0, and so are all
        samples of a box with a NaN or infinite coordinate. Gradients flow to `images`, not to
        `boxes`.
    """
    images = ops.cast(images, "float32")
    # Boxes that are not finite are moved to -2, outside the image, where every sample is 0.
    finite = ops.all(ops.isfinite(boxes), axis=-1, keepdims=True)
    boxes = ops.stop_gradient(ops.where(finite, boxes, -2.0))
    if keras.backend.backend() == "tensorflow" and not _inside_xla():
        import tensorflow as tf

        return tf.image.crop_and_resize(images, boxes, box_indices, crop_size)
    return generic_crop_and_resize(images, boxes, box_indices, crop_size)


def _inside_xla():
    """Returns whether TensorFlow traces for XLA, which has no kernel for crop_and_resize."""
    import tensorflow as tf

    return tf.__internal__.get_enclosing_xla_context() is not None


def generic_crop_and_resize(
    images: Any, boxes: Any, box_indices: Any, crop_size: tuple[int, int]
) -> Any:
    """Computes `crop_and_resize` in `keras.ops`, with four gathers of the size of the result.

    Args:
        images: tensor `[batch, height, width, channels]`, float32.
        boxes: tensor `[n, 4]`. See `crop_and_resize`; all values finite.
        box_indices: int32 tensor `[n]`.
        crop_size: tuple of two ints, (rows, columns).

    Returns:
        float32 `[n, rows, columns, channels]`.
    """
    batch, height, width = ops.shape(images)[:3]
    channels = images.shape[3]
    rows, columns = crop_size
    y0, y1, y_weight, y_inside = _neighbors(boxes[:, 0], boxes[:, 2], height, rows)
    x0, x1, x_weight, x_inside = _neighbors(boxes[:, 1], boxes[:, 3], width, columns)
    # One row per pixel of the batch, so that a sample is a single index.
    flat = ops.reshape(images, (batch * height * width, channels))
    first = ops.cast(box_indices, "int32")[:, None, None] * (height * width)

    def pixels(y, x):
        return ops.take(flat, first + y[:, :, None] * width + x[:, None, :], axis=0)

    x_weight = x_weight[:, None, :, None]  # [n, 1, columns, 1]
    y_weight = y_weight[:, :, None, None]  # [n, rows, 1, 1]
    top = pixels(y0, x0) * (1 - x_weight) + pixels(y0, x1) * x_weight
    bottom = pixels(y1, x0) * (1 - x_weight) + pixels(y1, x1) * x_weight
    inside = ops.logical_and(y_inside[:, :, None, None], x_inside[:, None, :, None])
    return ops.where(inside, top * (1 - y_weight) + bottom * y_weight, 0.0)


def _neighbors(low, high, size, count):
    """Returns the two pixels next to each sample along one axis.

    Args:
        low: tensor `[n]`. Lower bounds of the boxes.
        high: tensor `[n]`. Upper bounds.
        size: int or scalar tensor. Pixels along the axis.
        count: int. Samples along the axis.

    Returns:
        Four tensors `[n, count]`: lower and upper pixel (int32, inside the image), weight of the
        upper one, and whether the sample lies inside the image.
    """
    last = ops.cast(size - 1, "float32")
    if count > 1:
        step = (high - low) * last / (count - 1)
        at = (low * last)[:, None] + ops.arange(count, dtype="float32") * step[:, None]
    else:
        at = (0.5 * (low + high) * last)[:, None]
    inside = ops.logical_and(at >= 0, at <= last)
    at = ops.minimum(ops.maximum(at, 0.0), last)
    lower = ops.floor(at)
    upper = ops.minimum(lower + 1, last)
    return ops.cast(lower, "int32"), ops.cast(upper, "int32"), at - lower, inside


def repeat(
    times: Any, body: Callable[[Any, Any], Any], state: Any, at_most: int | None = None
) -> Any:
    """Applies a function to a state a number of times that is known only at run time.

    Args:
        times: int32 scalar tensor. How often `body` is applied.
        body: callable (step, state) -> state. The new state has the shape of the old one.
        state: tensor. The initial state.
        at_most: int or None. Upper bound of `times`. Required for gradients on JAX. Defaults to
            None.

    Returns:
        The last state.
    """
    # JAX has no gradient of a while loop, but has one of a loop of fixed length.
    if keras.backend.backend() == "jax" and at_most is not None:
        return ops.fori_loop(
            0, at_most, lambda i, s: ops.cond(i < times, lambda: body(i, s), lambda: s), state
        )
    return ops.while_loop(
        lambda step, _: step < times,
        lambda step, state: (step + 1, body(step, state)),
        (ops.zeros((), dtype="int32"), state),
    )[1]


def non_max_suppression(
    boxes: Any, scores: Any, max_output: int, iou_threshold: float
) -> tuple[Any, Any]:
    """Applies greedy non-maximum suppression to the boxes of each image.

    From the best score down, a box is kept unless its IoU with a kept box is strictly greater than
    `iou_threshold`. Among equal scores the earlier box comes first.

    Args:
        boxes: tensor `[batch, n, 4]`.
        scores: tensor `[batch, n]`. Entries that are NaN, or at or below -1e30 (`NEVER`), are never
            selected.
        max_output: int. Number of rows of the result.
        iou_threshold: float in 0..1.

    Returns:
        indices: int32 `[batch, max_output]`, best score first, then zeros.
        valid: bool `[batch, max_output]`, which rows of `indices` are selected boxes.
        There is no gradient.
    """
    boxes = ops.stop_gradient(boxes)
    scores = ops.stop_gradient(scores)
    if boxes.shape[1] == 0:
        shape = (ops.shape(boxes)[0], max_output)
        return ops.zeros(shape, dtype="int32"), ops.zeros(shape, dtype="bool")
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_nms(boxes, scores, max_output, iou_threshold)
    return generic_non_max_suppression(boxes, scores, max_output, iou_threshold)


def _tensorflow_nms(boxes, scores, max_output, iou_threshold):
    import tensorflow as tf

    # XLA accepts no more rows than there are boxes; the missing rows are padded below.
    known = boxes.shape[1]
    rows = max_output if known is None else min(known, max_output)

    def one_image(inputs):
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=inputs[0],
            scores=inputs[1],
            max_output_size=rows,
            iou_threshold=float(iou_threshold),
            score_threshold=NEVER,
            pad_to_max_output_size=True,
        )
        return indices, count

    scores = tf.where(scores > NEVER, scores, -float("inf"))  # NaN becomes -inf too
    indices, count = tf.map_fn(
        one_image,
        (boxes, scores),
        fn_output_signature=(tf.TensorSpec((rows,), tf.int32), tf.TensorSpec((), tf.int32)),
    )
    indices = tf.pad(indices, ((0, 0), (0, max_output - rows)))
    valid = tf.range(max_output) < count[:, None]
    return tf.where(valid, indices, 0), valid


def generic_non_max_suppression(
    boxes: Any, scores: Any, max_output: int, iou_threshold: float
) -> tuple[Any, Any]:
    """Computes `non_max_suppression` in `keras.ops`, with a bool `[batch, n, n]` matrix.

    A box is kept if no better kept box suppresses it. Starting with all boxes kept, this rule is
    applied until nothing changes. After k rounds the k best boxes are correct; usually all of them
    are correct after a few rounds.

    Args:
        boxes: tensor `[batch, n, 4]`.
        scores: tensor `[batch, n]`.
        max_output: int.
        iou_threshold: float in 0..1.

    Returns:
        `indices` and `valid`, as `non_max_suppression`.
    """
    n = boxes.shape[1]
    # From here to the end, boxes are sorted by descending score, unusable ones last.
    usable = scores > NEVER
    order = ops.argsort(ops.where(usable, -scores, float("inf")), axis=1)
    boxes = ops.take_along_axis(boxes, order[..., None], axis=1)
    usable = ops.take_along_axis(usable, order, axis=1)
    later = ops.arange(n)[:, None] < ops.arange(n)[None, :]
    suppresses = ops.logical_and(box_ops.iou(boxes, boxes) > iou_threshold, later)

    def has_changed(keep, changed):
        return changed

    def refine(keep, changed):
        suppressed = ops.any(ops.logical_and(keep[:, :, None], suppresses), axis=1)
        refined = ops.logical_and(usable, ops.logical_not(suppressed))
        return refined, ops.any(refined != keep)

    keep, _ = ops.while_loop(has_changed, refine, (usable, ops.convert_to_tensor(True)))
    # Kept boxes are ranked n, n - 1, ... and the others 0, so that top_k lists the kept ones first.
    rank = ops.where(keep, ops.arange(n, 0, -1, dtype="int32"), 0)
    if n < max_output:
        rank = ops.pad(rank, ((0, 0), (0, max_output - n)))
        order = ops.pad(order, ((0, 0), (0, max_output - n)))
    rank, chosen = ops.top_k(rank, max_output)
    valid = rank > 0
    indices = ops.cast(ops.take_along_axis(order, chosen, axis=1), "int32")
    return ops.where(valid, indices, 0), valid
