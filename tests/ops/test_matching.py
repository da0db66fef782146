import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.ops import matching


def numpy(value):
    return ops.convert_to_numpy(value)


def match(iou, gt_valid=None, low_quality=True, **kwargs):
    iou = np.asarray(iou, "float32")[None]
    valid = np.ones((1, iou.shape[2]), bool) if gt_valid is None else np.array([gt_valid])
    matched, labels = matching.match(iou, valid, 0.7, 0.3, low_quality, **kwargs)
    return numpy(matched)[0].tolist(), numpy(labels)[0].tolist()


# Transposed from the unit test of Detectron2's matcher: 4 anchors, 3 objects.
GOLDEN = np.array([[0.15, 0.45, 0.2, 0.6], [0.3, 0.65, 0.05, 0.1], [0.05, 0.4, 0.25, 0.4]]).T


def test_against_detectron2():
    assert match(GOLDEN) == ([1, 1, 2, 0], [-1, 1, 0, 1])


def test_without_low_quality():
    assert match(GOLDEN, low_quality=False)[1] == [-1, -1, 0, -1]
    assert match([[0.7], [0.69999], [0.3], [0.29999]], low_quality=False)[1] == [1, -1, -1, 0]


def test_all_ties_of_the_best_are_positive():
    assert match([[0.2, 0], [0.2, 0], [0.1, 0]])[1] == [1, 1, 0]


def test_an_object_that_no_anchor_touches_makes_no_positives():
    assert match([[0.0], [0.0]]) == ([0, 0], [0, 0])


def test_padding_matches_nothing():
    assert match([[0.9, 0.1], [0.0, 0.8]], gt_valid=[False, True]) == ([1, 1], [0, 1])
    assert match([[0.9, 0.1], [0.0, 0.8]], gt_valid=[False, False])[1] == [0, 0]
    assert match(np.zeros((3, 0)))[1] == [0, 0, 0]


def test_an_anchor_on_a_crowd_is_not_background():
    iou = np.array([[[0.5, 0.0], [0.0, 0.002], [0.8, 0.5], [0.1, 0.0005]]], "float32")
    ids = np.array([[2, -2]], "int32")
    crowd = matching.crowd_overlap(iou, ids)
    np.testing.assert_array_equal(numpy(crowd)[0], iou[0, :, 1])
    assert match(iou[0], gt_valid=[True, False], crowd_iou=crowd)[1] == [-1, -1, 1, 0]
    assert numpy(matching.crowd_overlap(iou[..., :0], ids[:, :0])).tolist() == [[0, 0, 0, 0]]


def draws(labels, count, fraction, seed=0):
    random = np.random.default_rng(seed).random(labels.shape).astype("float32")
    masks = [numpy(mask) for mask in matching.sample(labels, count, fraction, random)]
    rows = [numpy(r) for r in matching.sample_indices(labels, count, fraction, random)]
    return *masks, *rows


@pytest.mark.parametrize(
    "positives, negatives, ignored, expected",
    [
        (129, 129, 9, (8, 8)),  # more than enough
        (3, 129, 9, (3, 13)),  # negatives fill the rest
        (129, 2, 0, (8, 2)),  # positives do not fill the rest
        (0, 20, 0, (0, 16)),
        (1, 0, 0, (1, 0)),
        (0, 0, 5, (0, 0)),  # all padding
        (2, 3, 0, (2, 3)),  # fewer anchors than samples
    ],
)
def test_sample(positives, negatives, ignored, expected):
    row = np.repeat([1, 0, -1], [positives, negatives, ignored]).astype("int32")
    labels = np.stack([np.random.default_rng(k).permutation(row) for k in range(2)])
    chosen, rejected, index, kind = draws(labels, 16, 0.5)
    assert chosen.shape == rejected.shape == labels.shape
    assert index.shape == kind.shape == (2, 16)
    assert (labels[chosen] == 1).all() and (labels[rejected] == 0).all()
    for image in range(2):
        assert (chosen[image].sum(), rejected[image].sum()) == expected
        # the rows hold the same choice in order: positives, negatives, padding
        kinds = np.repeat([1, 0, -1], [*expected, 16 - sum(expected)])
        np.testing.assert_array_equal(kind[image], kinds)
        assert set(index[image][kinds == 1]) == set(np.flatnonzero(chosen[image]))
        assert set(index[image][kinds == 0]) == set(np.flatnonzero(rejected[image]))
        assert (index[image][kinds == -1] == 0).all()


def test_sample_is_uniform_and_depends_only_on_random():
    labels = np.tile(np.repeat([1, 0], [8, 8]).astype("int32"), (500, 1))
    first, second = draws(labels, 8, 0.5, seed=1), draws(labels, 8, 0.5, seed=1)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(first[0][:, :8].mean(axis=0) - 0.5).max() < 0.1
    assert np.abs(first[1][:, 8:].mean(axis=0) - 0.5).max() < 0.1


def test_ties_of_the_random_numbers_do_not_choose_more():
    labels = np.ones((1, 20), "int32")
    chosen, _ = matching.sample(labels, 8, 0.5, np.full((1, 20), 0.25, "float32"))
    assert numpy(chosen).sum() == 4


def test_one_rule_without_positives():
    labels = np.array([[1, 0, 0]], "int32")
    chosen, rejected, index, kind = draws(labels, 2, 0.0)
    assert chosen.sum() == 0 and rejected.sum() == 2 and kind.tolist() == [[0, 0]]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.function")
def test_tensorflow_graph_with_unknown_sizes():
    import tensorflow as tf

    spec = (None, None)
    sample = tf.function(
        lambda labels, random: (
            matching.sample(labels, 16, 0.5, random)
            + matching.sample_indices(labels, 16, 0.5, random)
        ),
        input_signature=[tf.TensorSpec(spec, tf.int32), tf.TensorSpec(spec)],
    )
    for anchors in (3, 129):
        labels = np.random.default_rng(0).integers(-1, 2, (2, anchors)).astype("int32")
        random = np.random.default_rng(0).random(labels.shape).astype("float32")
        for graph, eager in zip(sample(labels, random), draws(labels, 16, 0.5), strict=True):
            np.testing.assert_array_equal(graph, eager)


# --- Instances that were left out ----------------------------------------------------------------
def boxes_of(seed, count, side=60):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, side, (2, count, 2))
    sides = rng.uniform(2, 30, (2, count, 2))
    return np.concatenate([corner, corner + sides], -1).astype("float32")


def iou_of(a, b):
    """The IoU of boxes [n, 4] and [m, 4], or 0 for boxes without area."""
    low, high = np.maximum(a[:, None, :2], b[:, :2]), np.minimum(a[:, None, 2:], b[:, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-9)


def ignored(labels, anchors, left_out, *rule):
    arrays = map(ops.convert_to_tensor, (labels, anchors, left_out))
    return numpy(matching.ignore_left_out(*arrays, *rule))


@pytest.mark.parametrize("count", [0, 1, 129])
@pytest.mark.parametrize(("high", "low_quality"), [(0.3, True), (0.5, False)])
def test_negatives_on_instances_left_out_are_ignored(count, high, low_quality):
    anchors, left_out = boxes_of(0, 400), np.zeros((2, 200, 4), "float32")
    left_out[:, :count] = boxes_of(1, count)
    left_out[1, count // 2 :] = 0  # the images of a batch differ
    labels = np.random.default_rng(2).integers(-1, 2, (2, 400)).astype("int32")
    found = ignored(labels, anchors, left_out, high, low_quality)
    for image in range(2):
        iou = iou_of(anchors[image], left_out[image])
        best = iou.max(axis=0)
        near = iou >= high
        if low_quality:
            near |= (iou >= best * (1 - 1e-6)) & (best > 0)
        expected = np.where(near.any(axis=1) & (labels[image] == 0), -1, labels[image])
        np.testing.assert_array_equal(found[image], expected)
    assert (found != labels).any() == (count == 129 or low_quality and count == 1)


def test_a_box_without_area_hides_no_other():
    """In normalized coordinates, an instance of one pixel has no area, or is all zeros."""
    left_out = np.zeros((1, 8, 4), "float32")
    left_out[0, 2], left_out[0, 3] = [5, 5, 5, 9], [10, 10, 20, 20]
    labels = np.zeros((1, 2), "int32")
    anchors = np.array([[[10, 10, 20, 20], [30, 30, 40, 40]]], "float32")
    assert ignored(labels, anchors, left_out, 0.3).tolist() == [[-1, 0]]
