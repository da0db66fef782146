"""The operations for which a backend has its own kernel. The one file that knows backends.

Each has a generic version in `keras.ops`; both give the same values.
"""

from __future__ import annotations

import keras
from keras import ops

from mrcnn.ops import boxes as box_ops

# A score at or below this marks an entry that NMS never selects.
NEVER = -1e30


def crop_and_resize(images, boxes, box_indices, crop_size):
    """Samples a regular grid from each box, bilinearly: `tf.image.crop_and_resize`.

    The first and the last sample lie on the bounds of the box: sample i of n lies at
    y1 * (H - 1) + i * ((y2 - y1) * (H - 1) / (n - 1)); a single sample lies in the middle.

    Args:
        images: [batch, height, width, channels].
        boxes: [n, 4], (y1, x1, y2, x2) with 0 and 1 the centres of the first and last pixel.
        box_indices: int32 [n], the image of each box.
        crop_size: (rows, columns).

    Returns:
        [n, rows, columns, channels] float32; samples outside the image are 0, all of a box that is
        not finite too. Gradients reach `images`, not `boxes`.
    """
    images = ops.cast(images, "float32")
    finite = ops.all(ops.isfinite(boxes), axis=-1, keepdims=True)
    boxes = ops.stop_gradient(ops.where(finite, boxes, -2.0))
    if keras.backend.backend() == "tensorflow" and not _inside_xla():
        import tensorflow as tf

        return tf.image.crop_and_resize(images, boxes, box_indices, crop_size)
    return generic_crop_and_resize(images, boxes, box_indices, crop_size)


def _inside_xla():
    """Whether TensorFlow traces for XLA, which has no kernel for crop_and_resize."""
    import tensorflow as tf

    return tf.__internal__.get_enclosing_xla_context() is not None


def generic_crop_and_resize(images, boxes, box_indices, crop_size):
    """`crop_and_resize` in `keras.ops`: four gathers of [n, rows, columns, channels]."""
    batch, height, width = ops.shape(images)[:3]
    channels = images.shape[3]
    rows, columns = crop_size
    y0, y1, y_share, y_inside = _taps(boxes[:, 0], boxes[:, 2], height, rows)
    x0, x1, x_share, x_inside = _taps(boxes[:, 1], boxes[:, 3], width, columns)
    flat = ops.reshape(images, (batch * height * width, channels))
    first = ops.cast(box_indices, "int32")[:, None, None] * (height * width)

    def pixels(y, x):
        return ops.take(flat, first + y[:, :, None] * width + x[:, None, :], axis=0)

    x_share = x_share[:, None, :, None]
    y_share = y_share[:, :, None, None]
    top = pixels(y0, x0) * (1 - x_share) + pixels(y0, x1) * x_share
    bottom = pixels(y1, x0) * (1 - x_share) + pixels(y1, x1) * x_share
    inside = ops.logical_and(y_inside[:, :, None, None], x_inside[:, None, :, None])
    return ops.where(inside, top * (1 - y_share) + bottom * y_share, 0.0)


def _taps(low, high, size, count):
    """The two neighbours of each sample along one axis, [n, count] each.

    Returns:
        Lower and upper pixel (int32, inside the image), share of the upper, and whether the sample
        is inside.
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


def repeat(times, body, state, at_most=None):
    """The state after so many applications of a function.

    Args:
        times: int32 scalar tensor.
        body: function (step, state) -> state, of the same shape.
        state: tensor.
        at_most: bound of `times`; None: none. Without one there is no gradient on JAX.
    """
    if keras.backend.backend() == "jax" and at_most is not None:
        return ops.fori_loop(
            0, at_most, lambda i, s: ops.cond(i < times, lambda: body(i, s), lambda: s), state
        )
    return ops.while_loop(
        lambda step, _: step < times,
        lambda step, state: (step + 1, body(step, state)),
        (ops.zeros((), dtype="int32"), state),
    )[1]


def non_max_suppression(boxes, scores, max_output, iou_threshold):
    """Greedy non-maximum suppression of each image's boxes.

    From the best score down, a box is kept unless a kept one overlaps it by IoU > `iou_threshold`
    (strictly more). Of equal scores the earlier one comes first.

    Args:
        boxes: [batch, n, 4].
        scores: [batch, n]; entries at or below -1e30 (`NEVER`), or NaN, are never selected.
        max_output: rows of the result.
        iou_threshold: 0..1.

    Returns:
        `indices`, int32 [batch, max_output], best score first, 0 behind the last; `valid`, bool
        [batch, max_output]. No gradient.
    """
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    if boxes.shape[1] == 0:
        shape = (ops.shape(boxes)[0], max_output)
        return ops.zeros(shape, dtype="int32"), ops.zeros(shape, dtype="bool")
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_nms(boxes, scores, max_output, iou_threshold)
    return generic_non_max_suppression(boxes, scores, max_output, iou_threshold)


def _tensorflow_nms(boxes, scores, max_output, iou_threshold):
    import tensorflow as tf

    known = boxes.shape[1]
    rows = max_output if known is None else min(known, max_output)  # XLA takes no more than boxes

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

    scores = tf.where(scores > NEVER, scores, -float("inf"))  # NaN too
    indices, count = tf.map_fn(
        one_image,
        (boxes, scores),
        fn_output_signature=(tf.TensorSpec((rows,), tf.int32), tf.TensorSpec((), tf.int32)),
    )
    indices = tf.pad(indices, ((0, 0), (0, max_output - rows)))
    valid = tf.range(max_output) < count[:, None]
    return tf.where(valid, indices, 0), valid


def generic_non_max_suppression(boxes, scores, max_output, iou_threshold):
    """`non_max_suppression` in `keras.ops`; holds a bool [batch, n, n] matrix.

    A box is kept if no better kept box suppresses it. Starting from "all are kept", this rule is
    applied until nothing changes: after k rounds the k best boxes are right, and mostly all are
    right after a few.
    """
    n = boxes.shape[1]
    usable = scores > NEVER
    order = ops.argsort(ops.where(usable, -scores, float("inf")), axis=1)
    boxes = ops.take_along_axis(boxes, order[..., None], axis=1)
    usable = ops.take_along_axis(usable, order, axis=1)
    later = ops.arange(n)[:, None] < ops.arange(n)[None, :]
    suppresses = ops.logical_and(box_ops.iou(boxes, boxes) > iou_threshold, later)

    def unchanged(keep, changed):
        return changed

    def refine(keep, changed):
        hit = ops.any(ops.logical_and(keep[:, :, None], suppresses), axis=1)
        refined = ops.logical_and(usable, ops.logical_not(hit))
        return refined, ops.any(refined != keep)

    keep, _ = ops.while_loop(unchanged, refine, (usable, ops.convert_to_tensor(True)))
    rank = ops.where(keep, ops.arange(n, 0, -1, dtype="int32"), 0)
    if n < max_output:
        rank = ops.pad(rank, ((0, 0), (0, max_output - n)))
        order = ops.pad(order, ((0, 0), (0, max_output - n)))
    rank, chosen = ops.top_k(rank, max_output)
    valid = rank > 0
    indices = ops.cast(ops.take_along_axis(order, chosen, axis=1), "int32")
    return ops.where(valid, indices, 0), valid
