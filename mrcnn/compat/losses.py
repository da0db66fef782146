"""Matterport's loss functions, with their signatures, over the losses of this package."""

from __future__ import annotations

from keras import ops

from mrcnn.compat.graph import MATTERPORT
from mrcnn.network.layers import losses


def smooth_l1_loss(y_true, y_pred):
    """Elementwise, quadratic below a difference of 1."""
    return losses.smooth_l1(y_true, y_pred, MATTERPORT.box_loss.beta)


def rpn_class_loss_graph(rpn_match, rpn_class_logits):
    """Cross-entropy of the anchors that match 1 (object) or -1 (background), mean over them.

    Args:
        rpn_match: int [batch, anchors, 1].
        rpn_class_logits: [batch, anchors, 2].
    """
    match, logits = ops.squeeze(rpn_match, -1), ops.convert_to_tensor(rpn_class_logits)
    return losses.rpn_class_loss(logits[..., 1] - logits[..., 0], match == 1, match == -1)


def rpn_bbox_loss_graph(config, target_bbox, rpn_match, rpn_bbox):
    """Smooth L1 of the positive anchors' deltas, mean over their numbers.

    Args:
        config: a Config.
        target_bbox: [batch, n, 4]: the first rows are those of the positive anchors, in order.
        rpn_match: int [batch, anchors, 1].
        rpn_bbox: [batch, anchors, 4].
    """
    positive = ops.squeeze(rpn_match, -1) == 1
    row = ops.cumsum(ops.cast(positive, "int32"), axis=1) - 1
    row = ops.clip(row, 0, target_bbox.shape[1] - 1)
    target = ops.take_along_axis(ops.cast(target_bbox, "float32"), row[..., None], axis=1)
    return losses.rpn_box_loss(
        target, rpn_bbox, positive, positive, MATTERPORT.box_loss.beta, over_positives=True
    )


def mrcnn_class_loss_graph(target_class_ids, pred_class_logits, active_class_ids):
    """Cross-entropy of all RoIs that are taken for a class which their image's source knows.

    Args:
        target_class_ids: int [batch, rois].
        pred_class_logits: [batch, rois, classes].
        active_class_ids: [batch, classes], 0 or 1.
    """
    class_ids = ops.cast(target_class_ids, "int32")
    return losses.class_loss(
        class_ids, pred_class_logits, class_ids >= 0, active_class_ids, all_rows=True
    )


def mrcnn_bbox_loss_graph(target_bbox, target_class_ids, pred_bbox):
    """Smooth L1 of the true class's deltas over the positive RoIs, mean over their numbers.

    Args:
        target_bbox: [batch, rois, 4].
        target_class_ids: int [batch, rois].
        pred_bbox: [batch, rois, classes, 4].
    """
    class_ids = ops.cast(target_class_ids, "int32")
    return losses.box_loss(
        target_bbox, class_ids, pred_bbox, class_ids > 0, MATTERPORT.box_loss.beta,
        over_positives=True,
    )  # fmt: skip


def mrcnn_mask_loss_graph(target_masks, target_class_ids, pred_masks):
    """Binary cross-entropy of the true class's mask over the positive RoIs, mean over pixels.

    Args:
        target_masks: [batch, rois, height, width], 0 or 1.
        target_class_ids: int [batch, rois].
        pred_masks: [batch, rois, height, width, classes], probabilities.
    """
    class_ids = ops.cast(target_class_ids, "int32")
    return losses.mask_loss(target_masks, class_ids, pred_masks, probabilities=True)
