import numpy as np
import pytest
from keras import ops

from mrcnn.ops import nms


def numpy(value):
    return ops.convert_to_numpy(value)


def kept(boxes, scores, groups, count, threshold):
    boxes, scores = np.asarray(boxes, "float32"), np.asarray(scores, "float32")
    index, valid = nms.grouped_nms(
        ops.convert_to_tensor(boxes),
        ops.convert_to_tensor(scores),
        ops.convert_to_tensor(np.asarray(groups, "int32")),
        count,
        threshold,
    )
    index, valid = numpy(index), numpy(valid)
    assert index.shape == valid.shape == (len(boxes), count)
    return [row[flags].tolist() for row, flags in zip(index, valid, strict=True)]


BOXES = [[[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [0, 0, 10, 10]]]
SCORES = [[0.9, 0.8, 0.7, 0.6]]


def test_against_torchvision():
    assert kept(BOXES, SCORES, [[0, 1, 0, 1]], 4, 0.5) == [[0, 1, 2]]
    assert kept(BOXES, SCORES, [0, 1, 0, 1], 4, 0.5) == [[0, 1, 2]]
    assert kept(BOXES, SCORES, [0, 0, 0, 0], 4, 0.5) == [[0, 2]]
    assert kept(BOXES, SCORES, [0, 1, 2, 3], 3, 0.5) == [[0, 1, 2]]


@pytest.mark.parametrize("groups", [1, 5, 80, 1203])
@pytest.mark.parametrize("side", [100, 2048])
def test_equals_nms_of_each_group(groups, side):
    rng = np.random.default_rng(groups)
    corners = np.sort(rng.integers(-side // 10, side, (2, 129, 2, 2)), axis=2)
    boxes = corners.reshape(2, 129, 4).astype("float32")
    scores = rng.permutation(258).reshape(2, 129).astype("float32")
    scores[:, ::5] = -1e30
    group = rng.integers(0, min(groups, 7), (2, 129)) * (groups // 7 if groups > 7 else 1)
    expected = []
    for image in range(2):
        chosen = []
        for value in np.unique(group[image]):
            own = np.flatnonzero(group[image] == value)
            row = kept(
                boxes[image : image + 1, own],
                scores[image : image + 1, own],
                np.zeros(len(own)),
                129,
                0.4,
            )[0]
            chosen += own[row].tolist()
        expected.append(sorted(chosen, key=lambda i: -scores[image, i])[:60])
    assert kept(boxes, scores, group, 60, 0.4) == expected


def test_no_boxes_and_values_that_are_not_finite():
    assert kept(np.zeros((2, 0, 4)), np.zeros((2, 0)), np.zeros((2, 0)), 3, 0.5) == [[], []]
    assert kept(BOXES, np.full((1, 4), -1e30), [0, 0, 1, 1], 3, 0.5) == [[]]
    broken = np.array(BOXES, "float32")
    broken[0, 0, 2] = np.nan
    broken[0, 2, 3] = np.inf
    assert kept(broken, SCORES, [0, 0, 0, 0], 4, 0.5) == [[1]]
