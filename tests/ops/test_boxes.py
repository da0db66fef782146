import math

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.ops import boxes as box_ops

UNIT = (1.0, 1.0, 1.0, 1.0)
PROPOSAL = np.array([[20, 10, 100, 50]], "float32")
GT = np.array([[22, 15, 90, 65]], "float32")


def run(function, *args, **kwargs):
    """Calls a function of tensors with arrays and returns an array."""
    args = keras.tree.map_structure(
        lambda a: ops.convert_to_tensor(a) if isinstance(a, np.ndarray) else a, args
    )
    return ops.convert_to_numpy(function(*args, **kwargs))


def random_boxes(rng, *shape, side=100):
    corners = np.sort(rng.uniform(0, side, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4).astype("float32")


def iou_oracle(a, b):
    top, left = max(a[0], b[0]), max(a[1], b[1])
    bottom, right = min(a[2], b[2]), min(a[3], b[3])
    inter = max(bottom - top, 0) * max(right - left, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union


@pytest.mark.parametrize("n", [1, 129])
def test_iou_against_oracle(n):
    rng = np.random.default_rng(n)
    first, second = random_boxes(rng, 2, n), random_boxes(rng, 2, 3)
    expected = [[[iou_oracle(a, b) for b in second[k]] for a in first[k]] for k in range(2)]
    np.testing.assert_allclose(run(box_ops.iou, first, second), expected, atol=1e-6)


def test_iou_of_known_empty_and_no_boxes():
    assert run(box_ops.iou, PROPOSAL, GT)[0, 0] == pytest.approx(0.5639810562, abs=1e-7)
    zeros = np.zeros((3, 4), "float32")
    assert (run(box_ops.iou, zeros, zeros) == 0).all()
    assert (run(box_ops.iou, zeros, GT) == 0).all()
    assert run(box_ops.iou, np.zeros((2, 0, 4), "float32"), GT[None]).shape == (2, 0, 1)
    assert run(box_ops.iou, GT, np.zeros((0, 4), "float32")).shape == (1, 0)


def test_area():
    rows = np.array([[1, 2, 4, 7], [0, 0, 0, 0], [5, 5, 3, 9]], "float32")
    assert run(box_ops.area, rows).tolist() == [15, 0, 0]


@pytest.mark.parametrize("std", [UNIT, (0.1, 0.1, 0.2, 0.2)])
def test_encode_against_torchvision(std):
    golden = np.array([[-0.05, 0.25, -0.16251890, 0.22314355]]) / std
    np.testing.assert_allclose(run(box_ops.encode, PROPOSAL, GT, std), golden, atol=1e-6)
    back = run(box_ops.decode, PROPOSAL, golden.astype("float32"), std)
    np.testing.assert_allclose(back, GT, atol=1e-4)


def test_decode_clamps_above_only():
    deltas = np.array([[0, 0, -10, 10]], "float32")
    golden = [[59.998184, -1220.0001, 60.001816, 1280.0001]]
    np.testing.assert_allclose(run(box_ops.decode, PROPOSAL, deltas, UNIT), golden, rtol=1e-6)
    wide = run(box_ops.decode, PROPOSAL, deltas, UNIT, clamp=math.log(2))
    np.testing.assert_allclose(wide[0, 3] - wide[0, 1], 80, rtol=1e-6)
    np.testing.assert_array_equal(run(box_ops.decode, PROPOSAL, 0 * deltas, UNIT), PROPOSAL)


def test_encode_decode_round_trip():
    rng = np.random.default_rng(0)
    boxes, gt = random_boxes(rng, 2, 129), random_boxes(rng, 2, 129)
    for side in (boxes, gt):
        side[..., 2:] += 5  # no thin boxes, whose deltas would be clamped
    std = (0.1, 0.1, 0.2, 0.2)
    back = run(box_ops.decode, boxes, run(box_ops.encode, boxes, gt, std), std)
    np.testing.assert_allclose(back, gt, atol=2e-3)


def test_encode_is_finite_for_empty_boxes():
    zeros = np.zeros((1, 4), "float32")
    for boxes, gt in [(zeros, zeros), (zeros, GT), (GT, zeros)]:
        assert np.isfinite(run(box_ops.encode, boxes, gt, (0.1, 0.1, 0.2, 0.2))).all()
    assert run(box_ops.encode, zeros[:0], zeros[:0], UNIT).shape == (0, 4)


def test_clip():
    boxes = np.array([[[-5, -6, 300, 400], [10, 20, 30, 40]]], "float32")
    assert run(box_ops.clip, boxes, 100, 200).tolist() == [[[0, 0, 100, 200], [10, 20, 30, 40]]]
