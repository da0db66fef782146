"""Graph access as in old notebooks: names, run_graph, ancestor, molded images, losses by hand."""

import keras
import numpy as np
import pytest
from keras import ops
from tiny import TinyConfig

import mrcnn.model as modellib
from mrcnn import utils
from mrcnn.model import MaskRCNN, log


class OldConfig(TinyConfig):
    NAME = "old"
    NUMERICS = "matterport"
    BACKBONE = "resnet50"
    IMAGE_MAX_DIM = 128
    IMAGE_MIN_DIM = 128
    IMAGES_PER_GPU = 2


LAYERS = """
input_image input_image_meta input_anchors conv1 bn_conv1 res2a_branch2a bn2a_branch2a res2a_branch1
res2c_out res3d_out res4f_out res5c_out fpn_c5p5 fpn_p5upsampled fpn_p4add fpn_p2 fpn_p6 rpn_model
rpn_class rpn_bbox ROI roi_align_classifier roi_align_mask pool_squeeze mrcnn_class_conv1
mrcnn_class_bn1 mrcnn_class_conv2 mrcnn_class_logits mrcnn_class mrcnn_bbox_fc mrcnn_bbox
mrcnn_detection mrcnn_mask_conv1 mrcnn_mask_bn1 mrcnn_mask_deconv mrcnn_mask
""".split()


@pytest.fixture(scope="module")
def model():
    made = MaskRCNN("inference", OldConfig())
    rng = np.random.default_rng(0)
    for name in ("mrcnn_class_logits", "mrcnn_bbox_fc"):  # random, but not all of one class
        layer = made.keras_model.get_layer(name)
        layer.set_weights([rng.normal(0, 0.01, w.shape) for w in layer.get_weights()])
    norms = [x for x in made.keras_model.layers if isinstance(x, keras.layers.BatchNormalization)]
    for norm in norms:  # values of reasonable size all the way up
        norm.gamma.assign(np.full(norm.gamma.shape, 0.3))
    return made


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return [rng.integers(0, 255, (128, 128, 3), dtype="uint8") for _ in range(2)]


def output(model, name):
    return model.keras_model.get_layer(name).output


@pytest.mark.parametrize("name", LAYERS)
def test_old_layer_names(model, name):
    assert model.keras_model.get_layer(name).name == name


def test_seven_outputs(model, images):
    molded, metas, windows = model.mold_inputs(images)
    anchors = model.get_anchors(molded[0].shape)
    assert anchors.dtype == np.float32 and model.anchors.shape == anchors.shape
    outputs = model.keras_model.predict([molded, metas, np.stack([anchors] * 2)], verbose=0)
    assert [o.shape[1:] for o in outputs] == [
        (10, 6), (20, 4), (20, 4, 4), (10, 28, 28, 4), (20, 4), (4092, 2), (4092, 4)
    ]  # fmt: skip
    detections, _, _, masks, *_ = outputs
    for row, result in enumerate(model.detect(images)):
        boxes, class_ids, scores, full = model.unmold_detections(
            detections[row], masks[row], images[row].shape, molded[row].shape, windows[row]
        )
        np.testing.assert_array_equal(boxes, result["rois"])
        np.testing.assert_array_equal(class_ids, result["class_ids"])
        np.testing.assert_allclose(scores, result["scores"], atol=1e-6)
        assert (full != result["masks"]).mean() < 1e-3


def test_detect_molded_is_detect(model, images):
    """These images have the network's own size: pixels are the same before and after."""
    expected = model.detect(images)
    molded, metas, _ = model.mold_inputs(images)
    for given in (molded, np.stack(images)):  # old notebooks forget to subtract the mean
        for a, b in zip(model.detect_molded(given, metas), expected, strict=True):
            np.testing.assert_array_equal(a["rois"], b["rois"])
            np.testing.assert_array_equal(a["masks"], b["masks"])


def test_run_graph(model, images, capsys):
    pillar = output(model, "ROI")
    values = model.run_graph(
        [images[0]],
        [
            ("rpn_class", output(model, "rpn_class")),
            ("pre_nms_anchors", model.ancestor(pillar, "ROI/pre_nms_anchors:0")),
            ("refined_anchors", model.ancestor(pillar, "ROI/refined_anchors:0")),
            ("clipped", model.ancestor(pillar, "ROI/refined_anchors_clipped:0")),
            ("kept", model.ancestor(pillar, "ROI/rpn_non_max_suppression/NonMaxSuppressionV2:0")),
            ("proposals", output(model, "ROI")),
            ("image", output(model, "input_image")),
            ("masks", output(model, "mrcnn_mask")),
        ],
    )
    assert list(values)[:2] == ["rpn_class", "pre_nms_anchors"]
    np.testing.assert_allclose(values["rpn_class"].sum(-1), 1, atol=1e-5)
    clipped, kept = values["clipped"], values["kept"]
    np.testing.assert_allclose(clipped, values["refined_anchors"].clip(0, 1))
    np.testing.assert_allclose(clipped[0, kept], values["proposals"][0, : len(kept)])
    best = np.sort(values["rpn_class"][0, :, 1])[::-1][: clipped.shape[1]]
    rows = np.argsort(-values["rpn_class"][0, :, 1], kind="stable")[: len(best)]
    anchors = model.get_anchors((128, 128, 3))[rows]
    assert (values["pre_nms_anchors"][0] == anchors).all(axis=1).mean() > 0.9  # but for ties
    np.testing.assert_allclose(values["image"][0], images[0] - model.config.MEAN_PIXEL, atol=1e-3)
    assert 0 <= values["masks"].min() and values["masks"].max() <= 1
    printed = capsys.readouterr().out
    assert "rpn_class " in printed and "shape: (1, 4092, 2)" in printed


def test_run_graph_says_what_is_missing(model, images):
    assert model.ancestor(output(model, "ROI"), "ROI/no_such_thing:0") is None
    with pytest.raises(ValueError, match="no tensor for b"):
        model.run_graph(images, [("a", output(model, "ROI")), ("b", None)])
    with pytest.raises(ValueError, match="inference"):
        MaskRCNN("training", OldConfig()).run_graph(images, [])


def test_trainable_layers(model):
    layers = model.get_trainable_layers()
    kinds = {type(layer).__name__ for layer in layers}
    assert {"Conv2D", "Dense", "Conv2DTranspose"} <= kinds and "PerRegion" not in kinds
    assert len(layers) == 131 - 6  # this mask head has one convolution, not four
    head = model.keras_model.get_layer("mrcnn_mask")
    assert model.find_trainable_layer(head) is head.layer
    assert all(weight.name for layer in layers for weight in layer.weights)


def test_set_trainable(capsys):
    model = MaskRCNN("training", OldConfig())
    model.set_trainable(r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)")
    assert "mrcnn_mask_conv1" in capsys.readouterr().out
    rpn = model.keras_model.get_layer("rpn_model")
    assert rpn.get_layer("rpn_conv_shared").trainable
    assert not model.keras_model.get_layer("conv1").trainable
    model.compile(0.001, 0.9)
    assert float(model.keras_model.optimizer.momentum) == 0.9


def test_the_graph_of_standard_numerics_can_be_looked_into_as_well(images):
    model = MaskRCNN("inference", OldConfig(NUMERICS="standard"))
    values = model.run_graph(
        images, [("p2", output(model, "fpn_p2")), ("roi", output(model, "ROI"))]
    )
    assert values["p2"].shape == (2, 32, 32, 16) and values["roi"].max() > 2  # pixels
    molded, metas, _ = model.mold_inputs(images)
    assert len(model.detect_molded(molded, metas)) == 2


def test_log(capsys):
    log("image", np.zeros((2, 3), np.uint8))
    log("nothing", np.zeros((0, 4)))
    assert capsys.readouterr().out.splitlines() == [
        "image                    shape: (2, 3)                "
        "min:    0.00000  max:    0.00000  uint8",
        "nothing                  shape: (0, 4)                min:             max:             "
        "float64",
    ]


# --- Functions -----------------------------------------------------------------------------------
def test_networks_by_hand():
    """The builders return networks of the old shapes, with weights that load by name."""
    image = keras.Input((128, 128, 3))
    maps = modellib.resnet_graph(image, "resnet50", stage5=True, train_bn=False)
    assert [m.shape[1:] for m in maps] == [
        (32, 32, 64), (32, 32, 256), (16, 16, 512), (8, 8, 1024), (4, 4, 2048)
    ]  # fmt: skip
    assert modellib.resnet_graph(image, "resnet50")[4] is None
    x = modellib.conv_block(keras.Input((16, 16, 8)), 3, [4, 4, 16], stage=3, block="a")
    x = modellib.identity_block(x, 3, [4, 4, 16], stage=3, block="b")
    assert x.shape == (None, 8, 8, 16)
    rpn = modellib.build_rpn_model(1, 3, 256)
    logits, probabilities, deltas = rpn(np.zeros((1, 4, 6, 256), "float32"))
    assert logits.shape == probabilities.shape == (1, 72, 2) and deltas.shape == (1, 72, 4)
    rois, meta = keras.Input((5, 4)), keras.Input((16,))
    pyramid = [keras.Input((side, side, 256)) for side in (32, 16, 8, 4)]
    logits, _, deltas = modellib.fpn_classifier_graph(rois, pyramid, meta, 7, 4, False, 32)
    assert logits.shape == (None, 5, 4) and deltas.shape == (None, 5, 4, 4)
    assert modellib.build_fpn_mask_graph(rois, pyramid, meta, 14, 4).shape == (None, 5, 28, 28, 4)


def test_layers_by_hand(model, images):
    """Called on the network's own tensors, they return what the network returns."""
    names = [
        "rpn_class",
        "rpn_bbox",
        "ROI",
        "roi_align_classifier",
        "mrcnn_class",
        "mrcnn_bbox",
        "mrcnn_detection",
        "fpn_p2",
        "fpn_p3",
        "fpn_p4",
        "fpn_p5",
    ]
    values = model.run_graph(images, [(name, output(model, name)) for name in names])
    anchors = np.stack([model.get_anchors((128, 128, 3))] * 2)
    meta = model.mold_inputs(images)[1]
    roi = modellib.ProposalLayer(20, model.config.RPN_NMS_THRESHOLD, model.config)
    pooled = modellib.PyramidROIAlign([7, 7])
    detect = modellib.DetectionLayer(model.config)
    found = roi([values["rpn_class"], values["rpn_bbox"], anchors])
    np.testing.assert_allclose(ops.convert_to_numpy(found), values["ROI"], atol=1e-6)
    found = pooled([values["ROI"], meta, *(values[f"fpn_p{i}"] for i in range(2, 6))])
    np.testing.assert_allclose(
        ops.convert_to_numpy(found), values["roi_align_classifier"], atol=1e-4
    )
    found = detect([values["ROI"], values["mrcnn_class"], values["mrcnn_bbox"], meta])
    np.testing.assert_allclose(ops.convert_to_numpy(found), values["mrcnn_detection"], atol=1e-6)


def test_detection_targets_by_hand():
    config = OldConfig()
    gt = np.array([[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 0.9, 0.9]], "float32")
    proposals = np.concatenate([gt, [[0, 0.6, 0.2, 0.9], [0.6, 0, 0.9, 0.2]], np.zeros((3, 4))])
    masks = np.ones((56, 56, 2), bool)
    rois, ids, deltas, cut = modellib.detection_targets_graph(
        proposals.astype("float32"), np.array([2, 1]), gt, masks, config
    )
    assert rois.shape == (16, 4) and cut.shape == (16, 28, 28)
    ids = ops.convert_to_numpy(ids)
    assert sorted(ids[:2]) == [1, 2] and not ids[2:].any()
    np.testing.assert_allclose(ops.convert_to_numpy(deltas), 0, atol=1e-6)
    assert ops.convert_to_numpy(cut)[:2].all() and not ops.convert_to_numpy(cut)[2:].any()


def test_losses_by_hand():
    rng = np.random.default_rng(0)
    match = np.array([[1, -1, 0, 1, -1]])[..., None]
    logits = rng.normal(size=(1, 5, 2)).astype("float32")
    odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = -np.log([odds[0, 0, 1], odds[0, 3, 1], odds[0, 1, 0], odds[0, 4, 0]]).mean()
    loss = modellib.rpn_class_loss_graph(match, logits)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    target, deltas = rng.normal(size=(1, 4, 4)), rng.normal(size=(1, 5, 4)).astype("float32")
    difference = np.abs(target[0, :2] - deltas[0, [0, 3]])
    expected = np.where(difference < 1, difference**2 / 2, difference - 0.5).mean()
    loss = modellib.rpn_bbox_loss_graph(OldConfig(), target, match, deltas)
    np.testing.assert_allclose(float(loss), expected, rtol=1e-5)
    # Of two RoIs taken for class 1 and 2, the second does not count: class 2 is not known.
    logits = np.array([[[0.0, 3, 1], [0, 1, 3]]], "float32")
    loss = modellib.mrcnn_class_loss_graph(np.array([[1, 1]]), logits, np.array([[1, 1, 0]]))
    np.testing.assert_allclose(float(loss), -np.log(np.exp(3) / np.exp([0, 3, 1]).sum()), rtol=1e-5)
    nothing = modellib.mrcnn_class_loss_graph(np.array([[1, 1]]), logits, np.array([[0, 0, 0]]))
    assert float(nothing) == 0.0  # it was NaN


def test_boxes_by_hand():
    boxes = np.array([[0.1, 0.2, 0.5, 0.6], [0, 0, 0, 0]], "float32")
    rows, real = modellib.trim_zeros_graph(boxes)
    assert rows.shape == (1, 4) and ops.convert_to_numpy(real).tolist() == [True, False]
    pixels = modellib.denorm_boxes_graph(boxes, np.array([100, 200]))
    assert ops.convert_to_numpy(pixels).tolist() == utils.denorm_boxes(boxes, (100, 200)).tolist()
    again = modellib.norm_boxes_graph(pixels, np.array([100, 200]))
    np.testing.assert_allclose(ops.convert_to_numpy(again)[0], boxes[0], atol=0.01)
    overlaps = modellib.overlaps_graph(boxes[:1], boxes[:1] + np.float32(0.1))
    expected = utils.compute_overlaps(boxes[:1], boxes[:1] + np.float32(0.1))
    np.testing.assert_allclose(ops.convert_to_numpy(overlaps), expected, rtol=1e-5)
    deltas = utils.box_refinement_graph(boxes[:1], boxes[:1] + np.float32(0.1))
    moved = modellib.apply_box_deltas_graph(boxes[:1], deltas)
    np.testing.assert_allclose(ops.convert_to_numpy(moved), boxes[:1] + 0.1, atol=1e-6)
    clipped = modellib.clip_boxes_graph(boxes, np.array([0, 0, 0.3, 0.3], "float32"))
    np.testing.assert_allclose(ops.convert_to_numpy(clipped)[0], [0.1, 0.2, 0.3, 0.3])
    x = np.arange(12).reshape(2, 3, 2)
    packed = ops.convert_to_numpy(modellib.batch_pack_graph(x, [1, 2], 2))
    assert packed.tolist() == [[0, 1], [6, 7], [8, 9]]
    doubled = utils.batch_slice([x, x], lambda a, b: a + b, 2)
    np.testing.assert_array_equal(ops.convert_to_numpy(doubled), 2 * x)
    assert float(modellib.log2_graph(np.float32(8))) == pytest.approx(3)


# --- Another dialect -----------------------------------------------------------------------------
def test_the_rpn_has_its_names_in_every_dialect(images):
    """As the notebook inspect_model reads it, although the graph itself has no need of them."""
    model = MaskRCNN("inference", TinyConfig(NUMERICS="standard"))
    small = [image[:64, :64] for image in images]
    pillar = output(model, "ROI")
    names = ("rpn_class_logits", "rpn_class", "rpn_bbox")
    values = model.run_graph(small, [(name, output(model, name)) for name in names])
    logits, classes, deltas = values.values()
    assert logits.shape == classes.shape == (2, logits.shape[1], 2) and not logits[..., 0].any()
    np.testing.assert_allclose(classes[..., 1], 1 / (1 + np.exp(-logits[..., 1])), atol=1e-6)
    expected = model.run_graph(
        small, [("clipped", model.ancestor(pillar, "ROI/refined_anchors:0"))]
    )
    assert deltas.shape == (2, logits.shape[1], 4) and expected["clipped"].shape[-1] == 4
    assert model.ancestor(pillar, "rpn_bbox/concat:0") is output(model, "rpn_bbox")
    assert "rpn_bbox" not in {layer.name for layer in model.keras_model.layers}
    assert model.ancestor(pillar, "no_such_layer/x:0") is None
    with pytest.raises(ValueError, match="no_such_layer"):
        model.keras_model.get_layer("no_such_layer")
