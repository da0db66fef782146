"""Matterport's training targets in NumPy."""

import numpy as np
import pytest

from mrcnn import utils
from mrcnn.compat.targets import (
    build_detection_targets,
    build_rpn_targets,
    generate_random_rois,
)
from mrcnn.config import Config

CONFIG = Config(
    NUM_CLASSES=3, RPN_TRAIN_ANCHORS_PER_IMAGE=8, TRAIN_ROIS_PER_IMAGE=20, USE_MINI_MASK=False
)
SHAPE = (64, 64, 3)


def rpn(anchors, class_ids, boxes):
    anchors, boxes = np.array(anchors, float), np.array(boxes, np.int32).reshape(-1, 4)
    return build_rpn_targets(SHAPE, anchors, np.array(class_ids, int), boxes, CONFIG)


def test_rpn_targets():
    """IoU 1, .6 (the best of no object), .2 and 0."""
    anchors = [[0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 2], [30, 30, 40, 40]]
    match, deltas = rpn(anchors, [1], [[0, 0, 10, 10]])
    assert match.dtype == np.int32 and match.tolist() == [1, 0, -1, -1]
    assert deltas.shape == (8, 4) and not deltas.any()


def test_the_best_anchor_is_positive_however_bad():
    match, deltas = rpn([[0, 0, 10, 2], [30, 30, 40, 40]], [1], [[0, 0, 10, 10]])
    assert match.tolist() == [1, -1]
    expected = utils.box_refinement([[0, 0, 10, 2]], [[0, 0, 10, 10]])[0] / CONFIG.RPN_BBOX_STD_DEV
    np.testing.assert_allclose(deltas[0], expected)


def test_an_object_that_no_anchor_touches_makes_no_positives():
    match, _ = rpn([[0, 0, 10, 10], [30, 30, 40, 40]], [1, 2], [[0, 0, 10, 10], [50, 50, 60, 60]])
    assert match.tolist() == [1, -1]


def test_anchors_on_a_crowd_are_no_background():
    anchors = [[0, 0, 10, 10], [30, 30, 40, 40], [50, 50, 60, 60]]
    match, _ = rpn(anchors, [1, -1], [[0, 0, 10, 10], [30, 30, 60, 55]])
    assert match.tolist() == [1, 0, 0]


def test_rpn_targets_without_objects_and_the_limit():
    match, deltas = rpn([[i, 0, i + 5, 5] for i in range(20)], [], [])
    assert (match == -1).sum() == 8 and (match == 0).sum() == 12 and not deltas.any()
    match, _ = rpn([[0, 0, 10, 10]] * 9 + [[40, 40, 50, 50]] * 9, [1], [[0, 0, 10, 10]])
    assert (match == 1).sum() == 4 and (match == -1).sum() == 4


def test_detection_targets():
    mask = np.zeros((64, 64, 1), bool)
    mask[10:30, 10:30] = True
    rois = np.array([[10, 10, 30, 30], [10, 10, 30, 20], [40, 40, 60, 60], [0, 0, 8, 8]])
    boxes = np.array([[10, 10, 30, 30]])
    rois, class_ids, deltas, masks = build_detection_targets(
        rois, np.array([2]), boxes, mask, CONFIG
    )
    assert rois.shape == (20, 4) and deltas.shape == (20, 3, 4) and masks.shape == (20, 28, 28, 3)
    assert class_ids.tolist() == [2, 2] + [0] * 18  # an IoU of exactly one half counts
    assert not deltas[0].any() and not deltas[2:].any()
    expected = utils.box_refinement([[10, 10, 30, 20]], boxes)[0] / [0.1, 0.1, 0.2, 0.2]
    np.testing.assert_allclose(deltas[1, 2], expected, rtol=1e-6)
    assert masks[:2, 4:24, 4:24, 2].all() and not masks[..., :2].any() and not masks[2:].any()


def test_detection_targets_of_mini_masks_agree_with_whole_ones():
    mask = np.zeros((64, 64, 1), bool)
    mask[10:38, 10:38] = True
    mask[10:20, 10:24] = False
    boxes, rois = np.array([[10, 10, 38, 38]]), np.array([[12, 8, 36, 40]])
    mini = utils.minimize_mask(boxes, mask, (28, 28))
    small = Config(**CONFIG.to_dict() | {"USE_MINI_MASK": True})
    whole = build_detection_targets(rois, np.array([1]), boxes, mask, CONFIG)[3]
    np.testing.assert_allclose(
        build_detection_targets(rois, np.array([1]), boxes, mini, small)[3], whole, atol=1e-6
    )
    with pytest.raises(ValueError, match="at least one object"):
        build_detection_targets(rois, np.array([-1]), boxes, mask, CONFIG)


def test_random_rois_are_boxes():
    rois = generate_random_rois(
        SHAPE, 50, np.array([1, 1]), np.array([[0, 0, 1, 1], [9, 9, 64, 64]])
    )
    assert rois.shape == (50, 4) and rois.dtype == np.int32
    assert (rois[:, 2:] > rois[:, :2]).all() and rois.min() >= 0 and rois.max() <= 64
    assert generate_random_rois(SHAPE, 5, np.zeros(0), np.zeros((0, 4))).shape == (5, 4)
