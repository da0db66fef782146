"""Matterport's loss functions, with their signatures, over the losses of this package."""

from __future__ import annotations

from typing import Any

from keras import ops

from mrcnn.compat.backbone import MATTERPORT
from mrcnn.network.layers import losses


def smooth_l1_loss(y_true: Any, y_pred: Any) -> Any:
    """Computes the smooth L1 loss elementwise, quadratic for differences below 1.

    Args:
        y_true: tensor. The targets.
        y_pred: tensor. The predictions, of the same shape.

    Returns:
        Tensor of the same shape.
    """
    return losses.smooth_l1(y_true, y_pred, MATTERPORT.box_loss.beta)


def rpn_class_loss_graph(rpn_match: Any, rpn_class_logits: Any) -> Any:
    """Computes the mean cross-entropy of the anchors that are matched as object or background.

    Args:
        rpn_match: int tensor `[batch, num_anchors, 1]`. 1 object, -1 background, 0 neither.
        rpn_class_logits: tensor `[batch, num_anchors, 2]`. Background, then object.

    Returns:
        Scalar tensor.
    """
    match, logits = ops.squeeze(rpn_match, -1), ops.convert_to_tensor(rpn_class_logits)
    # A softmax of two logits is the sigmoid of their difference.
    return losses.rpn_class_loss(logits[..., 1] - logits[..., 0], match == 1, match == -1)


def rpn_bbox_loss_graph(config: Any, target_bbox: Any, rpn_match: Any, rpn_bbox: Any) -> Any:
    """Computes the mean smooth L1 loss of the deltas of the positive anchors.

    Args:
        config: Config. Not used.
        target_bbox: tensor `[batch, max_positives, 4]`. The first rows are the deltas of the
            positive anchors, in the order of the anchors.
        rpn_match: int tensor `[batch, num_anchors, 1]`. 1 for positive anchors.
        rpn_bbox: tensor `[batch, num_anchors, 4]`. The predicted deltas.

    Returns:
        Scalar tensor, the mean over all numbers of the positive anchors.
    """
    positive = ops.squeeze(rpn_match, -1) == 1
    # The row of target_bbox that belongs to each positive anchor: [batch, num_anchors].
    row = ops.cumsum(ops.cast(positive, "int32"), axis=1) - 1
    row = ops.clip(row, 0, target_bbox.shape[1] - 1)
    target = ops.take_along_axis(ops.cast(target_bbox, "float32"), row[..., None], axis=1)
    return losses.rpn_box_loss(
        target, rpn_bbox, positive, positive, MATTERPORT.box_loss.beta, over_positives=True
    )


def mrcnn_class_loss_graph(
    target_class_ids: Any, pred_class_logits: Any, active_class_ids: Any
) -> Any:
    """Computes the mean cross-entropy of the RoIs.

    RoIs whose predicted class is not one of the data set that their image comes from are left out.

    Args:
        target_class_ids: int tensor `[batch, num_rois]`. 0 for background.
        pred_class_logits: tensor `[batch, num_rois, num_classes]`.
        active_class_ids: tensor `[batch, num_classes]`. 1 for classes of the image's data set,
            otherwise 0.

    Returns:
        Scalar tensor.
    """
    class_ids = ops.cast(target_class_ids, "int32")
    return losses.class_loss(
        class_ids, pred_class_logits, class_ids >= 0, active_class_ids, all_rows=True
    )


def mrcnn_bbox_loss_graph(target_bbox: Any, target_class_ids: Any, pred_bbox: Any) -> Any:
    """Computes the mean smooth L1 loss of the true class's deltas over the positive RoIs.

    Args:
        target_bbox: tensor `[batch, num_rois, 4]`.
        target_class_ids: int tensor `[batch, num_rois]`. 0 for background.
        pred_bbox: tensor `[batch, num_rois, num_classes, 4]`.

    Returns:
        Scalar tensor, the mean over all numbers of the positive RoIs.
    """
    class_ids = ops.cast(target_class_ids, "int32")
    beta = MATTERPORT.box_loss.beta
    return losses.box_loss(
        target_bbox, class_ids, pred_bbox, class_ids > 0, beta, over_positives=True
    )


def mrcnn_mask_loss_graph(target_masks: Any, target_class_ids: Any, pred_masks: Any) -> Any:
    """Computes the mean binary cross-entropy of the true class's mask over the positive RoIs.

    Args:
        target_masks: tensor `[batch, num_rois, height, width]`. 0 or 1.
        target_class_ids: int tensor `[batch, num_rois]`. 0 for background.
        pred_masks: tensor `[batch, num_rois, height, width, num_classes]`. Probabilities.

    Returns:
        Scalar tensor, the mean over all pixels of the positive RoIs.
    """
    class_ids = ops.cast(target_class_ids, "int32")
    return losses.mask_loss(target_masks, class_ids, pred_masks, probabilities=True)
