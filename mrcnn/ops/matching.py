"""Matches anchors or proposals with instances and draws the random sample that is trained on."""

from __future__ import annotations

from typing import Any

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import kernels

# Labels of anchors, and kinds of sampled rows.
POSITIVE = 1
NEGATIVE = 0
IGNORE = -1
# An anchor with this IoU or more with a crowd is not background (Matterport's constant).
CROWD_IOU = 0.001
# Anchors within one part in a million of an instance's best IoU count as tied, so that float32
# rounding, which varies by device and compiler, never breaks a tie.
TIE = 1e-6


def match(
    iou: Any,
    gt_valid: Any,
    high: float,
    low: float,
    low_quality: bool,
    crowd_iou: Any = None,
) -> tuple[Any, Any]:
    """Matches every anchor with its best instance (Ren et al. 2015, section 3.1.2).

    Args:
        iou: tensor `[batch, num_anchors, num_gt]`.
        gt_valid: bool tensor `[batch, num_gt]`. False for padding and crowds, which match nothing.
        high: float in 0..1. Anchors with at least this IoU are positive.
        low: float in 0..1. Anchors below this IoU are negative; those between `low` and `high` are
            ignored.
        low_quality: bool. Whether every anchor that ties the best IoU of an instance is positive
            too, provided that this IoU is above 0.
        crowd_iou: tensor `[batch, num_anchors]` or None. Largest IoU of each anchor with a crowd. A
            negative with at least 0.001 is ignored instead. Defaults to None, no crowds.

    Returns:
        matched: int32 `[batch, num_anchors]`, index of the instance with the largest IoU, 0 where
            there is no valid instance.
        labels: int32 `[batch, num_anchors]`, 1 positive, 0 negative, -1 ignored. An image without
            valid instances has only negatives, and ignored anchors on crowds.
    """
    if iou.shape[-1] == 0:
        labels = ops.zeros(ops.shape(iou)[:2], dtype="int32")
        return labels, labels
    iou = ops.where(gt_valid[:, None, :], iou, -1.0)  # below every real IoU
    matched = ops.cast(ops.argmax(iou, axis=-1), "int32")
    best = ops.max(iou, axis=-1)
    labels = ops.where(best < low, NEGATIVE, IGNORE)
    if crowd_iou is not None:
        on_crowd = ops.logical_and(labels == NEGATIVE, crowd_iou >= CROWD_IOU)
        labels = ops.where(on_crowd, IGNORE, labels)
    positive = best >= high
    if low_quality:
        positive = ops.logical_or(positive, ops.any(_ties(iou), axis=-1))
    return matched, ops.cast(ops.where(positive, POSITIVE, labels), "int32")


def crowd_overlap(iou: Any, gt_class_ids: Any) -> Any:
    """Returns the largest IoU of each anchor with a crowd.

    Args:
        iou: tensor `[batch, num_anchors, num_gt]`.
        gt_class_ids: int32 tensor `[batch, num_gt]`, negative for crowds.

    Returns:
        `[batch, num_anchors]`, 0 where there are no crowds.
    """
    if iou.shape[-1] == 0:
        return ops.zeros(ops.shape(iou)[:2], dtype="float32")
    return ops.max(ops.where((gt_class_ids < 0)[:, None, :], iou, 0.0), axis=-1)


def ignore_left_out(
    labels: Any, boxes: Any, left_out: Any, high: float, low_quality: bool = False
) -> Any:
    """Ignores the negatives that would not be negative if some more instances were known.

    The instances are looked at one after another, so that time and memory follow their number, and
    not the number of rows.

    Args:
        labels: int32 tensor `[batch, num_anchors]`, as `match` returns them.
        boxes: tensor `[batch, num_anchors, 4]`. The anchors or proposals.
        left_out: tensor `[batch, rows, 4]`. Boxes of the further instances, then zeros.
        high: float in 0..1. Negatives with at least this IoU with one of them are ignored.
        low_quality: bool. Whether those that tie the best IoU of one of them are ignored too, as
            in `match`. Defaults to False.

    Returns:
        int32 tensor `[batch, num_anchors]`.
    """
    boxes, left_out = ops.stop_gradient(boxes), ops.stop_gradient(left_out)
    numbers = ops.arange(1, left_out.shape[1] + 1, dtype="int32")
    rows = ops.max(ops.where(ops.any(left_out != 0, axis=-1), numbers, 0))  # up to the last box

    def add_row(row, near):
        box = ops.take(left_out, row, axis=1)[:, None]  # [batch, 1, 4]
        iou = box_ops.iou(boxes, box)[..., 0]  # [batch, num_anchors]
        near = ops.logical_or(near, iou >= high)
        if low_quality:
            near = ops.logical_or(near, _ties(iou))
        return near

    near = kernels.repeat(rows, add_row, ops.zeros_like(labels, dtype="bool"))
    return ops.where(ops.logical_and(labels == NEGATIVE, near), IGNORE, labels)


def _ties(iou):
    """Returns which anchors (axis 1 of `iou`) tie the best IoU of an instance, if above 0."""
    best = ops.max(iou, axis=1, keepdims=True)
    return ops.logical_and(iou >= best * (1 - TIE), best > 0)


def sample(labels: Any, count: int, positive_fraction: float, random: Any) -> tuple[Any, Any]:
    """Draws a random sample of the anchors and returns it as masks.

    Args:
        labels: int32 tensor `[batch, num_anchors]`. 1 positive, 0 negative, -1 never chosen.
        count: int. Anchors to choose per image; fewer are chosen where there are not enough.
        positive_fraction: float in 0..1. At most int(count * positive_fraction) of them are
            positive; negatives fill the rest.
        random: tensor `[batch, num_anchors]`, uniform in 0..1. The only source of randomness.

    Returns:
        positives: bool `[batch, num_anchors]`, the chosen positives.
        negatives: bool `[batch, num_anchors]`, the chosen negatives.
    """
    max_positives = int(count * positive_fraction)
    index, real = _draw(labels == POSITIVE, random, max_positives)
    positives = _mask_of(index, real, labels)
    # Negatives fill the places that the positives left free.
    room = count - ops.sum(ops.cast(real, "int32"), axis=1, keepdims=True)
    index, real = _draw(labels == NEGATIVE, random, count)
    real = ops.logical_and(real, ops.arange(count, dtype="int32") < room)
    return positives, _mask_of(index, real, labels)


def sample_indices(
    labels: Any, count: int, positive_fraction: float, random: Any, balanced: bool = False
) -> tuple[Any, Any]:
    """Draws a random sample of the proposals and returns it as row indices.

    Given the same arguments, it chooses the same rows as `sample` does.

    Args:
        labels: int32 tensor `[batch, num_proposals]`. 1 positive, 0 negative, -1 never chosen.
        count: int. Proposals to choose per image; fewer are chosen where there are not enough.
        positive_fraction: float in 0..1. At most int(count * positive_fraction) of them are
            positive; negatives fill the rest.
        random: tensor `[batch, num_proposals]`, uniform in 0..1. The only source of randomness.
        balanced: bool. Whether to keep `positive_fraction` even where there are few positives, by
            choosing at most int(positives / positive_fraction) - positives negatives: none if
            there are no positives (Matterport's rule). Defaults to False.

    Returns:
        index: int32 `[batch, count]`, the chosen positives first (so within the first
            int(count * positive_fraction) rows), then the negatives, then padding (index 0).
        kind: int32 `[batch, count]`, 1 positive, 0 negative, -1 padding.
    """
    max_positives = int(count * positive_fraction)
    positives, real_positive = _draw(labels == POSITIVE, random, max_positives)
    negatives, real_negative = _draw(labels == NEGATIVE, random, count)
    if balanced:
        found = ops.sum(ops.cast(real_positive, "float32"), axis=1, keepdims=True)
        room = ops.floor(found * (1.0 / positive_fraction)) - found
        real_negative = ops.logical_and(real_negative, ops.arange(count, dtype="float32") < room)
    index = ops.concatenate([positives, negatives], axis=1)  # [batch, max_positives + count]
    kind = ops.concatenate(
        [ops.where(real_positive, POSITIVE, IGNORE), ops.where(real_negative, NEGATIVE, IGNORE)],
        axis=1,
    )
    # Sort by kind, then in the order drawn. The keys are distinct and exact in float32.
    candidates = max_positives + count
    key = ops.cast(kind * candidates - ops.arange(candidates, dtype="int32"), "float32")
    _, chosen = ops.top_k(key, count)
    kind = ops.cast(ops.take_along_axis(kind, chosen, axis=1), "int32")
    index = ops.take_along_axis(index, chosen, axis=1)
    return ops.cast(ops.where(kind >= 0, index, 0), "int32"), kind


def _draw(candidate, random, count):
    """Draws up to `count` of the candidates `[batch, n]` at random.

    Returns:
        int32 `[batch, count]`, the indices; bool `[batch, count]`, which of them are candidates.
    """
    keys = ops.where(candidate, random, -1.0)
    known = keys.shape[1]
    if known is None or known < count:  # top_k needs at least `count` columns
        keys = ops.pad(keys, ((0, 0), (0, count)), constant_values=-1.0)
    keys, index = ops.top_k(keys, count)
    return ops.cast(index, "int32"), keys >= 0


def _mask_of(index, real, like):
    """Returns a bool mask of the shape of `like`, True at the real ones of `index` `[batch, n]`."""
    # A single scatter into the flattened mask. Entries that are not real add 0 to element 0.
    batch, anchors = ops.shape(like)
    flat = ops.where(real, index + ops.arange(batch, dtype="int32")[:, None] * anchors, 0)
    hits = ops.scatter(
        ops.reshape(flat, (-1, 1)),
        ops.reshape(ops.cast(real, "int32"), (-1,)),
        (batch * anchors,),
    )
    return ops.reshape(hits, (batch, anchors)) > 0
