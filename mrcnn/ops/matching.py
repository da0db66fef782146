"""Which anchors or proposals belong to which object, and a random sample of them to learn from."""

from __future__ import annotations

from keras import ops

# Labels of anchors, and kinds of sampled rows.
POSITIVE, NEGATIVE, IGNORE = 1, 0, -1
# An anchor is background only if no crowd region overlaps it by more (Matterport's constant).
CROWD_IOU = 0.001
# Anchors within one part in a million of an object's best IoU tie with it: float32 rounding, which
# differs between devices and compilers, shall not choose among equals.
TIE = 1e-6


def match(iou, gt_valid, high, low, low_quality, crowd_iou=None):
    """Matches every anchor with its best object (Ren et al. 2015, section 3.1.2).

    Args:
        iou: [batch, anchors, gt].
        gt_valid: bool [batch, gt]; False for padding and crowds, which match nothing.
        high: positive from this IoU on.
        low: negative below this IoU; between the two an anchor is ignored.
        low_quality: also positive is every anchor that ties the best IoU of an object, if that is
            above 0.
        crowd_iou: [batch, anchors], the largest IoU with a crowd; from 0.001 on a negative is
            ignored instead. None: no crowds.

    Returns:
        `matched`, int32 [batch, anchors]: the object of largest IoU with the anchor, 0 without
        valid objects. `labels`, int32 [batch, anchors]: 1 positive, 0 negative, -1 ignored. An
        image without valid objects has negatives only (and ignored ones on crowds).
    """
    if iou.shape[-1] == 0:
        labels = ops.zeros(ops.shape(iou)[:2], dtype="int32")
        return labels, labels
    iou = ops.where(gt_valid[:, None, :], iou, -1.0)
    matched = ops.cast(ops.argmax(iou, axis=-1), "int32")
    best = ops.max(iou, axis=-1)
    labels = ops.where(best < low, NEGATIVE, IGNORE)
    if crowd_iou is not None:
        on_crowd = ops.logical_and(labels == NEGATIVE, crowd_iou >= CROWD_IOU)
        labels = ops.where(on_crowd, IGNORE, labels)
    positive = best >= high
    if low_quality:
        best_of_gt = ops.max(iou, axis=1, keepdims=True)  # [batch, 1, gt]
        ties = ops.logical_and(iou >= best_of_gt * (1 - TIE), best_of_gt > 0)
        positive = ops.logical_or(positive, ops.any(ties, axis=-1))
    return matched, ops.cast(ops.where(positive, POSITIVE, labels), "int32")


def crowd_overlap(iou, gt_class_ids):
    """Largest IoU of each anchor with a crowd.

    Args:
        iou: [batch, anchors, gt].
        gt_class_ids: int32 [batch, gt], negative for crowds.

    Returns:
        [batch, anchors], 0 without crowds.
    """
    if iou.shape[-1] == 0:
        return ops.zeros(ops.shape(iou)[:2], dtype="float32")
    return ops.max(ops.where((gt_class_ids < 0)[:, None, :], iou, 0.0), axis=-1)


def sample(labels, count, positive_fraction, random):
    """A random sample of the anchors, as masks.

    Args:
        labels: int32 [batch, anchors]: 1 positive, 0 negative, -1 never chosen.
        count: anchors chosen an image, fewer where there are not enough.
        positive_fraction: at most int(count * positive_fraction) positives; negatives fill up.
        random: [batch, anchors], uniform in 0..1: the only source of chance.

    Returns:
        Two bool [batch, anchors]: the chosen positives, the chosen negatives.
    """
    most = int(count * positive_fraction)
    index, real = _draw(labels == POSITIVE, random, most)
    positives = _mask_of(index, real, labels)
    room = count - ops.sum(ops.cast(real, "int32"), axis=1, keepdims=True)
    index, real = _draw(labels == NEGATIVE, random, count)
    real = ops.logical_and(real, ops.arange(count, dtype="int32") < room)
    return positives, _mask_of(index, real, labels)


def sample_indices(labels, count, positive_fraction, random, balanced=False):
    """A random sample of the proposals, as rows.

    Args:
        labels, count, positive_fraction, random: see `sample`, which chooses the same ones.
        balanced: no more negatives than keep the positives' share, int(positives / fraction) less
            the positives: none where there are no positives (Matterport).

    Returns:
        `index`, int32 [batch, count]: the chosen positives first, so within the first
        int(count * positive_fraction) rows, then the negatives, then padding (index 0). `kind`,
        int32 [batch, count]: 1 positive, 0 negative, -1 padding.
    """
    most = int(count * positive_fraction)
    positives, real_positive = _draw(labels == POSITIVE, random, most)
    negatives, real_negative = _draw(labels == NEGATIVE, random, count)
    if balanced:
        found = ops.sum(ops.cast(real_positive, "float32"), axis=1, keepdims=True)
        room = ops.floor(found * (1.0 / positive_fraction)) - found
        real_negative = ops.logical_and(real_negative, ops.arange(count, dtype="float32") < room)
    index = ops.concatenate([positives, negatives], axis=1)
    kind = ops.concatenate(
        [ops.where(real_positive, POSITIVE, IGNORE), ops.where(real_negative, NEGATIVE, IGNORE)],
        axis=1,
    )  # [batch, most + count]
    # A key per candidate: by kind, then in the order drawn. Distinct, and exact in float32.
    order = ops.cast(kind * (most + count) - ops.arange(most + count, dtype="int32"), "float32")
    _, chosen = ops.top_k(order, count)
    kind = ops.cast(ops.take_along_axis(kind, chosen, axis=1), "int32")
    index = ops.take_along_axis(index, chosen, axis=1)
    return ops.cast(ops.where(kind >= 0, index, 0), "int32"), kind


def _draw(candidate, random, count):
    """Up to `count` candidates [batch, anchors] at random: indices and which are real."""
    keys = ops.where(candidate, random, -1.0)
    known = keys.shape[1]
    if known is None or known < count:  # enough columns for top_k
        keys = ops.pad(keys, ((0, 0), (0, count)), constant_values=-1.0)
    keys, index = ops.top_k(keys, count)
    return ops.cast(index, "int32"), keys >= 0


def _mask_of(index, real, like):
    """Bool mask of the shape of `like`, True at the real ones of `index` [batch, n]."""
    batch, anchors = ops.shape(like)
    flat = ops.where(real, index + ops.arange(batch, dtype="int32")[:, None] * anchors, 0)
    hits = ops.scatter(
        ops.reshape(flat, (-1, 1)),
        ops.reshape(ops.cast(real, "int32"), (-1,)),
        (batch * anchors,),
    )
    return ops.reshape(hits, (batch, anchors)) > 0
