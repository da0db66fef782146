"""The five losses: L = L_rpn_class + L_rpn_box + L_class + L_box + L_mask (He et al. 2017, 3).

Pure functions of tensors that return float32 scalars. Padding rows never count, and a batch without
the instances that a loss is about gives 0, never NaN.
"""

from __future__ import annotations

from typing import Any

from keras import ops


def rpn_class_loss(logits: Any, positive: Any, negative: Any) -> Any:
    """Computes the binary cross-entropy of the sampled anchors (Ren et al. 2015, equation 1).

    Args:
        logits: tensor `[batch, anchors]`.
        positive: bool tensor `[batch, anchors]`. The sampled positives.
        negative: bool tensor `[batch, anchors]`. The sampled negatives.

    Returns:
        The mean over the sampled anchors.
    """
    target = ops.cast(positive, "float32")
    sampled = ops.cast(ops.logical_or(positive, negative), "float32")
    return _mean(sigmoid_cross_entropy(target, logits), sampled)


def rpn_box_loss(
    target: Any,
    deltas: Any,
    positive: Any,
    negative: Any,
    beta: float,
    over_positives: bool = False,
) -> Any:
    """Computes smooth L1 over the positive anchors, divided by the number of sampled ones.

    Args:
        target: tensor `[batch, anchors, 4]`. The deltas to reach.
        deltas: tensor `[batch, anchors, 4]`.
        positive: bool tensor `[batch, anchors]`. The sampled positives.
        negative: bool tensor `[batch, anchors]`. The sampled negatives.
        beta: float. See `smooth_l1`.
        over_positives: bool. Whether the result is the mean over the numbers of the positives
            instead (Matterport). Defaults to False.

    Returns:
        A scalar.
    """
    counted = positive if over_positives else ops.logical_or(positive, negative)
    return _box_error(target, deltas, beta, positive, counted, over_positives)


def class_loss(
    class_ids: Any, logits: Any, valid: Any, active: Any = None, all_rows: bool = False
) -> Any:
    """Computes the softmax cross-entropy of the sampled RoIs.

    Args:
        class_ids: int32 tensor `[batch, rois]`. 0 is the background.
        logits: tensor `[batch, rois, classes]`.
        valid: bool tensor `[batch, rois]`. False in padding rows.
        active: tensor `[batch, classes]` or None. 0 for the classes that the source of an image
            does not have: a RoI that is taken for one of these does not count (Matterport).
            Defaults to None: all classes are known.
        all_rows: bool. Whether padding rows count, as background (Matterport). Defaults to False.

    Returns:
        The mean over the RoIs that count.
    """
    counted = ops.cast(ops.ones_like(valid) if all_rows else valid, "float32")
    if active is not None:
        taken_for = ops.argmax(logits, axis=-1)
        counted = counted * ops.take_along_axis(ops.cast(active, "float32"), taken_for, axis=1)
    log_probability = ops.log_softmax(logits, axis=-1)
    chosen = ops.take_along_axis(log_probability, class_ids[..., None], axis=-1)[..., 0]
    return _mean(-chosen, counted)


def box_loss(
    target: Any,
    class_ids: Any,
    deltas: Any,
    valid: Any,
    beta: float,
    over_positives: bool = False,
) -> Any:
    """Computes smooth L1 of the true class's deltas over the positives, per sampled RoI.

    Args:
        target: tensor `[batch, rois, 4]`. The deltas to reach.
        class_ids: int32 tensor `[batch, rois]`. 0 is the background.
        deltas: tensor `[batch, rois, classes, 4]`.
        valid: bool tensor `[batch, rois]`. False in padding rows.
        beta: float. See `smooth_l1`.
        over_positives: bool. Whether the result is the mean over the numbers of the positives
            instead (Matterport). Defaults to False.

    Returns:
        A scalar.
    """
    chosen = ops.take_along_axis(deltas, class_ids[..., None, None], axis=2)[:, :, 0]
    counted = class_ids > 0 if over_positives else valid
    return _box_error(target, chosen, beta, class_ids > 0, counted, over_positives)


def _box_error(target, deltas, beta, positive, counted, each_number):
    """Smooth L1 of the positives, per row that counts (or per number in these rows)."""
    error = ops.where(positive, ops.sum(smooth_l1(target, deltas, beta), axis=-1), 0.0)
    count = ops.sum(ops.cast(counted, "float32")) * (4.0 if each_number else 1.0)
    return ops.sum(error) / ops.maximum(count, 1.0)


def mask_loss(target: Any, class_ids: Any, masks: Any, probabilities: bool = False) -> Any:
    """Computes the binary cross-entropy of the true class's mask.

    Masks of other classes get no gradient: choosing the class is up to the box head (section 3).

    Args:
        target: tensor `[batch, rois, height, width]`, in 0..1.
        class_ids: int32 tensor `[batch, rois]`. 0 marks RoIs that are not positive.
        masks: tensor `[batch, rois, height, width, classes]`. Logits.
        probabilities: bool. Whether `masks` are probabilities. Defaults to False.

    Returns:
        The mean over the pixels of the positives.
    """
    one_hot = ops.one_hot(class_ids, masks.shape[-1], dtype="float32")
    chosen = ops.sum(masks * one_hot[:, :, None, None, :], axis=-1)
    entropy = cross_entropy if probabilities else sigmoid_cross_entropy
    error = ops.mean(entropy(target, chosen), axis=(2, 3))  # [batch, rois]
    return _mean(error, ops.cast(class_ids > 0, "float32"))


def smooth_l1(target: Any, prediction: Any, beta: float) -> Any:
    """Computes smooth L1 elementwise (Girshick 2015, equation 3).

    0.5 d^2 / beta where the distance d is below beta, else d - 0.5 beta.

    Args:
        target: tensor.
        prediction: tensor of the same shape.
        beta: float. Where the loss turns from quadratic to linear. 0: it is the distance.
    """
    distance = ops.abs(target - prediction)
    if beta == 0:
        return distance
    return ops.where(distance < beta, 0.5 * distance**2 / beta, distance - 0.5 * beta)


def sigmoid_cross_entropy(target: Any, logits: Any) -> Any:
    """Computes -t log s(x) - (1 - t) log(1 - s(x)) elementwise, where s is the sigmoid.

    The form max(x, 0) - x t + log(1 + e^-|x|) does not overflow.

    Args:
        target: tensor, in 0..1.
        logits: tensor of the same shape.
    """
    return ops.relu(logits) - logits * target + ops.log1p(ops.exp(-ops.abs(logits)))


def cross_entropy(target: Any, probability: Any) -> Any:
    """Computes -t log p - (1 - t) log(1 - p) elementwise, with p kept 1e-7 away from 0 and 1.

    Args:
        target: tensor, in 0..1.
        probability: tensor of the same shape.
    """
    probability = ops.clip(probability, 1e-7, 1 - 1e-7)  # as in Keras
    return -target * ops.log(probability) - (1 - target) * ops.log(1 - probability)


def _mean(values, weights):
    """Weighted mean; 0 if nothing has weight."""
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)
