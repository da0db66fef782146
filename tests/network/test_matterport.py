"""The stages of the Matterport dialect, compared with the old algorithms in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from mrcnn import dialects, utils
from mrcnn.config import Config
from mrcnn.network.backbones import resnet
from mrcnn.network.layers import losses
from mrcnn.network.layers.basic import leaf_layers
from mrcnn.network.layers.matterport import CornerMaskTargets, CornerPooling
from mrcnn.network.mask_rcnn import Network
from mrcnn.network.rois.detections import DetectionLayer
from mrcnn.network.rois.proposals import ProposalLayer
from mrcnn.network.rois.targets import DetectionTargets

STD = np.array([0.1, 0.1, 0.2, 0.2])


def numpy(value):
    return ops.convert_to_numpy(value)


DIALECT = dialects.named("matterport")


def config(**changes):
    made = Config(**{"NAME": "old", "NUM_CLASSES": 4, "NUMERICS": "matterport"} | changes)
    made.adopt(DIALECT.settings)
    made.validate()
    return made


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def normalized(rng, *shape):
    corner = rng.uniform(0, 0.7, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(0.01, 0.4, (*shape, 2))], -1).clip(0, 1)


# --- Layers and weights --------------------------------------------------------------------------
def test_weights_are_those_of_the_old_network():
    """45,088,120 parameters in 384 tensors (ResNet-50, 81 classes)."""
    model = Network(config(BACKBONE="resnet50", NUM_CLASSES=81)).training
    weights = [w for layer in leaf_layers(model) for w in layer.weights if "seed" not in w.path]
    assert len(weights) == 384
    assert sum(int(np.prod(w.shape)) for w in weights) == 45_088_120
    shapes = {
        layer.name: tuple(layer.weights[0].shape) for layer in leaf_layers(model) if layer.weights
    }
    assert shapes["rpn_conv_shared"] == (3, 3, 256, 512)
    assert shapes["rpn_class_raw"] == (1, 1, 512, 6)
    assert shapes["mrcnn_class_conv1"] == (7, 7, 256, 1024)
    assert shapes["mrcnn_class_bn1"] == (1024,) and shapes["mrcnn_mask_bn4"] == (256,)
    assert shapes["mrcnn_mask_deconv"] == (2, 2, 256, 256)
    assert shapes["mrcnn_bbox_fc"] == (1024, 324)


def test_resnet_strides_first_with_biases():
    image = keras.Input((64, 64, 3))
    body = keras.Model(
        image, resnet.resnet(image, "resnet50", norm="statistics", width=8, **vars(DIALECT.resnet))
    )
    assert body.get_layer("conv1").use_bias and body.get_layer("res4c_branch2b").use_bias
    assert body.get_layer("skip3a_branch2a").strides == (2, 2)
    assert body.get_layer("res3a_branch2b").strides == (1, 1)
    assert body.get_layer("bn2a_branch2a").epsilon == 1e-3
    ramp = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    pooled = numpy(body.get_layer("pool1")(ramp))[0, :, :, 0]
    assert pooled.tolist() == [[10, 11], [14, 15]]


def test_anchors():
    side = 128
    settings = config(IMAGE_MIN_DIM=side, IMAGE_MAX_DIM=side, BACKBONE="resnet18")
    network = Network(settings)
    levels = keras.Model(network.image, network.trunk.anchors)(np.zeros((1, side, side, 3)))
    anchors = np.concatenate([numpy(level) for level in levels])
    shapes = [(side // stride,) * 2 for stride in settings.BACKBONE_STRIDES]
    expected = utils.generate_pyramid_anchors(
        settings.RPN_ANCHOR_SCALES, settings.RPN_ANCHOR_RATIOS, shapes, settings.BACKBONE_STRIDES, 1
    )
    expected = utils.norm_boxes(expected, (side, side))
    np.testing.assert_allclose(numpy(anchors), expected, atol=1e-6)


# --- Proposals -----------------------------------------------------------------------------------
def old_proposals(scores, deltas, anchors, pre_nms, count, threshold):
    """Takes the best scores of all levels, applies the deltas, clips, and runs one NMS."""
    order = np.argsort(-scores, kind="stable")[:pre_nms]
    boxes = utils.apply_box_deltas(anchors[order], (deltas[order] * STD).astype("float32"))
    boxes = boxes.clip(0, 1)
    kept = utils.non_max_suppression(boxes, scores[order], threshold)[:count]
    return np.pad(boxes[kept], ((0, count - len(kept)), (0, 0)))


def test_proposals(rng):
    sides = (32, 16, 8, 4, 2)
    count = 3 * sum(side**2 for side in sides)
    anchors = normalized(rng, count).astype("float32")
    scores = rng.permutation(2 * count).reshape(2, -1).astype("float32") / 100 - 20
    deltas = rng.normal(0, 1, (2, count, 4)).astype("float32")
    layer = ProposalLayer(600, 50, 0.7, STD, **vars(DIALECT.proposals))
    cuts = np.cumsum([3 * side**2 for side in sides])[:-1]
    levels = [np.split(array, cuts, axis=-2) for array in (scores[..., None], deltas, anchors)]
    scores_of_levels = [level[..., 0] for level in levels[0]]
    result = numpy(layer(scores_of_levels, *levels[1:], None))
    for row in range(2):
        expected = old_proposals(scores[row], deltas[row], anchors, 600, 50, 0.7)
        np.testing.assert_allclose(result[row], expected, atol=1e-6)


# --- Pooling -------------------------------------------------------------------------------------
def bilinear(feature_map, y, x):
    """Returns one bilinear sample, which is 0 outside of the map."""
    height, width = feature_map.shape[:2]
    if not (0 <= y <= height - 1 and 0 <= x <= width - 1):
        return np.zeros(feature_map.shape[2])
    top, left = int(np.floor(y)), int(np.floor(x))
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    above = feature_map[top, left] * (1 - x + left) + feature_map[top, right] * (x - left)
    below = feature_map[bottom, left] * (1 - x + left) + feature_map[bottom, right] * (x - left)
    return above * (1 - y + top) + below * (y - top)


def old_crop(feature_map, box, size):
    y1, x1, y2, x2 = box * np.array([s - 1 for s in feature_map.shape[:2]] * 2)
    step_y, step_x = (y2 - y1) / (size - 1), (x2 - x1) / (size - 1)
    return np.array(
        [
            [bilinear(feature_map, y1 + i * step_y, x1 + j * step_x) for j in range(size)]
            for i in range(size)
        ]
    )


def test_pooling(rng):
    """The level is rounded to the nearest, and samples lie on the corners of the box."""
    maps = [rng.normal(size=(2, 128 // s, 128 // s, 3)).astype("float32") for s in (4, 8, 16, 32)]
    boxes = normalized(rng, 2, 12).astype("float32")
    boxes[0, :4] = [[0, 0, 0, 0], [0.1, 0.1, 0.11, 0.12], [0.2, 0, 0.9, 0.99], [0, 0.5, 0.6, 0.9]]
    pooled = numpy(CornerPooling(3, (4, 8, 16, 32))(maps, boxes))
    levels = set()
    for image in range(2):
        for row, box in enumerate(boxes[image]):
            height, width = box[2:] - box[:2]
            size = np.sqrt(height * width) / (224 / np.sqrt(128 * 128))
            level = int(np.clip(4 + np.round(np.log2(max(size, 1e-30))), 2, 5))
            levels.add(level)
            expected = old_crop(maps[level - 2][image], box, 3)
            np.testing.assert_allclose(pooled[image, row], expected, atol=1e-4)
    assert levels == {2, 3}


@pytest.mark.parametrize("side, level", [(80, 2), (81, 3), (159, 3), (160, 4), (317, 4), (318, 5)])
def test_levels_of_a_1024_image(side, level):
    """From the old code: P2 up to 80 pixels, P3 from 81 to 159, P4 from 160 to 317."""
    from mrcnn.ops.roi_align import assign_nearest_levels

    box = utils.norm_boxes(np.array([[100, 100, 100 + side, 100 + side]]), (1024, 1024))
    assert numpy(assign_nearest_levels(box, 1024 * 1024)).tolist() == [level]


# --- Detections ----------------------------------------------------------------------------------
def old_detections(rois, probabilities, deltas, window, count, confidence, threshold):
    class_ids = probabilities.argmax(axis=1)
    rows = np.arange(len(rois))
    scores = probabilities[rows, class_ids]
    moved = utils.apply_box_deltas(rois, (deltas[rows, class_ids] * STD).astype("float32"))
    low, high = np.tile(window[:2], 2), np.tile(window[2:], 2)
    moved = moved.clip(low, high)
    keep = np.flatnonzero((class_ids > 0) & (scores >= confidence))
    chosen = []
    for class_id in np.unique(class_ids[keep]):
        mine = keep[class_ids[keep] == class_id]
        chosen += list(mine[utils.non_max_suppression(moved[mine], scores[mine], threshold)])
    chosen = sorted(chosen, key=lambda row: -scores[row])[:count]
    return moved[chosen], class_ids[chosen], scores[chosen]


def test_detections(rng):
    rois = normalized(rng, 2, 60).astype("float32")
    logits = rng.normal(0, 2, (2, 60, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    probabilities = probabilities.astype("float32")
    deltas = rng.normal(0, 1, (2, 60, 4, 4)).astype("float32")
    windows = np.array([[0, 0.125, 1, 0.875], [0.2, 0, 0.8, 1]], "float32")
    layer = DetectionLayer(20, 0.5, 0.3, STD, **vars(DIALECT.detections))
    found = {
        name: numpy(value) for name, value in layer(rois, probabilities, deltas, windows).items()
    }
    for row in range(2):
        boxes, class_ids, scores = old_detections(
            rois[row], probabilities[row], deltas[row], windows[row], 20, 0.5, 0.3
        )
        n = len(scores)
        assert 5 < n and not found["class_ids"][row, n:].any()
        np.testing.assert_allclose(found["boxes"][row, :n], boxes, atol=1e-6)
        np.testing.assert_array_equal(found["class_ids"][row, :n], class_ids)
        np.testing.assert_allclose(found["scores"][row, :n], scores, atol=1e-6)


# --- Targets and losses --------------------------------------------------------------------------
@pytest.mark.parametrize("objects, positives, negatives", [(1, 1, 2), (2, 2, 4), (0, 0, 0)])
def test_negatives_keep_the_ratio(objects, positives, negatives):
    """1 positive gets 2 negatives, 2 get 4, and without positives there are none (ratio .33)."""
    gt = np.array([[[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.9, 0.9]]], "float32")
    ids = np.array([[1 * (objects > 0), 2 * (objects > 1)]], "int32")
    background = np.full((1, 60, 4), [0.4, 0.1, 0.5, 0.2], "float32")
    layer = DetectionTargets(20, 0.33, STD, **vars(DIALECT.targets))
    image, masks = np.zeros((1, 64, 64, 3), "float32"), np.full((1, 2, 56, 56), 255, "uint8")
    proposals = np.concatenate([gt, background], axis=1) if objects else background
    if objects == 1:
        proposals = np.concatenate([gt[:, :1], background], axis=1)
    targets = {k: numpy(v) for k, v in layer(proposals, ids, gt).items()}
    cut = numpy(CornerMaskTargets((28, 28))(image, gt, masks, targets["rois"], targets["matched"]))
    assert (targets["class_ids"] > 0).sum() == positives
    assert targets["valid"].sum() == positives + negatives
    assert cut[0, :positives].all()


def test_mask_targets_are_cut_from_corner_to_corner(rng):
    gt = np.array([[[0.2, 0.2, 0.6, 0.8]]], "float32")
    rois = np.array([[[0.25, 0.15, 0.6, 0.7]]], "float32")
    mini = rng.integers(0, 2, (56, 56)).astype("uint8")
    image, matched = np.zeros((1, 64, 64, 3), "float32"), np.zeros((1, 1), "int32")
    found = CornerMaskTargets((28, 28))(image, gt, mini[None, None] * 255, rois, matched)
    origin, size = gt[0, 0, :2], gt[0, 0, 2:] - gt[0, 0, :2]
    inside = (rois[0, 0].reshape(2, 2) - origin) / size
    soft = old_crop(mini[..., None].astype(float), inside.reshape(-1), 28)[..., 0]
    clear = np.abs(soft - 0.5) > 1e-4  # not a tie
    np.testing.assert_array_equal(numpy(found)[0, 0][clear], soft[clear] >= 0.5)


def smooth_l1(difference):
    difference = np.abs(difference)
    return np.where(difference < 1, 0.5 * difference**2, difference - 0.5)


def test_losses(rng):
    """Box losses are means over the positives; padding is background in the class loss."""
    target, deltas = rng.normal(size=(2, 2, 9, 4)).astype("float32") * 2
    positive = np.zeros((2, 9), bool)
    positive[0, :3] = positive[1, 0] = True
    negative = ~positive & (np.arange(9) < 6)
    loss = losses.rpn_box_loss(target, deltas, positive, negative, 1.0, over_positives=True)
    expected = smooth_l1(target - deltas)[positive].mean()
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    class_ids = np.where(positive, 2, 0).astype("int32")
    per_class = rng.normal(size=(2, 9, 4, 4)).astype("float32")
    valid = np.arange(9)[None] < np.array([[7], [5]])
    loss = losses.box_loss(target, class_ids, per_class, valid, 1.0, over_positives=True)
    expected = smooth_l1(target - per_class[:, :, 2])[positive].mean()
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    logits = rng.normal(size=(2, 9, 4)).astype("float32")
    loss = losses.class_loss(class_ids, logits, valid, all_rows=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, class_ids[..., None], -1).mean()
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
