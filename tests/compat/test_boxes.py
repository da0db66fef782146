"""Matterport's box arithmetic against values that the old code returned."""

import numpy as np
import pytest

from mrcnn import utils


def test_extract_bboxes():
    mask = np.zeros((8, 9, 3), np.uint8)
    mask[2:5, 3:7, 0] = 1
    mask[7, 8, 2] = 1
    boxes = utils.extract_bboxes(mask)
    assert boxes.dtype == np.int32
    assert boxes.tolist() == [[2, 3, 5, 7], [0, 0, 0, 0], [7, 8, 8, 9]]


def test_overlaps():
    one, two = np.array([[10, 20, 50, 100]]), np.array([[15, 22, 65, 90], [50, 100, 60, 110]])
    overlaps = utils.compute_overlaps(one, two)
    assert overlaps.dtype == np.float64 and overlaps.tolist() == [[0.5639810426540285, 0.0]]
    assert utils.compute_overlaps(one, two[:0]).shape == (1, 0)


def test_non_max_suppression_takes_whole_numbers():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    kept = utils.non_max_suppression(boxes, np.arange(3), 0.3)
    assert kept.dtype == np.int32 and kept.tolist() == [2, 1]


def test_iou_of_exactly_the_threshold_keeps_both():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]])
    assert utils.non_max_suppression(boxes, np.array([1, 2]), 0.5).tolist() == [1, 0]


def test_non_max_suppression_of_nothing():
    with pytest.raises(AssertionError):
        utils.non_max_suppression(np.zeros((0, 4)), np.zeros(0), 0.5)


def test_refinement_and_its_inverse():
    box, gt = np.array([[10, 20, 50, 100]]), np.array([[15, 22, 65, 90]])
    deltas = utils.box_refinement(box, gt)
    assert deltas.dtype == np.float32
    np.testing.assert_allclose(deltas, [[0.25, -0.05, 0.22314355, -0.16251890]], atol=1e-7)
    np.testing.assert_allclose(utils.apply_box_deltas(box, deltas), gt, atol=5e-6)


def test_empty_and_endless_boxes():
    assert np.isnan(utils.box_refinement([[5, 5, 5, 5]], [[0, 0, 10, 10]])[0, :2]).all()
    y1, x1, y2, x2 = utils.apply_box_deltas([[0, 0, 10, 10]], [[0, 0, 100, 0]])[0]
    assert np.isneginf(y1) and np.isnan(y2) and (x1, x2) == (0, 10)


@pytest.mark.parametrize(
    "box, expected",
    [
        ([0, 0, 1024, 1024], [0, 0, 1, 1]),
        ([10, 20, 11, 21], [0.00977517, 0.01955034, 0.00977517, 0.01955034]),
        ([256, 128, 512, 640], [0.25024438, 0.12512219, 0.49951124, 0.62463343]),
        ([0, 0, 0, 0], [0, 0, -0.00097752, -0.00097752]),
    ],
)
def test_norm_boxes(box, expected):
    boxes = utils.norm_boxes(np.array([box]), (1024, 1024))
    assert boxes.dtype == np.float32
    np.testing.assert_allclose(boxes[0], expected, atol=5e-9, rtol=1e-6)
    assert utils.denorm_boxes(boxes, (1024, 1024)).tolist() == [box]


def test_denorm_boxes():
    boxes = utils.denorm_boxes(np.array([[0, 0, 1, 1], [0.25, 0.5, 0.75, 1]]), (100, 200))
    assert boxes.dtype == np.int32 and boxes.tolist() == [[0, 0, 100, 200], [25, 100, 75, 200]]


def test_trim_zeros():
    assert utils.trim_zeros(np.array([[0, 0], [0, 1], [0, 0]])).tolist() == [[0, 1]]


# --- Anchors -------------------------------------------------------------------------------------
def test_one_cell():
    """A ratio is width / height: one half is a tall anchor."""
    anchors = utils.generate_anchors(32, [0.5, 1, 2], [1, 1], 4, 1)
    tall = [-22.627417, -11.313708, 22.627417, 11.313708]
    wide = [-11.313708, -22.627417, 11.313708, 22.627417]
    assert anchors.dtype == np.float64
    np.testing.assert_allclose(anchors, [tall, [-16, -16, 16, 16], wide], atol=1e-6)


def test_order_of_cells():
    anchors = utils.generate_anchors(32, [0.5, 1, 2], [2, 3], 4, 1)
    assert anchors.shape == (18, 4)
    np.testing.assert_allclose(anchors[3] - anchors[0], [0, 4, 0, 4])
    np.testing.assert_allclose(anchors[9] - anchors[0], [4, 0, 4, 0])
    sparse = utils.generate_anchors(8, [1], [3, 3], 4, 2)
    assert (sparse[:, :2] + 4).tolist() == [[0, 0], [0, 8], [8, 0], [8, 8]]


def test_pyramid():
    strides = [4, 8, 16, 32, 64]
    shapes = [(1024 // stride, 1024 // stride) for stride in strides]
    scales = (32, 64, 128, 256, 512)
    anchors = utils.generate_pyramid_anchors(scales, [0.5, 1, 2], shapes, strides, 1)
    assert anchors.shape == (261_888, 4)
    np.testing.assert_allclose([anchors.min(), anchors.max()], [-362.038672, 1322.038672])
    np.testing.assert_allclose(
        utils.norm_boxes(anchors, (1024, 1024))[0],
        [-0.02211869, -0.01105934, 0.02114117, 0.01008183],
        atol=5e-9,
        rtol=1e-6,
    )
