"""Matterport's training targets in NumPy, for notebooks that show them; training has its own."""

from __future__ import annotations

import numpy as np

from mrcnn.compat.boxes import box_refinement, compute_overlaps
from mrcnn.compat.images import resize

_CROWD_IOU = 0.001  # an anchor or RoI that touches a crowd more than this is no background


def build_rpn_targets(image_shape, anchors, gt_class_ids, gt_boxes, config):
    """Which anchors are objects, and their deltas.

    Args:
        image_shape: (H, W, C), unused.
        anchors: [A, 4] pixels.
        gt_class_ids: int [N], negative for crowds.
        gt_boxes: [N, 4] pixels.
        config: a Config.

    Returns:
        rpn_match: int32 [A]: 1 object, -1 background, 0 neither.
        rpn_bbox: [RPN_TRAIN_ANCHORS_PER_IMAGE, 4], deltas / RPN_BBOX_STD_DEV of the positive
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
    # The best anchors of each object; those of an object that no anchor touches are not objects.
    match[((overlaps == overlaps.max(axis=0)) & (overlaps > 0)).any(axis=1)] = 1
    match[best >= 0.7] = 1
    _keep(match, 1, limit // 2)
    _keep(match, -1, limit - np.count_nonzero(match == 1))
    positive = np.flatnonzero(match == 1)
    targets = gt_boxes[overlaps[positive].argmax(axis=1)]
    deltas[: len(positive)] = box_refinement(anchors[positive], targets) / config.RPN_BBOX_STD_DEV
    return match, deltas


def _keep(match, kind, limit):
    """Leaves at most `limit` anchors of a kind, chosen at random; the others become 0."""
    rows = np.flatnonzero(match == kind)
    if len(rows) > limit:
        match[np.random.choice(rows, len(rows) - limit, replace=False)] = 0


def build_detection_targets(rpn_rois, gt_class_ids, gt_boxes, gt_masks, config):
    """RoIs that would train the heads, and their targets.

    Args:
        rpn_rois: [N, 4] pixels.
        gt_class_ids: int [G], `gt_boxes`: [G, 4] pixels.
        gt_boxes: see above.
        gt_masks: bool [H, W, G], or mini masks.
        config: a Config; T is TRAIN_ROIS_PER_IMAGE.

    Returns:
        rois [T, 4]; class_ids [T]; bboxes float32 [T, NUM_CLASSES, 4], deltas / BBOX_STD_DEV of
        the true class; masks float32 [T, *MASK_SHAPE, NUM_CLASSES], 0..1.
    """
    rpn_rois, gt_class_ids, gt_boxes = map(np.asarray, (rpn_rois, gt_class_ids, gt_boxes))
    if not (gt_class_ids > 0).any():
        raise ValueError("build_detection_targets needs an image with at least one object.")
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
    if len(background):  # repeated where there are too few
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
    """A mini mask in the size of its box; a whole mask as it is."""
    if not config.USE_MINI_MASK:
        return mask.astype(float)
    y1, x1, y2, x2 = np.asarray(box, int)
    return np.around(resize(mask.astype(float), (y2 - y1, x2 - x1)))


def _cut(mask, roi, box, config):
    """The part of an object's mask inside a RoI, scaled to MASK_SHAPE."""
    y1, x1, y2, x2 = np.asarray(roi, int)
    if config.USE_MINI_MASK:  # the mask begins at the corner of its box
        top, left = int(box[0]), int(box[1])
        canvas = np.zeros((max(y2, int(box[2])), max(x2, int(box[3]))))
        canvas[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        mask = canvas
    return resize(mask[y1:y2, x1:x2], tuple(config.MASK_SHAPE))


def generate_random_rois(image_shape, count, gt_class_ids, gt_boxes) -> np.ndarray:
    """Boxes to train the heads without an RPN: nine of ten around objects, the rest anywhere.

    Args:
        image_shape: (H, W, C).
        count: of boxes.
        gt_class_ids: int [N], unused.
        gt_boxes: [N, 4] pixels.

    Returns:
        int32 [count, 4], sides of at least one pixel.
    """
    height, width = image_shape[:2]
    rois = []
    each = int(0.9 * count / max(len(gt_boxes), 1))
    for y1, x1, y2, x2 in np.asarray(gt_boxes, int):
        box_height, box_width = y2 - y1, x2 - x1
        around = (
            max(y1 - box_height, 0), max(x1 - box_width, 0),
            min(y2 + box_height, height), min(x2 + box_width, width),
        )  # fmt: skip
        rois += [_random_box(*around) for _ in range(each)]
    rois += [_random_box(0, 0, height, width) for _ in range(count - len(rois))]
    return np.array(rois, np.int32).reshape(-1, 4)


def _random_box(top, left, bottom, right):
    """A box inside a region of at least one pixel."""
    ys, xs = (
        sorted(low + np.random.choice(high - low + 1, 2, replace=False))
        for low, high in ((top, bottom), (left, right))
    )
    return ys[0], xs[0], ys[1], xs[1]
