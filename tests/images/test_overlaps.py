"""Overlaps, matching, and stored values of Matterport's AP functions."""

import numpy as np
import pytest

from mrcnn.compat import metrics
from mrcnn.images import overlaps as ov


def test_matching_is_the_largest():
    overlaps = np.array([[0.9, 0.6], [0.6, 0.0]])  # a greedy choice of .9 leaves nothing for row 1
    assert sorted(ov.matched_rows(overlaps, 0.5)) == [0, 1]
    assert ov.matched_rows(overlaps, 0.7).tolist() == [0]
    assert ov.matched_rows(np.zeros((3, 0)), 0.5).size == 0
    assert ov.matched_rows(np.zeros((0, 3)), 0.5).size == 0


# --- Matterport's names --------------------------------------------------------------------------
@pytest.fixture
def golden():
    def mask(y1, y2, x1, x2):
        full = np.zeros((20, 20), bool)
        full[y1:y2, x1:x2] = True
        return full

    gt = [(0, 10, 0, 10), (10, 20, 10, 20)]
    found = [(0, 10, 0, 10), (0, 5, 10, 20), (10, 20, 12, 20)]

    def boxes(regions):
        return np.array([[y1, x1, y2, x2] for y1, y2, x1, x2 in regions])

    return (
        boxes(gt),
        np.array([1, 2]),
        np.stack([mask(*r) for r in gt], -1),
        boxes(found),
        np.array([1, 1, 2]),
        np.array([0.9, 0.8, 0.7]),
        np.stack([mask(*r) for r in found], -1),
    )


def test_golden_compute_ap(golden):
    mean, precisions, recalls, overlaps = metrics.compute_ap(*golden)
    assert mean == pytest.approx(0.8333333)
    np.testing.assert_allclose(precisions, [1, 1, 0.6667, 0.6667, 0], atol=1e-4)
    np.testing.assert_allclose(recalls, [0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(overlaps, [[1, 0], [0, 0], [0, 0.8]])
    assert overlaps.dtype == np.float32


def test_golden_matches_ignore_order_and_padding(golden):
    gt_match, pred_match, _ = ov.compute_matches(*golden)
    assert gt_match.tolist() == [0, 2] and pred_match.tolist() == [0, -1, 1]
    boxes, ids, masks, *found = golden
    turned = [part[..., ::-1] if part.ndim == 3 else part[::-1] for part in found]
    padded = np.concatenate([boxes, np.zeros((2, 4), int)])
    gt_match, pred_match, _ = ov.compute_matches(padded, ids, masks, *turned)
    assert gt_match.tolist() == [0, 2] and pred_match.tolist() == [0, -1, 1]
    # the score threshold has always been compared with overlaps
    assert ov.compute_matches(*golden, score_threshold=0.85)[1].tolist() == [0, -1, -1]


def test_golden_range_and_recall(golden, capsys):
    assert metrics.compute_ap_range(*golden, verbose=0) == pytest.approx(0.7333333)
    assert capsys.readouterr().out == ""
    assert metrics.compute_ap_range(*golden, iou_thresholds=np.array([0.5, 0.9])) == pytest.approx(
        (0.8333333 + 0.5) / 2
    )
    assert len(capsys.readouterr().out.splitlines()) == 3
    recall, ids = metrics.compute_recall(golden[3], golden[0], 0.5)
    assert recall == 1.0 and ids.tolist() == [0, 2]


def test_old_metrics_at_the_edges(golden):
    none = (np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), np.zeros((20, 20, 0), bool))
    assert metrics.compute_ap(*golden[:3], *none)[0] == 0.0
    assert metrics.compute_ap(none[0], none[1], none[3], *golden[3:])[0] == 0.0
    assert metrics.compute_recall(none[0], golden[0], 0.5)[0] == 0.0
    assert ov.compute_overlaps_masks(none[3], golden[2]).shape == (0, 2)
    with pytest.raises(ValueError, match=r"\(20, 20, 2\) and \(10, 20, 2\)"):
        ov.compute_overlaps_masks(golden[2], golden[2][:10])


@pytest.mark.parametrize("count", [1, 129])
def test_mask_overlaps_against_numpy(count):
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 12, 17, count)) > 0.7
    flat1, flat2 = (m.reshape(-1, count).astype(float) for m in (first, second))
    both = flat1.T @ flat2
    either = flat1.sum(0)[:, None] + flat2.sum(0) - both
    np.testing.assert_allclose(ov.compute_overlaps_masks(first, second), both / either, rtol=1e-6)
    soft = first.astype(np.float32) * 0.6  # values above 0.5 are inside
    np.testing.assert_array_equal(
        ov.compute_overlaps_masks(soft, second),
        ov.compute_overlaps_masks(first, second),
    )
