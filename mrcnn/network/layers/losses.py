"""The five losses: L = L_rpn_class + L_rpn_box + L_class + L_box + L_mask (He et al. 2017, 3).

Pure functions of arrays, float32 scalars. Padding rows never count, and a batch without the objects
that a loss speaks of gives 0, never NaN.
"""

from __future__ import annotations

from keras import ops


def rpn_class_loss(logits, positive, negative):
    """Binary cross-entropy of the sampled anchors, mean over them (Ren et al. 2015, equation 1).

    Args:
        logits: [batch, anchors].
        positive, negative: bool [batch, anchors], the sample.
    """
    target = ops.cast(positive, "float32")
    sampled = ops.cast(ops.logical_or(positive, negative), "float32")
    return _mean(sigmoid_cross_entropy(target, logits), sampled)


def rpn_box_loss(target, deltas, positive, negative, beta, over_positives=False):
    """Smooth L1 over the positive anchors, divided by all sampled ones.

    Args:
        target, deltas: [batch, anchors, 4].
        positive, negative: bool [batch, anchors], the sample.
        beta: see `smooth_l1`.
        over_positives: the mean over the numbers of the positives instead (Matterport).
    """
    counted = positive if over_positives else ops.logical_or(positive, negative)
    return _box_error(target, deltas, beta, positive, counted, over_positives)


def class_loss(class_ids, logits, valid, active=None, all_rows=False):
    """Softmax cross-entropy of the sampled RoIs, mean over them.

    Args:
        class_ids: int32 [batch, rois], 0 background.
        logits: [batch, rois, classes].
        valid: bool [batch, rois], False in padding rows.
        active: [batch, classes], 0 for classes that an image's source does not know: a RoI that is
            taken for one of these does not count (Matterport). None: all are known.
        all_rows: padding rows count, as background (Matterport).
    """
    counted = ops.cast(ops.ones_like(valid) if all_rows else valid, "float32")
    if active is not None:
        taken_for = ops.argmax(logits, axis=-1)
        counted = counted * ops.take_along_axis(ops.cast(active, "float32"), taken_for, axis=1)
    log_probability = ops.log_softmax(logits, axis=-1)
    chosen = ops.take_along_axis(log_probability, class_ids[..., None], axis=-1)[..., 0]
    return _mean(-chosen, counted)


def box_loss(target, class_ids, deltas, valid, beta, over_positives=False):
    """Smooth L1 of the true class's deltas over the positives, divided by all sampled RoIs.

    Args:
        target: [batch, rois, 4].
        class_ids: int32 [batch, rois], 0 background.
        deltas: [batch, rois, classes, 4].
        valid: bool [batch, rois], False in padding rows.
        beta: see `smooth_l1`.
        over_positives: the mean over the numbers of the positives instead (Matterport).
    """
    chosen = ops.take_along_axis(deltas, class_ids[..., None, None], axis=2)[:, :, 0]
    counted = class_ids > 0 if over_positives else valid
    return _box_error(target, chosen, beta, class_ids > 0, counted, over_positives)


def _box_error(target, deltas, beta, positive, counted, each_number):
    """Smooth L1 of the positives [..., 4] over the number of rows counted, or of their numbers."""
    error = ops.where(positive, ops.sum(smooth_l1(target, deltas, beta), axis=-1), 0.0)
    count = ops.sum(ops.cast(counted, "float32")) * (4.0 if each_number else 1.0)
    return ops.sum(error) / ops.maximum(count, 1.0)


def mask_loss(target, class_ids, masks, probabilities=False):
    """Binary cross-entropy of the true class's mask, mean over the pixels of the positives.

    The other classes' masks get no gradient: the class is the box head's business (section 3).

    Args:
        target: [batch, rois, height, width], 0..1.
        class_ids: int32 [batch, rois], 0: not a positive, ignored.
        masks: [batch, rois, height, width, classes], logits.
        probabilities: `masks` are probabilities.
    """
    one_hot = ops.one_hot(class_ids, masks.shape[-1], dtype="float32")
    chosen = ops.sum(masks * one_hot[:, :, None, None, :], axis=-1)
    entropy = cross_entropy if probabilities else sigmoid_cross_entropy
    error = ops.mean(entropy(target, chosen), axis=(2, 3))
    return _mean(error, ops.cast(class_ids > 0, "float32"))


def smooth_l1(target, prediction, beta):
    """Elementwise: 0.5 d^2 / beta where d < beta, else d - 0.5 beta (Girshick 2015, equation 3).

    With beta 0 it is the distance.
    """
    distance = ops.abs(target - prediction)
    if beta == 0:
        return distance
    return ops.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)


def sigmoid_cross_entropy(target, logits):
    """Elementwise -t log s(x) - (1 - t) log(1 - s(x)), as max(x, 0) - x t + log(1 + e^-|x|)."""
    return ops.relu(logits) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))


def cross_entropy(target, probability):
    """Elementwise -t log p - (1 - t) log(1 - p), p kept 1e-7 off 0 and 1 (as in Keras)."""
    probability = ops.clip(probability, 1e-7, 1 - 1e-7)
    return -target * ops.log(probability) - (1 - target) * ops.log(1 - probability)


def _mean(values, weights):
    """Weighted mean, 0 where nothing has weight."""
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)
