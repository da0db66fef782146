import cv2
import numpy as np
import pytest
from keras import ops

from mrcnn.images.masks import minimize_crop
from mrcnn.network.layers.matterport import CornerMaskTargets
from mrcnn.network.rois.targets import DetectionTargets, MaskTargets, RPNTargets, binary_masks

STD = (0.1, 0.1, 0.2, 0.2)
SIDE = 128


def numpy(value):
    return ops.convert_to_numpy(value)


def encode(box, gt, std):
    (h, w), (gh, gw) = box[2:] - box[:2], gt[2:] - gt[:2]
    shift = ((gt[:2] + gt[2:]) - (box[:2] + box[2:])) / 2 / (h, w)
    return np.array([*shift, np.log(gh / h), np.log(gw / w)]) / std


def random_boxes(rng, shape, side=SIDE):
    corner = rng.uniform(0, side - 20, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(4, 20, (*shape, 2))], -1).astype("float32")


# --- RPNTargets --------------------------------------------------------------------------------


def grid_anchors():
    """32 x 32 anchors, 8 wide, 4 apart."""
    low = np.arange(0, SIDE, 4, dtype="float32")
    y, x = np.meshgrid(low, low, indexing="ij")
    return np.stack([y, x, y + 8, x + 8], -1).reshape(-1, 4)


def rpn_targets(ids, boxes, count=32, seed=0, anchors=None):
    layer = RPNTargets(count, STD, seed=seed)
    anchors = grid_anchors() if anchors is None else np.asarray(anchors, "float32")
    result = layer(anchors, np.asarray(ids, "int32"), np.asarray(boxes, "float32"))
    positive, negative, deltas = map(numpy, result)
    assert positive.dtype == negative.dtype == bool
    assert positive.shape == negative.shape == (len(ids), len(anchors))
    assert deltas.shape == (len(ids), len(anchors), 4)
    assert not (positive & negative).any()
    assert np.isfinite(deltas).all()
    return positive, negative, deltas


def test_an_anchor_equal_to_an_object_is_positive():
    anchors = grid_anchors()
    positive, negative, deltas = rpn_targets([[3, 0]], [[anchors[333], np.zeros(4)]])
    assert np.flatnonzero(positive[0]).tolist() == [333]
    np.testing.assert_allclose(deltas[0, 333], 0, atol=1e-6)
    assert negative.sum() == 31


def test_the_best_anchor_of_an_object_is_positive_however_bad():
    positive, _, deltas = rpn_targets([[1]], [[[50, 50, 54, 90]]])
    chosen = np.flatnonzero(positive[0])
    assert len(chosen)
    for anchor in chosen:
        expected = encode(grid_anchors()[anchor], np.array([50, 50, 54, 90.0]), STD)
        np.testing.assert_allclose(deltas[0, anchor], expected, rtol=1e-4, atol=1e-5)


def test_thresholds():
    # IoU with the object: 0.7, just below 0.7, 0.5, 0.3, just below 0.3.
    anchors = [[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 6.99], [0, 0, 5, 10], [0, 0, 3, 10],
               [0, 0, 2.99, 10]]  # fmt: skip
    positive, negative, _ = rpn_targets([[1]], [[[0, 0, 10, 10]]], anchors=anchors)
    assert positive[0].tolist() == [True, True, False, False, False, False]
    assert negative[0].tolist() == [False, False, False, False, False, True]


@pytest.mark.parametrize("objects", [0, 1, 129])
def test_sample_of_anchors(objects):
    rng = np.random.default_rng(objects)
    boxes, ids = np.zeros((2, 129, 4)), np.zeros((2, 129), "int32")
    boxes[:, :objects] = random_boxes(rng, (2, objects))
    ids[:, :objects] = 1
    positive, negative, _ = rpn_targets(ids, boxes)
    if objects == 0:
        assert positive.sum() == 0 and (negative.sum(axis=1) == 32).all()
    if objects == 1:
        assert (positive.sum(axis=1) >= 1).all()
    if objects == 129:
        assert (positive.sum(axis=1) == 16).all()  # at most half
    assert ((positive | negative).sum(axis=1) == 32).all()


def test_anchors_on_crowds_are_ignored():
    positive, negative, _ = rpn_targets([[-1]], [[[0, 0, SIDE, 64]]], count=2000)
    assert positive.sum() == 0
    left = grid_anchors()[:, 1] < 64
    assert not negative[0, left].any() and negative[0, ~left].all()


def test_same_seed_same_anchors():
    boxes, ids = [[[10, 10, 40, 40]]], [[1]]
    first, again, other = (rpn_targets(ids, boxes, seed=seed)[1] for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_positive_and_negative_are_two_outputs_of_a_graph():
    """If one symbolic output were used twice, both arrays would be the same."""
    import keras

    inputs = [keras.Input(s, dtype=d) for s, d in (((1,), "int32"), ((1, 4), "float32"))]
    anchors = grid_anchors()
    outputs = RPNTargets(32, STD, seed=0)(ops.convert_to_tensor(anchors), *inputs)
    assert outputs[0] is not outputs[1]
    model = keras.Model(inputs, list(outputs))
    positive, negative, _ = model([np.array([[1]], "int32"), anchors[None, 500:501]])
    assert numpy(positive).sum() == 1 and numpy(negative).sum() == 31
    assert not (numpy(positive) & numpy(negative)).any()


# --- DetectionTargets --------------------------------------------------------------------------

IMAGE = np.zeros((1, SIDE, SIDE, 3), "float32")


def targets(
    proposals, ids, boxes, masks=None, count=12, ratio=0.34, seed=0, full_masks=False, **options
):
    ids, boxes = np.asarray(ids, "int32"), np.asarray(boxes, "float32")
    proposals = np.asarray(proposals, "float32").reshape(len(ids), -1, 4)
    layer = DetectionTargets(count, ratio, STD, seed=seed, **options)
    result = {k: numpy(v) for k, v in layer(proposals, ids, boxes).items()}
    if masks is not None:
        image = np.zeros((len(ids), SIDE, SIDE, 3), "float32")
        rows = slice(layer.max_positives)
        rois, matched = result["rois"][:, rows], result["matched"][:, rows]
        cut = MaskTargets((14, 14), full_masks)(image, boxes, masks, rois, matched)
        result["masks"] = numpy(cut)
    assert result["rois"].shape == result["deltas"].shape == (len(ids), count, 4)
    assert result["valid"].shape == result["class_ids"].shape == (len(ids), count)
    assert all(np.isfinite(v).all() for v in result.values())
    # Foreground, then background, then zero rows.
    order = np.where(result["class_ids"] > 0, 2, result["valid"] * 1)
    assert (np.diff(order, axis=1) <= 0).all()
    assert (order[:, int(count * ratio) :] < 2).all()
    assert (result["rois"][~result["valid"]] == 0).all()
    assert (result["class_ids"] >= 0).all()
    return result


def test_exactly_half_an_overlap_is_foreground():
    proposals = [[0, 0, 10, 20], [0, 0, 9.99, 20]]
    result = targets(proposals, [[2]], [[[0, 0, 20, 20]]], append_gt=False)
    assert result["class_ids"][0, :2].tolist() == [2, 0]
    assert result["valid"][0].sum() == 2
    np.testing.assert_array_equal(result["rois"][0, :2], np.float32(proposals))
    expected = encode(np.array(proposals[0]), np.array([0, 0, 20, 20.0]), STD)
    np.testing.assert_allclose(result["deltas"][0, 0], expected, rtol=1e-4, atol=1e-5)


def test_each_proposal_learns_its_best_object():
    boxes = [[[0, 0, 20, 20], [0, 4, 20, 24], [60, 60, 90, 90]]]
    proposals = [[0, 3, 20, 23], [61, 60, 91, 90], [0, 1, 20, 21]]
    result = targets(proposals, [[5, 6, 7]], boxes, append_gt=False)
    found = {tuple(r): c for r, c in zip(result["rois"][0], result["class_ids"][0], strict=True)}
    assert [found[tuple(map(float, p))] for p in proposals] == [6, 7, 5]


def test_objects_join_the_proposals():
    box = [[10, 10, 40, 50]]
    proposals = [[80, 80, 100, 100]]
    joined = targets(proposals, [[4]], [box])
    assert joined["class_ids"][0, :2].tolist() == [4, 0]
    np.testing.assert_array_equal(joined["rois"][0, 0], box[0])
    np.testing.assert_allclose(joined["deltas"][0, 0], 0, atol=1e-6)
    alone = targets(proposals, [[4]], [box], append_gt=False)
    assert (alone["class_ids"] == 0).all() and alone["valid"].sum() == 1


def test_crowds_are_ignored():
    crowd = [0, 0, 60, 60]
    proposals = [crowd, [5, 5, 55, 55], [70, 70, 90, 90]]
    result = targets(proposals, [[-3, 0]], [[crowd, [0] * 4]])
    assert (result["class_ids"] == 0).all()  # a crowd is neither a positive nor appended as a RoI
    assert result["valid"][0].sum() == 1  # and RoIs on a crowd are not background
    np.testing.assert_array_equal(result["rois"][0, 0], proposals[2])


def test_an_object_inside_a_crowd_still_counts():
    boxes = [[[0, 0, 60, 60], [10, 10, 30, 30]]]
    result = targets([[0, 0, 0, 0]], [[-3, 2]], boxes)
    assert result["class_ids"][0].tolist() == [2] + [0] * 11
    np.testing.assert_array_equal(result["rois"][0, 0], boxes[0][1])


@pytest.mark.parametrize("append_gt", [True, False])
def test_no_proposals_and_no_objects(append_gt):
    mask = np.zeros((1, 2, 28, 28), "uint8")
    result = targets(np.zeros((1, 5, 4)), [[0, 0]], np.zeros((1, 2, 4)), mask, append_gt=append_gt)
    assert not result["valid"].any()
    assert all((result[name] == 0).all() for name in ("rois", "class_ids", "masks"))


def test_no_proposals_at_all():
    result = targets(np.zeros((1, 0, 4)), [[1]], [[[5, 5, 20, 20]]])
    assert result["class_ids"][0].tolist() == [1] + [0] * 11 and result["valid"].sum() == 1


def test_no_objects_only_background():
    proposals = random_boxes(np.random.default_rng(0), (1, 30))
    mask = np.zeros((1, 3, 28, 28), "uint8")
    result = targets(proposals, [[0, 0, 0]], np.zeros((1, 3, 4)), mask)
    assert result["valid"].all() and (result["class_ids"] == 0).all()
    assert (result["masks"] == 0).all()


@pytest.mark.parametrize("objects", [1, 129])
def test_share_of_positives(objects):
    rng = np.random.default_rng(objects)
    boxes = random_boxes(rng, (2, objects))
    background = np.tile(np.float32([[[100, 100, 128, 128]]]), (2, 40, 1))
    proposals = np.concatenate([boxes + 0.25, background, boxes - 0.25], axis=1)
    result = targets(np.clip(proposals, 0, SIDE), np.ones((2, objects)), boxes, count=32)
    positives = (result["class_ids"] > 0).sum(axis=1)
    assert (positives == (3 if objects == 1 else int(32 * 0.34))).all()
    assert result["valid"].all()


def test_same_seed_same_rois():
    rng = np.random.default_rng(3)
    proposals, boxes = random_boxes(rng, (1, 60)), random_boxes(rng, (1, 4))
    first, again, other = (
        targets(proposals, [[1, 2, 3, 0]], boxes, seed=seed)["rois"] for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_next_call_draws_again():
    proposals = random_boxes(np.random.default_rng(4), (1, 60))
    layer = DetectionTargets(8, 0.25, STD, seed=1)
    arguments = (proposals, np.zeros((1, 1), "int32"), np.zeros((1, 1, 4), "float32"))
    assert (numpy(layer(*arguments)["rois"]) != numpy(layer(*arguments)["rois"])).any()


def test_mask_of_a_known_rectangle():
    """The object fills the left half of its box. Each RoI crops its part of the mask."""
    mini = np.zeros((1, 2, 28, 28), "uint8")
    mini[0, 1, :, :14] = 255
    boxes = [[[100, 100, 110, 110], [20, 20, 76, 76]]]
    proposals = [[20, 20, 76, 76], [20, 34, 76, 90], [6, 20, 62, 76]]
    result = targets(proposals, [[0, 9]], boxes, mini, append_gt=False, ratio=0.5)
    masks = {tuple(r): m for r, m in zip(result["rois"][0], result["masks"][0], strict=False)}
    whole, right, up = (masks[tuple(map(float, p))] for p in proposals)
    columns, rows = np.arange(14) < 7, np.arange(14)
    np.testing.assert_array_equal(whole, np.tile(columns, (14, 1)))
    # Moved right by a quarter: 3.5 of 14 cells remain, and the half cell is half covered.
    np.testing.assert_array_equal(right[:, :3], 1)
    np.testing.assert_array_equal(right[:, 4:], 0)
    # Moved up by a quarter: the first 3.5 rows lie outside the object.
    np.testing.assert_array_equal(up[rows >= 4], whole[rows >= 4])
    np.testing.assert_array_equal(up[rows < 3], 0)
    assert set(np.unique(result["masks"])) == {0.0, 1.0}


def test_full_masks_give_what_mini_masks_give():
    full = np.zeros((1, 1, SIDE, SIDE), "uint8")
    full[0, 0, 16:72, 20:48] = 255
    mini = np.zeros((1, 1, 56, 56), "uint8")
    mini[0, 0, :, :28] = 255
    boxes, proposals = [[[16, 20, 72, 76]]], [[16, 20, 72, 76], [12, 24, 68, 80]]
    a = targets(proposals, [[1]], boxes, mini, append_gt=False)
    b = targets(proposals, [[1]], boxes, full, append_gt=False, full_masks=True)
    assert a["masks"].sum() > 100
    np.testing.assert_array_equal(a["masks"], b["masks"])


# --- Instances without a row of ground truth ---------------------------------------------------
def crowded(kept=10, instances=40):
    """Boxes of many instances, of which the first have a row."""
    rng = np.random.default_rng(0)
    boxes = random_boxes(rng, (1, instances))
    ids, rows = np.ones((1, kept), "int32"), np.zeros((1, 64, 4), "float32")
    rows[0, : instances - kept] = boxes[0, kept:]
    return boxes, ids, rows


def test_no_anchor_is_negative_that_would_be_positive_with_room_for_all():
    boxes, ids, left_out = crowded()
    anchors, many = grid_anchors(), np.ones((1, 40), "int32")
    layer = RPNTargets(5000, STD, seed=0)  # takes all
    every, clear, _ = map(numpy, layer(anchors, many, boxes))
    positive, negative, _ = map(numpy, layer(anchors, ids, boxes[:, :10], left_out))
    _, careless, _ = map(numpy, layer(anchors, ids, boxes[:, :10]))
    assert (every & careless).any() and not (every & negative).any()
    np.testing.assert_array_equal(negative, clear & ~positive)  # not one more than needed is lost
    nothing = map(numpy, layer(anchors, ids, boxes[:, :10], np.zeros_like(left_out)))
    for found, expected in zip(nothing, layer(anchors, ids, boxes[:, :10]), strict=True):
        np.testing.assert_array_equal(found, numpy(expected))


@pytest.mark.parametrize("balanced", [False, True])
def test_no_roi_on_an_instance_left_out_is_background(balanced):
    boxes, ids, left_out = crowded()
    layer = DetectionTargets(64, 0.5, STD, seed=0, balanced=balanced)
    proposals = np.concatenate([boxes, random_boxes(np.random.default_rng(1), (1, 200))], axis=1)
    found = layer(proposals, ids, boxes[:, :10], left_out)
    rois, kind = numpy(found["rois"])[0], numpy(found["class_ids"])[0]
    background = rois[numpy(found["valid"])[0] & (kind == 0)]
    low = np.maximum(background[:, None, :2], boxes[0, :, :2])
    high = np.minimum(background[:, None, 2:], boxes[0, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (background, boxes[0])]
    assert len(background) and (both / (areas[0][:, None] + areas[1] - both) < 0.5).all()


# --- Thin instances ----------------------------------------------------------------------------
def drawn(kind, thickness, side):
    """A mask of thin lines that is as large as its box, bool [side, side]."""
    mask, middle, last = np.zeros((side, side), np.uint8), side // 2, side - 1
    if kind == "diagonal":
        cv2.line(mask, (0, 0), (last, last), 1, thickness)
    elif kind == "cross":
        cv2.line(mask, (0, middle), (last, middle), 1, thickness)
        cv2.line(mask, (middle, 0), (middle, last), 1, thickness)
    else:
        cv2.circle(mask, (middle, middle), middle - 2, 1, thickness)
    return mask > 0


@pytest.mark.parametrize("layer", [MaskTargets, CornerMaskTargets])
@pytest.mark.parametrize("side", [60, 300, 1500])
@pytest.mark.parametrize("thickness", [1, 2, 3])
@pytest.mark.parametrize("kind", ["diagonal", "cross", "ring"])
def test_thin_instances_keep_a_mask(kind, thickness, side, layer):
    mask = drawn(kind, thickness, side)
    mini = minimize_crop(mask, (56, 56))
    box = np.array([[[0, 0, side, side]]], "float32")
    image = np.zeros((1, side, side, 3), "float32")
    target = layer((28, 28))(image, box, mini[None, None], box, np.zeros((1, 1), "int32"))
    target = numpy(target)[0, 0] > 0
    cells = (np.arange(side) * 28 / side).astype(int)
    touched = np.zeros((28, 28), bool)
    ys, xs = np.nonzero(mask)
    touched[cells[ys], cells[xs]] = True
    near = cv2.dilate(touched.astype(np.uint8), np.ones((3, 3))) > 0
    assert (target & near).sum() >= 15 and not (target & ~near).any()
    # A line of one cell across the grid, whose whole length is seen.
    assert (target.any(axis=0) & target.any(axis=1)).mean() > 0.6


def test_solid_masks_are_cut_at_one_half():
    soft = np.random.default_rng(0).uniform(0.2, 1, (2, 3, 28, 28)).astype("float32")
    soft[:, :, :4] = 0
    found = numpy(binary_masks(ops.convert_to_tensor(soft)))
    np.testing.assert_array_equal(found, (soft >= 0.5).astype("float32"))
    assert not numpy(binary_masks(ops.zeros((1, 2, 7, 7)))).any()
