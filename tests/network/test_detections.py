import math

import numpy as np
import pytest
from keras import ops

from mrcnn.network.rois.detections import DetectionLayer, SelectMasks
from mrcnn.network.rois.pooling import PyramidROIAlign

STD, CLAMP, SIDE = (0.1, 0.1, 0.2, 0.2), math.log(1000 / 16), 128


def numpy(value):
    return ops.convert_to_numpy(value)


def detect(rois, probabilities, deltas, count=20, confidence=0.05, threshold=0.3):
    rois, probabilities, deltas = (np.asarray(a, "float32") for a in (rois, probabilities, deltas))
    window = np.array([[0, 0, SIDE, SIDE]] * len(rois), "float32")
    layer = DetectionLayer(count, confidence, threshold, STD)
    result = {k: numpy(v) for k, v in layer(rois, probabilities, deltas, window).items()}
    assert result["boxes"].shape == (len(rois), count, 4)
    assert result["class_ids"].shape == result["scores"].shape == (len(rois), count)
    assert result["class_ids"].dtype == np.int32
    assert all(np.isfinite(v).all() for v in result.values())
    real = result["class_ids"] > 0
    assert (np.diff(real.astype(int), axis=1) <= 0).all()  # padding comes last, and is zero
    assert (result["scores"][~real] == 0).all() and (result["boxes"][~real] == 0).all()
    assert (result["scores"][real] >= confidence).all()
    assert (np.diff(result["scores"], axis=1) <= 0).all()
    return result


def iou(a, b):
    overlap = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)


def oracle(rois, probabilities, deltas, count, confidence, threshold):
    """Decodes, clips, filters and suppresses per class, then takes the best of all classes."""
    found = []
    for c in range(1, probabilities.shape[-1]):
        kept = []
        for i in np.argsort(-probabilities[:, c]):
            score = probabilities[i, c]
            size = rois[i, 2:] - rois[i, :2]
            if score < confidence or size.prod() <= 0:
                continue
            delta = deltas[i, c] * STD
            center = rois[i, :2] + size / 2 + delta[:2] * size
            size = size * np.exp(np.minimum(delta[2:], CLAMP))
            box = np.clip(np.concatenate([center - size / 2, center + size / 2]), 0, SIDE)
            if (box[2:] - box[:2]).min() > 0 and all(iou(box, b) <= threshold for b, *_ in kept):
                kept.append((box, c, score))
        found += kept
    return sorted(found, key=lambda d: -d[2])[:count]


def random_head(seed, rois=60, classes=4, batch=2):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, SIDE - 30, (batch, rois, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(6, 50, (batch, rois, 2))], -1)
    boxes = np.clip(boxes, 0, SIDE)
    boxes[:, -7:] = 0  # padding
    odds = rng.dirichlet(np.full(classes, 0.4), (batch, rois))
    return boxes, odds, rng.normal(0, 1, (batch, rois, classes, 4))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [5, 129])
def test_detections_equal_numpy(seed, count):
    boxes, odds, deltas = random_head(seed)
    result = detect(boxes, odds, deltas, count)
    for image in range(2):
        expected = oracle(
            boxes[image], odds[image].astype("float32"), deltas[image], count, 0.05, 0.3
        )
        n = len(expected)
        assert (result["class_ids"][image] > 0).sum() == n
        np.testing.assert_array_equal(result["class_ids"][image, :n], [c for _, c, _ in expected])
        np.testing.assert_allclose(
            result["boxes"][image, :n], [b for b, *_ in expected], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(
            result["scores"][image, :n], [s for *_, s in expected], rtol=1e-5
        )


def test_one_detection_by_hand():
    deltas = np.full((1, 1, 3, 4), 9.0)
    deltas[0, 0, 2] = [1, 0, 0, np.log(2) / 0.2]  # a tenth of the height down, twice as wide
    result = detect([[[20, 40, 40, 60]]], [[[0.1, 0.02, 0.88]]], deltas)
    assert result["class_ids"][0].tolist() == [2] + [0] * 19
    np.testing.assert_allclose(result["boxes"][0, 0], [22, 30, 42, 70], atol=1e-4)
    assert result["scores"][0, 0] == pytest.approx(0.88)


def test_duplicates_go_within_a_class_only():
    boxes = [[[10, 10, 50, 50], [11, 10, 51, 50], [12, 10, 52, 50]]]
    odds = [[[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.3, 0.0, 0.7]]]
    result = detect(boxes, odds, np.zeros((1, 3, 3, 4)))
    assert result["class_ids"][0, :3].tolist() == [1, 2, 0]
    np.testing.assert_allclose(result["boxes"][0, 1], boxes[0][2], atol=1e-4)


def test_one_roi_may_hold_two_classes():
    result = detect([[[10, 10, 50, 50]]], [[[0.1, 0.5, 0.4]]], np.zeros((1, 1, 3, 4)))
    assert result["class_ids"][0, :3].tolist() == [1, 2, 0]


def test_nothing_is_found():
    boxes, odds, deltas = random_head(0)
    sure_background = np.zeros_like(odds)
    sure_background[..., 0] = 1
    assert not detect(boxes, sure_background, deltas)["class_ids"].any()
    assert not detect(boxes * 0, odds, deltas)["class_ids"].any()  # only padding RoIs
    assert not detect(boxes, odds, deltas, confidence=1.01)["class_ids"].any()
    assert not detect(boxes, odds, deltas * 0 - [1e4, 0, 0, 0])["class_ids"].any()  # outside


def test_confidence_exactly_reached_counts():
    boxes = [[[10, 10, 50, 50], [60, 60, 90, 90]]]
    odds = [[[0.5, 0.5], [0.5001, 0.4999]]]
    result = detect(boxes, odds, np.zeros((1, 2, 2, 4)), confidence=0.5)
    assert result["class_ids"][0].tolist() == [1] + [0] * 19


def test_values_that_are_not_finite_detect_nothing():
    boxes, odds, deltas = random_head(1)
    deltas[0] = np.nan
    assert not detect(boxes, odds, deltas)["class_ids"][0].any()


def test_mask_of_the_class():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 5, 6)).astype("float32")
    ids = np.array([[1, 5, 0], [2, 2, 3]], "int32")
    masks = numpy(SelectMasks()(logits, ids))
    assert masks.shape == (2, 3, 4, 5)
    for b in range(2):
        for n in range(3):
            expected = 1 / (1 + np.exp(-logits[b, n, :, :, ids[b, n]]))
            np.testing.assert_allclose(masks[b, n], expected, atol=1e-6)


def test_rois_are_pooled_from_the_level_of_their_size():
    maps = [np.full((1, 512 // s, 512 // s, 2), s, "float32") for s in (4, 8, 16, 32)]
    boxes = np.float32([[[16, 16, 16 + side, 16 + side] for side in (20, 54, 58, 114, 226, 480)]])
    pooled = numpy(PyramidROIAlign(3, (4, 8, 16, 32))(maps, boxes))
    assert pooled.shape == (1, 6, 3, 3, 2)
    # Half the canonical side of 224 is P3, a quarter and less P2, all of it P4, twice P5.
    np.testing.assert_allclose(pooled[0, :, 1, 1, 0], [4, 4, 4, 8, 16, 32])
    np.testing.assert_allclose(pooled.std(axis=(2, 3, 4)), 0, atol=1e-6)
