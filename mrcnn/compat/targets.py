"""Matterport's training targets in NumPy, for notebooks that show them; training has its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.compat.boxes import box_refinement, compute_overlaps
from mrcnn.compat.images import resize

_CROWD_IOU = 0.001  # an anchor with this IoU or more with a crowd is not background


def build_rpn_targets(
    image_shape: tuple[int, ...], anchors: Any, gt_class_ids: Any, gt_boxes: Any, config: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Matches anchors with instances and computes their deltas.

    Args:
        image_shape: (H, W, C), not used.
        anchors: array `[A, 4]` in pixels.
        gt_class_ids: int array `[N]`, negative for crowds.
        gt_boxes: array `[N, 4]` in pixels.
        config: `Config`.

    Returns:
        rpn_match: int32 `[A]`, 1 instance, -1 background, 0 neither.
        rpn_bbox: `[RPN_TRAIN_ANCHORS_PER_IMAGE, 4]`, deltas / RPN_BBOX_STD_DEV of the positive
            anchors in their order, then zeros.
    """
    anchors, gt_class_ids, gt_boxes = map(np.asarray, (anchors, gt_class_ids, gt_boxes))
    crowd = gt_class_ids < 0
    clear = np.ones(len(anchors), bool)
    if crowd.any():
        clear = compute_overlaps(anchors, gt_boxes[crowd]).max(axis=1) < _CROWD_IOU
    gt_boxes = gt_boxes[~crowd]
    match = np.zeros(len(anchors), np.int32)
    limit = config.RPN_TRAIN_ANCHORS_PER_IMAGE
    deltas = np.zeros((limit, 4))
    if not len(gt_boxes):
        match[clear] = -1
        _keep(match, -1, limit)
        return match, deltas
    overlaps = compute_overlaps(anchors, gt_boxes)
    best = overlaps.max(axis=1)
    match[(best < 0.3) & clear] = -1
    # The best anchors of each instance, unless no anchor overlaps the instance.
    match[((overlaps == overlaps.max(axis=0)) & (overlaps > 0)).any(axis=1)] = 1
    match[best >= 0.7] = 1
    _keep(match, 1, limit // 2)
    _keep(match, -1, limit - np.count_nonzero(match == 1))
    positive = np.flatnonzero(match == 1)
    targets = gt_boxes[overlaps[positive].argmax(axis=1)]
    deltas[: len(positive)] = box_refinement(anchors[positive], targets) / config.RPN_BBOX_STD_DEV
    return match, deltas


def _keep(match, kind, limit):
    """Keeps at most `limit` anchors of a kind, chosen at random, and sets the others to 0."""
    rows = np.flatnonzero(match == kind)
    if len(rows) > limit:
        match[np.random.choice(rows, len(rows) - limit, replace=False)] = 0


def build_detection_targets(
    rpn_rois: Any, gt_class_ids: Any, gt_boxes: Any, gt_masks: Any, config: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Samples RoIs for training the heads and computes their targets.

    Args:
        rpn_rois: array `[N, 4]` in pixels.
        gt_class_ids: int array `[G]`.
        gt_boxes: array `[G, 4]` in pixels.
        gt_masks: bool array `[H, W, G]`, or mini-masks `[mask_height, mask_width, G]`.
        config: `Config`. T below is its TRAIN_ROIS_PER_IMAGE.

    Returns:
        rois: `[T, 4]` in pixels.
        class_ids: int32 `[T]`, 0 for background.
        bboxes: float32 `[T, NUM_CLASSES, 4]`, deltas / BBOX_STD_DEV at the true class.
        masks: float32 `[T, *MASK_SHAPE, NUM_CLASSES]`, 0..1, at the true class.

    Raises:
        ValueError: if the image has no instance.
    """
    rpn_rois, gt_class_ids, gt_boxes = map(np.asarray, (rpn_rois, gt_class_ids, gt_boxes))
    if not (gt_class_ids > 0).any():
        raise ValueError(
            "build_detection_targets needs an image with at least one object, but no value of "
            "gt_class_ids is above 0. Choose another image."
        )
    real = gt_class_ids > 0
    gt_class_ids, gt_boxes, gt_masks = gt_class_ids[real], gt_boxes[real], gt_masks[..., real]
    overlaps = compute_overlaps(rpn_rois, gt_boxes)
    count = config.TRAIN_ROIS_PER_IMAGE
    foreground = np.flatnonzero(overlaps.max(axis=1) >= 0.5)
    background = np.flatnonzero(overlaps.max(axis=1) < 0.5)
    most = int(count * config.ROI_POSITIVE_RATIO)
    if len(foreground) > most:
        foreground = np.random.choice(foreground, most, replace=False)
    missing = count - len(foreground)
    if len(background):  # repeated if there are too few
        background = np.random.choice(background, missing, replace=len(background) < missing)
    rows = np.concatenate([foreground, background]).astype(int)
    if len(rows) < count:
        rows = np.resize(rows, count)
    matched = overlaps[rows].argmax(axis=1)
    is_object = overlaps[rows].max(axis=1) >= 0.5
    class_ids = np.where(is_object, gt_class_ids[matched], 0).astype(np.int32)
    bboxes = np.zeros((count, config.NUM_CLASSES, 4), np.float32)
    masks = np.zeros((count, *config.MASK_SHAPE, config.NUM_CLASSES), np.float32)
    rois = rpn_rois[rows]
    deltas = box_refinement(rois, gt_boxes[matched]) / config.BBOX_STD_DEV
    for row in np.flatnonzero(is_object):
        bboxes[row, class_ids[row]] = deltas[row]
        which = matched[row]
        mask = _placed(gt_masks[..., which], gt_boxes[which], config)
        masks[row, :, :, class_ids[row]] = _cut(mask, rois[row], gt_boxes[which], config)
    return rois, class_ids, bboxes, masks


def _placed(mask, box, config):
    """Scales a mini-mask to the size of its box; returns a full mask unchanged."""
    if not config.USE_MINI_MASK:
        return mask.astype(float)
    y1, x1, y2, x2 = np.asarray(box, int)
    return np.around(resize(mask.astype(float), (y2 - y1, x2 - x1)))


def _cut(mask, roi, box, config):
    """Crops an instance's mask to a RoI and scales it to MASK_SHAPE."""
    y1, x1, y2, x2 = np.asarray(roi, int)
    if config.USE_MINI_MASK:  # the mask starts at the corner of its box
        top, left = int(box[0]), int(box[1])
        canvas = np.zeros((max(y2, int(box[2])), max(x2, int(box[3]))))
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        mask = canvas
    return resize(mask[y1:y2, x1:x2], tuple(config.MASK_SHAPE))


def generate_random_rois(
    image_shape: tuple[int, ...], count: int, gt_class_ids: Any, gt_boxes: Any
) -> np.ndarray:
    """Generates random boxes for training the heads without an RPN.

    Nine out of ten lie around instances, the others anywhere in the image.

    Args:
        image_shape: (H, W, C).
        count: int. Number of boxes.
        gt_class_ids: int array `[N]`, not used.
        gt_boxes: array `[N, 4]` in pixels.

    Returns:
        int32 `[count, 4]` in pixels; sides are at least one pixel long.
    """
    height, width = image_shape[:2]
    rois = []
    each = int(0.9 * count / max(len(gt_boxes), 1))
    for y1, x1, y2, x2 in np.asarray(gt_boxes, int):
        box_height, box_width = y2 - y1, x2 - x1
        top = max(y1 - box_height, 0)
        left = max(x1 - box_width, 0)
        bottom = min(y2 + box_height, height)
        right = min(x2 + box_width, width)
        rois += [_random_box(top, left, bottom, right) for _ in range(each)]
    rois += [_random_box(0, 0, height, width) for _ in range(count - len(rois))]
    return np.array(rois, np.int32).reshape(-1, 4)


def _random_box(top, left, bottom, right):
    """Returns a random box inside a region of at least one pixel."""
    ys, xs = (
        sorted(low + np.random.choice(high - low + 1, 2, replace=False))
        for low, high in ((top, bottom), (left, right))
    )
    return ys[0], xs[0], ys[1], xs[1]
