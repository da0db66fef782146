import math

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn.network.heads.rpn import join_levels, rpn_head, rpn_model
from mrcnn.network.rois.anchors import PyramidAnchors
from mrcnn.network.rois.proposals import ProposalLayer

SIZES, RATIOS, STRIDES = (8, 16, 32, 48, 64), (0.5, 1, 2), (4, 8, 16, 32, 64)
STD, CLAMP = (0.1, 0.1, 0.2, 0.2), math.log(1000 / 16)


def numpy(value):
    return ops.convert_to_numpy(value)


def pyramid_of(height, width, channels=1, batch=2):
    return [np.zeros((batch, height // s, width // s, channels), "float32") for s in STRIDES]


def anchor_levels(height, width, stride=1):
    pyramid = pyramid_of(height, width)
    image = np.zeros((2, height, width, 3), "float32")
    layer = PyramidAnchors(SIZES, RATIOS, STRIDES, stride)
    return [numpy(level) for level in layer(image, pyramid)]


def anchors_of(height, width, stride=1):
    """Returns the anchors of all levels in one array."""
    return np.concatenate(anchor_levels(height, width, stride))


# --- Head --------------------------------------------------------------------------------------


def test_head_lists_anchors_cell_by_cell_then_ratio():
    inputs = [keras.Input((None, None, 6)) for _ in STRIDES]
    outputs = rpn_head(inputs, anchors_per_cell=3)
    assert outputs.scores is outputs.logits and outputs.probabilities is None
    logits, deltas = join_levels(outputs.logits, "a"), join_levels(outputs.deltas, "b")
    assert logits.shape == (None, None) and deltas.shape == (None, None, 4)
    model = keras.Model(inputs, [logits, deltas])
    assert len(model.trainable_weights) == 6  # one head for all levels
    rng = np.random.default_rng(0)
    pyramid = [rng.normal(size=m.shape[:3] + (6,)).astype("float32") for m in pyramid_of(64, 128)]
    logits, deltas = map(numpy, model(pyramid))
    assert logits.shape == (2, len(anchors_of(64, 128)))
    head = model.get_layer("rpn_model")
    shared = head.get_layer("rpn_conv_shared")(pyramid[1])
    raw_logits = numpy(head.get_layer("rpn_class_raw")(shared))
    raw_deltas = numpy(head.get_layer("rpn_bbox_pred")(shared))
    start = 16 * 32 * 3  # of P3, 8 x 16 cells
    for y, x, ratio in ((0, 0, 0), (0, 3, 2), (7, 15, 1)):
        row = start + (y * 16 + x) * 3 + ratio
        np.testing.assert_allclose(logits[:, row], raw_logits[:, y, x, ratio], atol=1e-6)
        np.testing.assert_allclose(
            deltas[:, row], raw_deltas[:, y, x, 4 * ratio : 4 * ratio + 4], atol=1e-6
        )


# --- Anchors -----------------------------------------------------------------------------------


def test_anchors_of_a_pyramid():
    anchors = anchors_of(64, 128)
    assert anchors.shape == (3 * (16 * 32 + 8 * 16 + 4 * 8 + 2 * 4 + 1 * 2), 4)
    np.testing.assert_allclose(anchors[1], [-2, -2, 6, 6])  # cell center 2, side 8, ratio 1
    tall = anchors[2]
    assert (tall[2] - tall[0]) / (tall[3] - tall[1]) == pytest.approx(2)
    np.testing.assert_allclose(anchors[-2], [0, 64, 64, 128])  # the last cell of P6


def test_anchors_of_every_second_cell():
    every, second = anchors_of(64, 64), anchors_of(64, 64, stride=2)
    assert len(second) == 3 * (8 * 8 + 4 * 4 + 2 * 2 + 1 + 1)
    assert {tuple(a) for a in second} <= {tuple(a) for a in every}


def test_strides_of_torchvision():
    """P6 of a padded height of 800 has 13 rows, which are 800 // 13 = 61 pixels apart."""
    image = np.zeros((1, 800, 1088, 1), "float32")
    pyramid = [np.zeros((1, -(-800 // s), 1088 // s, 1), "float32") for s in STRIDES]
    layer = PyramidAnchors((32, 64, 128, 256, 512), (0.5, 1, 2), STRIDES, offset=0.0, whole=True)
    made = np.concatenate([numpy(level) for level in layer(image, pyramid)])
    assert len(made) == 217_413
    p6 = made[-3 * 13 * 17 :][:, [1, 0, 3, 2]]
    assert p6[0].tolist() == [-362, -181, 362, 181]
    assert p6[3].tolist() == [-298, -181, 426, 181]  # the next column
    assert p6[3 * 17].tolist() == [-362, -120, 362, 242]  # the next row


# --- Proposals ---------------------------------------------------------------------------------


def layer_of(pre_nms=60, post_nms=40, threshold=0.7, min_side=1e-3):
    return ProposalLayer(pre_nms, post_nms, threshold, STD, min_side, name="ROI")


def by_level(array, height, width, stride=1):
    """Splits [batch, anchors, ...] into levels."""
    sizes = [len(level) for level in anchor_levels(height, width, stride)]
    return np.split(np.asarray(array), np.cumsum(sizes)[:-1], axis=1)


def whole(height, width, batch=2):
    return np.array([[0, 0, height, width]] * batch, "float32")


def random_outputs(anchors, seed=0, batch=2):
    rng = np.random.default_rng(seed)
    logits = rng.permutation(batch * len(anchors)).reshape(batch, -1) / 100 - 10
    deltas = rng.normal(0, 1, (batch, len(anchors), 4))
    deltas[:, ::50] *= 20  # some far too large
    return logits.astype("float32"), deltas.astype("float32")


def propose(height, width, logits, deltas, anchor_stride=1, **options):
    result = layer_of(**options)(
        by_level(logits, height, width, anchor_stride),
        by_level(deltas, height, width, anchor_stride),
        anchor_levels(height, width, anchor_stride),
        whole(height, width, len(logits)),
    )
    return numpy(result)


def iou(a, b):
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)


def nms(boxes, scores, threshold):
    kept = []
    for i in np.argsort(-scores):
        if all(iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def decode(boxes, deltas, height, width):
    deltas = deltas * np.array(STD)
    size = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + size / 2 + deltas[:, :2] * size
    size = size * np.exp(np.minimum(deltas[:, 2:], CLAMP))
    moved = np.concatenate([center - size / 2, center + size / 2], axis=1)
    return np.clip(moved, 0, [height, width, height, width])


def oracle(height, width, logits, deltas, pre_nms, post_nms, threshold, stride=1):
    anchors = anchors_of(height, width, stride).astype("float64")
    found, start = [], 0
    for s in STRIDES:
        cells = -(-(height // s) // stride) * -(-(width // s) // stride)
        rows = np.arange(start, start + 3 * cells)
        rows = rows[np.argsort(-logits[rows])][:pre_nms]
        start += 3 * cells
        boxes, scores = decode(anchors[rows], deltas[rows], height, width), logits[rows]
        big = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= 1e-3
        boxes, scores = boxes[big], scores[big]
        found += [(scores[i], boxes[i]) for i in nms(boxes, scores, threshold)]
    assert start == len(anchors)
    best = sorted(found, key=lambda pair: -pair[0])[:post_nms]
    result = np.zeros((post_nms, 4))
    result[: len(best)] = [box for _, box in best]
    return result


@pytest.mark.parametrize("size", [(64, 64), (128, 64)])
@pytest.mark.parametrize("stride", [1, 2])
def test_proposals_equal_numpy(size, stride):
    logits, deltas = random_outputs(anchors_of(*size, stride))
    result = propose(*size, logits, deltas, anchor_stride=stride)
    assert result.shape == (2, 40, 4)
    for image in range(2):
        expected = oracle(*size, logits[image], deltas[image], 60, 40, 0.7, stride)
        np.testing.assert_allclose(result[image], expected, rtol=1e-4, atol=1e-3)


def test_proposals_are_sorted_clipped_and_apart_within_a_level():
    anchors = anchors_of(64, 64)
    logits = np.full((1, len(anchors)), -5, "float32")
    first = 768  # P3. Scores are distinct, so that they identify the boxes
    logits[0, first : first + 192] = np.linspace(8, 1, 192)
    deltas = np.random.default_rng(1).normal(0, 1, (1, len(anchors), 4)).astype("float32")
    boxes = propose(64, 64, logits, deltas, pre_nms=192, post_nms=30, threshold=0.5)[0]
    assert boxes.min() >= 0 and boxes.max() <= 64
    moved = decode(anchors[first : first + 192], deltas[0, first : first + 192], 64, 64)
    ranks = [np.abs(moved - box).max(axis=1).argmin() for box in boxes]
    assert ranks == sorted(ranks) and len(set(ranks)) == 30
    worst = max(iou(boxes[i], boxes[j]) for i in range(30) for j in range(i))
    assert worst <= 0.5 + 1e-5


def test_levels_do_not_suppress_each_other():
    anchors = anchors_of(64, 64)
    logits = np.full((1, len(anchors)), -5, "float32")
    deltas = np.zeros((1, len(anchors), 4), "float32")
    here, there = 300, 768 + 100  # of P2 and of P3, moved onto the same box
    target = np.array([10, 12, 30, 36.0])
    for row, score in ((here, 9), (here + 1, 8), (there, 7)):
        a = anchors[row]
        size, wanted = a[2:] - a[:2], target[2:] - target[:2]
        shift = ((target[:2] + target[2:]) - (a[:2] + a[2:])) / 2 / size
        deltas[0, row] = np.array([*shift, *np.log(wanted / size)]) / STD
        logits[0, row] = score
    boxes = propose(64, 64, logits, deltas)[0]
    same = np.abs(boxes - target).max(axis=1) < 1e-3
    assert same[:2].all() and same.sum() == 2


def test_zero_rows_after_the_last():
    anchors = anchors_of(64, 64)
    logits, deltas = random_outputs(anchors)
    deltas[1] = 0
    deltas[1, :, 0] = -1000  # all are moved out of the image, so none is left
    boxes = propose(64, 64, logits, deltas, post_nms=300)
    assert (boxes[1] == 0).all()
    real = boxes[0].any(axis=1)
    assert 0 < real.sum() < 300 and (np.diff(real.astype(int)) <= 0).all()


def test_short_boxes_are_dropped():
    logits, deltas = random_outputs(anchors_of(64, 64))
    boxes = propose(64, 64, logits, deltas, min_side=12, post_nms=300)
    sides = (boxes[..., 2:] - boxes[..., :2]).min(axis=-1)
    assert (sides[boxes.any(axis=-1)] >= 12).all() and (sides > 0).any()


def test_more_proposals_begin_with_the_same_ones():
    """Training and detection keep different numbers of proposals from the same ranking."""
    logits, deltas = random_outputs(anchors_of(64, 64))
    few = propose(64, 64, logits, deltas)
    more = propose(64, 64, logits, deltas, post_nms=50)
    assert more.shape == (2, 50, 4)
    np.testing.assert_array_equal(more[:, :40], few)


def test_outputs_that_are_not_finite_propose_nothing():
    logits, deltas = random_outputs(anchors_of(64, 64))
    deltas[0] = np.nan
    boxes = propose(64, 64, logits, deltas)
    assert (boxes[0] == 0).all() and boxes[1].any()


def test_no_gradient_flows_through_proposals(gradient):
    if keras.backend.backend() == "torch":
        pytest.skip("a detached result has no gradient at all")
    logits, deltas = random_outputs(anchors_of(64, 64))
    cuts = np.cumsum([len(level) for level in anchor_levels(64, 64)])[:-1].tolist()
    anchors, scores, layer = anchor_levels(64, 64), by_level(logits, 64, 64), layer_of()

    def total(x):
        boxes = layer(scores, ops.split(x, cuts, axis=1), anchors, whole(64, 64))
        return ops.sum(boxes) + ops.sum(x)

    np.testing.assert_array_equal(gradient(total, deltas), 1)


def test_proposals_keep_to_the_window():
    logits, deltas = random_outputs(anchors_of(64, 64))
    levels = by_level(logits, 64, 64), by_level(deltas, 64, 64), anchor_levels(64, 64)
    window = np.array([[0, 0, 50, 64], [0, 0, 64, 33]], "float32")
    boxes = numpy(layer_of()(*levels, window))
    for found, (_, _, height, width) in zip(boxes, window, strict=True):
        assert (found >= 0).all() and (found <= [height, width, height, width]).all()


def test_limit_before_nms_is_per_level():
    logits, deltas = random_outputs(anchors_of(64, 64), batch=1)
    few = propose(64, 64, logits, deltas, pre_nms=5)
    many = propose(64, 64, logits, deltas)
    assert few.any(axis=-1).sum() <= 5 * 5 < many.any(axis=-1).sum()


def test_two_convolutions():
    model = rpn_model(4, anchors_per_cell=3, convolutions=2)
    names = [layer.name for layer in model.layers if layer.weights]
    assert names[:2] == ["rpn_conv_shared", "rpn_conv_shared2"]
