import types

import numpy as np
import pytest
from keras import ops

from mrcnn.network.layers import losses as pure

BETA = 1 / 9


def of_arrays(function):
    """Returns the loss of arrays, which are converted to tensors."""

    def loss(*arguments):
        return function(*(x if np.ndim(x) == 0 else ops.convert_to_tensor(x) for x in arguments))

    return loss


names = ("rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss", "smooth_l1")
losses = types.SimpleNamespace(**{name: of_arrays(getattr(pure, name)) for name in names})


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def value(scalar):
    number = float(ops.convert_to_numpy(scalar))
    assert np.isfinite(number)
    return number


def floats(array):
    return np.asarray(array, "float32")


def smooth_l1(d):
    d = np.abs(d)
    return np.where(d < BETA, d * d / (2 * BETA), d - BETA / 2)


def cross_entropy(t, x):
    p = 1 / (1 + np.exp(-np.asarray(x, "float64")))
    return -(t * np.log(p) + (1 - t) * np.log(1 - p))


def anchor_sample(rng, shape=(2, 129)):
    kind = rng.integers(-1, 2, shape)  # 1 positive, 0 negative, -1 not sampled
    return kind == 1, kind == 0


# --- RPN ---------------------------------------------------------------------------------------


def test_rpn_class_loss_by_hand():
    positive, negative = np.array([[True, False, False]]), np.array([[False, True, False]])
    # Two confident and correct logits and a third that is not sampled; then undecided ones: ln 2.
    assert value(losses.rpn_class_loss(floats([[20, -20, 9]]), positive, negative)) < 1e-6
    even = value(losses.rpn_class_loss(floats([[0, 0, 9]]), positive, negative))
    assert even == pytest.approx(np.log(2), abs=1e-6)
    wrong = value(losses.rpn_class_loss(floats([[-100, 100, 0]]), positive, negative))
    assert wrong == pytest.approx(100, rel=1e-6)  # no overflow


def test_rpn_class_loss_equals_numpy(rng):
    logits = floats(rng.normal(0, 3, (2, 129)))
    positive, negative = anchor_sample(rng)
    expected = cross_entropy(positive, logits)[positive | negative].mean()
    result = value(losses.rpn_class_loss(logits, positive, negative))
    assert result == pytest.approx(expected, rel=1e-5)


def test_rpn_box_loss_by_hand():
    target, deltas = np.zeros((1, 2, 4), "float32"), np.zeros((1, 2, 4), "float32")
    deltas[0, 0] = [1, 0, 0, -0.1]  # linear and quadratic part
    deltas[0, 1] = 100  # a negative, which has no box loss
    positive, negative = np.array([[True, False]]), np.array([[False, True]])
    expected = (1 - BETA / 2 + 0.5 * 0.1**2 / BETA) / 2  # over both sampled anchors
    result = value(losses.rpn_box_loss(target, deltas, positive, negative, BETA))
    assert result == pytest.approx(expected, rel=1e-5)


def test_rpn_box_loss_equals_numpy(rng):
    target, deltas = floats(rng.normal(0, 0.3, (2, 2, 129, 4)))
    positive, negative = anchor_sample(rng)
    expected = smooth_l1(target - deltas)[positive].sum() / (positive | negative).sum()
    result = value(losses.rpn_box_loss(target, deltas, positive, negative, BETA))
    assert result == pytest.approx(expected, rel=1e-5)


def test_rpn_losses_without_positives_or_samples(rng):
    none, some = np.zeros((2, 9), bool), np.ones((2, 9), bool)
    logits, deltas = floats(rng.normal(size=(2, 9))), floats(rng.normal(size=(2, 9, 4)))
    assert value(losses.rpn_box_loss(deltas * 0, deltas, none, some, BETA)) == 0
    assert value(losses.rpn_class_loss(logits, none, some)) > 0
    assert value(losses.rpn_class_loss(logits, none, none)) == 0
    assert value(losses.rpn_box_loss(deltas * 0, deltas, none, none, BETA)) == 0


def test_a_target_that_is_not_finite_counts_only_for_positives():
    target = np.zeros((1, 2, 4), "float32")
    target[0, 1] = np.nan
    positive, negative = np.array([[True, False]]), np.array([[False, True]])
    assert value(losses.rpn_box_loss(target, np.zeros_like(target), positive, negative, BETA)) == 0


# --- Heads -------------------------------------------------------------------------------------


def head_sample(rng, rois=17, classes=5):
    ids = rng.integers(0, classes, (2, rois)).astype("int32")
    valid = np.arange(rois) < np.array([[rois], [rois - 6]])
    return np.where(valid, ids, 0).astype("int32"), valid


def test_class_loss_by_hand():
    logits = np.zeros((1, 3, 4), "float32")
    logits[0, 0, 2] = 50  # confident and correct
    logits[0, 2, 3] = 50  # padding, wrong
    ids, valid = np.array([[2, 0, 0]], "int32"), np.array([[True, True, False]])
    expected = np.log(4) / 2  # one of two is undecided among four classes
    assert value(losses.class_loss(ids, logits, valid)) == pytest.approx(expected, rel=1e-5)


def test_class_loss_equals_numpy(rng):
    ids, valid = head_sample(rng)
    logits = floats(rng.normal(0, 4, (2, 17, 5)))
    odds = np.exp(logits.astype("float64"))
    odds /= odds.sum(axis=-1, keepdims=True)
    expected = -np.log(np.take_along_axis(odds, ids[..., None], -1)[..., 0])[valid].mean()
    assert value(losses.class_loss(ids, logits, valid)) == pytest.approx(expected, rel=1e-5)


def test_box_loss_by_hand():
    deltas = np.full((1, 3, 3, 4), 7, "float32")
    deltas[0, 0, 2] = [0.5, 0, 0, 0]
    ids, valid = np.array([[2, 0, 0]], "int32"), np.array([[True, True, False]])
    result = value(losses.box_loss(np.zeros((1, 3, 4), "float32"), ids, deltas, valid, BETA))
    assert result == pytest.approx((0.5 - BETA / 2) / 2, rel=1e-5)


def test_box_loss_equals_numpy(rng):
    ids, valid = head_sample(rng)
    target, deltas = floats(rng.normal(size=(2, 17, 4))), floats(rng.normal(size=(2, 17, 5, 4)))
    chosen = np.take_along_axis(deltas, ids[..., None, None], 2)[:, :, 0]
    expected = smooth_l1(target - chosen)[ids > 0].sum() / valid.sum()
    result = value(losses.box_loss(target, ids, deltas, valid, BETA))
    assert result == pytest.approx(expected, rel=1e-5)


def test_mask_loss_by_hand():
    logits = np.full((1, 2, 2, 2, 3), 40, "float32")
    logits[0, 0, :, :, 1] = [[0, 30], [-30, 30]]
    target = floats([[[[1, 1], [0, 0]], [[1, 1], [1, 1]]]])
    ids = np.array([[1, 0]], "int32")  # the second row is not positive
    result = value(losses.mask_loss(target, ids, logits))
    assert result == pytest.approx((np.log(2) + 30) / 4, rel=1e-5)


def test_mask_loss_equals_numpy(rng):
    ids, _ = head_sample(rng)
    logits = floats(rng.normal(0, 3, (2, 17, 6, 7, 5)))
    target = floats(rng.integers(0, 2, (2, 17, 6, 7)))
    chosen = np.take_along_axis(logits, ids[..., None, None, None], -1)[..., 0]
    expected = cross_entropy(target, chosen)[ids > 0].mean()
    assert value(losses.mask_loss(target, ids, logits)) == pytest.approx(expected, rel=1e-5)


def test_head_losses_without_positives_or_rows(rng):
    ids, full, empty = np.zeros((2, 3), "int32"), np.ones((2, 3), bool), np.zeros((2, 3), bool)
    logits, deltas = floats(rng.normal(size=(2, 3, 4))), floats(rng.normal(size=(2, 3, 4, 4)))
    target = floats(rng.normal(size=(2, 3, 4)))
    masks = floats(rng.normal(size=(2, 3, 5, 5, 4)))
    assert value(losses.class_loss(ids, logits, full)) > 0
    assert value(losses.class_loss(ids, logits, empty)) == 0
    assert value(losses.box_loss(target, ids, deltas, full, BETA)) == 0
    assert value(losses.box_loss(target, ids, deltas, empty, BETA)) == 0
    assert value(losses.mask_loss(masks[..., 0], ids, masks)) == 0


def test_padding_rows_change_nothing(rng):
    ids, valid = head_sample(rng)
    logits, deltas = floats(rng.normal(size=(2, 17, 5))), floats(rng.normal(size=(2, 17, 5, 4)))
    target = floats(rng.normal(size=(2, 17, 4)))
    first = (
        value(losses.class_loss(ids, logits, valid)),
        value(losses.box_loss(target, ids, deltas, valid, BETA)),
    )
    logits[~valid], deltas[~valid], target[~valid] = 1e3, -1e3, 1e3
    second = (
        value(losses.class_loss(ids, logits, valid)),
        value(losses.box_loss(target, ids, deltas, valid, BETA)),
    )
    assert first == second


def test_only_the_true_class_mask_learns(rng, gradient):
    ids = np.array([[2, 1, 0]], "int32")
    logits = floats(rng.normal(size=(1, 3, 4, 4, 3)))
    target = floats(rng.integers(0, 2, (1, 3, 4, 4)))
    learns = gradient(lambda x: losses.mask_loss(target, ids, x), logits)
    assert (learns[0, 0, ..., 2] != 0).all() and (learns[0, 1, ..., 1] != 0).all()
    learns[0, 0, ..., 2] = learns[0, 1, ..., 1] = 0
    assert (learns == 0).all()


def test_only_the_true_class_box_learns(rng, gradient):
    ids, valid = np.array([[2, 0]], "int32"), np.ones((1, 2), bool)
    deltas = floats(rng.normal(size=(1, 2, 3, 4)))
    target = np.zeros((1, 2, 4), "float32")
    learns = gradient(lambda x: losses.box_loss(target, ids, x, valid, BETA), deltas)
    assert (learns[0, 0, 2] != 0).all()
    learns[0, 0, 2] = 0
    assert (learns == 0).all()


def test_gradients_stay_finite_at_large_logits(gradient):
    ones = np.ones((1, 2), bool)
    learns = gradient(lambda x: losses.rpn_class_loss(x, ones, ~ones), floats([[-1e4, 1e4]]))
    np.testing.assert_allclose(learns, [[-0.5, 0]], atol=1e-6)


def test_smooth_l1_is_continuous_where_it_turns():
    around = floats([BETA - 1e-5, BETA, BETA + 1e-5])
    result = ops.convert_to_numpy(losses.smooth_l1(around, floats([0, 0, 0]), BETA))
    np.testing.assert_allclose(result, BETA / 2, atol=2e-5)


def test_smooth_l1_without_beta_is_the_distance():
    target, prediction = np.float32([0, 1, -2]), np.float32([0, 3, 1])
    out = pure.smooth_l1(ops.convert_to_tensor(target), ops.convert_to_tensor(prediction), 0.0)
    assert ops.convert_to_numpy(out).tolist() == [0, 2, 3]
