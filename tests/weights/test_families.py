"""Files of torchvision and Detectron2 are recognized and loaded, or refused if they do not fit."""

import logging
import pickle
import re

import keras
import numpy as np
import pytest
from families import TinyForeign, detectron2_arrays, old_names, torchvision_arrays
from tiny import TinyConfig

from mrcnn import Config, MaskRCNN
from mrcnn.network.layers.basic import layer_weights, leaf_layers
from mrcnn.weights.files.tensors import read_safetensors, write_safetensors
from mrcnn.weights.source import open_source


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Returns the arrays of a dialect, which are made once."""
    folder, known = tmp_path_factory.mktemp("made"), {}

    def arrays(family):
        if family not in known:
            builder = detectron2_arrays if family == "detectron2" else torchvision_arrays
            options = {"numerics": family} if family != "detectron2" else {}
            known[family] = builder(folder, **options)
        return dict(known[family])

    return arrays


def written(path, arrays):
    write_safetensors(path, arrays)
    return path


def weights_of(model):
    return {
        f"{layer.name}/{weight.name}": keras.ops.convert_to_numpy(weight.value)
        for layer in leaf_layers(model.network.training)
        for weight in layer_weights(layer)
    }


@pytest.mark.parametrize("family", ["torchvision", "torchvision_v2"])
def test_round_trip_is_equal_to_the_bit(made, tmp_path, family):
    path = written(tmp_path / "a.safetensors", made(family))
    model = MaskRCNN.from_weights(path)
    assert model.config.NUMERICS == family and model.config.NUM_CLASSES == 5
    model.save(tmp_path / "folder")
    MaskRCNN.load(tmp_path / "folder").save_torchvision(tmp_path / "b.safetensors")
    first, second = (read_safetensors(tmp_path / f"{name}.safetensors") for name in "ab")
    assert list(first) == list(second)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], strict=True)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_settings_follow_the_file(made, tmp_path):
    model = MaskRCNN.from_weights(written(tmp_path / "my net.safetensors", made("torchvision")))
    config = model.config
    assert (config.NAME, config.BACKBONE, config.BACKBONE_WIDTH) == ("my_net", "resnet18", 8)
    assert (config.TOP_DOWN_PYRAMID_SIZE, config.FPN_CLASSIF_FC_LAYERS_SIZE) == (16, 32)
    assert (config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM) == (800, 1333)
    assert config.DETECTION_MIN_CONFIDENCE == 0.05 and config.BATCH_NORM_EPSILON is None
    assert model.class_names == ["BG", "class 1", "class 2", "class 3", "class 4"]
    assert model.keras_model.get_layer("bn_conv1").epsilon == 0.0


def test_live_batch_norm_has_another_epsilon(made, tmp_path):
    arrays = made("torchvision") | {"backbone.body.bn1.num_batches_tracked": np.array(3)}
    path = written(tmp_path / "a.safetensors", arrays)
    model = MaskRCNN.from_weights(path)
    assert model.keras_model.get_layer("bn_conv1").epsilon == 1e-5
    model.save_torchvision(
        tmp_path / "b.safetensors"
    )  # it is kept when the weights are written back
    with open_source(tmp_path / "b.safetensors") as source:
        assert source.settings["BATCH_NORM_EPSILON"] == 1e-5
        assert len(source.ignored) == 20
    model = MaskRCNN.from_weights(path, BATCH_NORM_EPSILON=1e-3)
    assert model.keras_model.get_layer("bn_conv1").epsilon == 1e-3


@pytest.mark.parametrize(
    "wrap",
    [
        lambda arrays: arrays,
        lambda arrays: {"model": arrays, "epoch": 3},
        lambda arrays: {"state_dict": {f"module.{name}": a for name, a in arrays.items()}},
        lambda arrays: {"model": {f"model.{name}": a for name, a in old_names(arrays).items()}},
    ],
)
def test_spellings_and_wrappers(made, tmp_path, wrap):
    arrays = made("torchvision")
    expected = weights_of(MaskRCNN.from_weights(written(tmp_path / "a.safetensors", arrays)))
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(wrap(arrays)))
    found = weights_of(MaskRCNN.from_weights(tmp_path / "b.pkl"))
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


def test_layouts(made, tmp_path):
    """Checks one element per layout against the rules of PyTorch."""
    arrays = made("torchvision")
    ours = weights_of(MaskRCNN.from_weights(written(tmp_path / "a.safetensors", arrays)))
    stem = arrays["backbone.body.conv1.weight"]
    assert ours["conv1/kernel"][5, 2, 1, 7] == stem[7, 1, 5, 2]
    deltas = arrays["rpn.head.bbox_pred.weight"]  # rows 4 to 7 are dx, dy, dw, dh of anchor 1
    assert ours["rpn_bbox_pred/kernel"][0, 0, 3, 4] == deltas[5, 3, 0, 0]  # dy comes first
    assert ours["rpn_bbox_pred/bias"][7] == arrays["rpn.head.bbox_pred.bias"][6]  # dw comes last
    hidden = arrays["roi_heads.box_head.fc6.weight"].reshape(32, 16, 7, 7)
    assert ours["mrcnn_class_conv1/kernel"].reshape(7, 7, 16, 32)[4, 6, 2, 9] == hidden[9, 2, 4, 6]
    up = arrays["roi_heads.mask_predictor.conv5_mask.weight"]  # [in, out, h, w]
    assert ours["mrcnn_mask_deconv/kernel"][1, 0, 3, 5] == up[5, 3, 1, 0]


def test_detectron2_is_torchvision_renamed(made, tmp_path):
    """The BGR stem, the background at the end and the missing background masks are converted."""
    theirs = MaskRCNN.from_weights(written(tmp_path / "a.safetensors", made("torchvision")))
    extra = {
        "pixel_mean": np.zeros((3, 1, 1), "float32"),
        "proposal_generator.anchor_generator.cell_anchors.0": np.zeros((3, 4), "float32"),
    }
    content = {"model": made("detectron2") | extra, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content))
    model = MaskRCNN.from_weights(tmp_path / "model_final.pkl")
    config = model.config
    assert (config.NUMERICS, config.NUM_CLASSES) == ("detectron2", 5)
    assert config.PIXEL_STD == (1.0, 1.0, 1.0) and config.POST_NMS_ROIS_TRAINING == 1000
    expected, found = weights_of(theirs), weights_of(model)
    assert set(found) == set(expected)
    for name, value in expected.items():
        if name in ("mrcnn_bbox_fc/kernel", "mrcnn_bbox_fc/bias"):
            value[..., :4] = 0  # Detectron2 has no background box
        if name in ("mrcnn_mask/kernel", "mrcnn_mask/bias"):
            value[..., 0] = 0
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    with open_source(tmp_path / "model_final.pkl") as source:
        assert sorted(source.ignored) == sorted(extra) and not source.unexpected
    other = MaskRCNN.from_weights(tmp_path / "model_final.pkl", NUMERICS="detectron2_x")
    assert other.config.PIXEL_STD == (58.395, 57.12, 57.375)


def test_class_names_of_coco(made, tmp_path):
    arrays = made("torchvision")
    for name, rows in (("cls_score", 91), ("bbox_pred", 364)):
        arrays[f"roi_heads.box_predictor.{name}.weight"] = np.zeros((rows, 32), "float32")
        arrays[f"roi_heads.box_predictor.{name}.bias"] = np.zeros(rows, "float32")
    arrays["roi_heads.mask_predictor.mask_fcn_logits.weight"] = np.zeros((91, 8, 1, 1), "float32")
    arrays["roi_heads.mask_predictor.mask_fcn_logits.bias"] = np.zeros(91, "float32")
    names = MaskRCNN.from_weights(written(tmp_path / "a.safetensors", arrays)).class_names
    assert (names[0], names[1], names[12], names[90]) == ("BG", "person", "N/A", "toothbrush")


def test_without_masks(made, tmp_path):
    arrays = {name: a for name, a in made("torchvision").items() if ".mask_" not in name}
    model = MaskRCNN.from_weights(written(tmp_path / "fasterrcnn.safetensors", arrays))
    assert model.config.USE_MASKS is False
    (found,) = model.detect([np.zeros((40, 60, 3), np.uint8)])
    assert "masks" not in found


# --- Fine-tuning ---------------------------------------------------------------------------------
class Two(TinyForeign):
    NUM_CLASSES = 2
    BACKBONE = "resnet18"


def test_other_classes(made, tmp_path, caplog):
    path = written(tmp_path / "a.safetensors", made("torchvision") | {"more": np.zeros(3, "f4")})
    model = MaskRCNN("training", Two(), tmp_path)
    with pytest.raises(ValueError, match="trained with 5 classes.*exclude=.*mrcnn_mask"):
        model.load_weights(path)
    heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
    report = model.load_weights(path, exclude=heads)
    assert sorted(report.excluded) == sorted(heads) and report.unexpected == ["more"]
    assert "unexpected: 1 (more)" in report.summary()
    assert not report.missing
    assert model.config.NUMERICS == "torchvision" and model.config.BACKBONE_NORM == "frozen"
    assert model.config.IMAGE_MAX_DIM == 64  # set by the user, so it is kept
    model = MaskRCNN("training", Two(NUMERICS="standard"), tmp_path)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        model.load_weights(path, exclude=heads)
    assert "trained in the dialect 'torchvision'" in caplog.text


def test_the_backbone_comes_from_the_file(made, tmp_path):
    path = written(tmp_path / "a.safetensors", made("torchvision"))

    settings = vars(TinyConfig) | vars(TinyForeign)
    config = Config(**{n: v for n, v in settings.items() if n.isupper() and n != "BACKBONE"})
    model = MaskRCNN("inference", config)
    assert config.BACKBONE == "resnet101"
    with pytest.raises(ValueError, match="exclude names layers"):
        model.load_weights(path, exclude=["heads"])
    assert model.load_weights(path).missing == []
    assert model.config.BACKBONE == "resnet18"


def test_a_resnet_for_imagenet(made, tmp_path):
    """It initializes the backbone in any dialect."""
    arrays = {
        name.removeprefix("backbone.body."): array
        for name, array in made("torchvision").items()
        if name.startswith("backbone.body.")
    }
    arrays |= {"fc.weight": np.zeros((10, 64), "f4"), "fc.bias": np.zeros(10, "f4")}
    arrays["bn1.num_batches_tracked"] = np.array(3)
    path = written(tmp_path / "resnet18.safetensors", arrays)
    settings = vars(TinyConfig) | vars(TinyForeign)
    config = Config(**{n: v for n, v in settings.items() if n.isupper() and n != "BACKBONE"})
    model = MaskRCNN("training", config, tmp_path)
    report = model.load_weights(path)
    assert (model.config.NUMERICS, model.config.BACKBONE) == ("auto", "resnet18")
    assert report.unexpected == ["fc.weight", "fc.bias"]
    assert report.ignored == ["bn1.num_batches_tracked"]
    assert "fpn_p2" in report.missing and "res5b_branch2b" in report.loaded
    np.testing.assert_array_equal(
        weights_of(model)["conv1/kernel"], arrays["conv1.weight"].transpose(2, 3, 1, 0)
    )
    with pytest.raises(ValueError, match="does not say what network"):
        MaskRCNN.from_weights(path)


@pytest.mark.parametrize("family", ["torchvision", "torchvision_v2", "detectron2"])
@pytest.mark.slow
def test_training_starts_from_them(made, tmp_path, family):
    from mrcnn.data.synthetic.shapes import ShapesDataset

    data = ShapesDataset(4, 64, 64)
    path = written(tmp_path / "a.safetensors", made(family))
    config = TinyForeign(NAME="tuned", NUM_CLASSES=4, IMAGES_PER_GPU=2, STEPS_PER_EPOCH=2)
    model = MaskRCNN("training", config, tmp_path / "runs")
    heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
    model.load_weights(path, exclude=heads)
    before = weights_of(model)
    history = model.train(data, learning_rate=1e-3, epochs=1, layers="heads", verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    after = weights_of(model)
    changed = {name for name in after if not np.array_equal(before[name], after[name])}
    assert "fpn_p2/kernel" in changed and "mrcnn_mask/kernel" in changed
    assert not any(name.startswith(("res", "bn", "conv1")) for name in changed)
    image = data.load_image(0)
    (found,) = model.detect([image])
    model.save(tmp_path / "saved")
    again = MaskRCNN.load(tmp_path / "saved")
    assert again.config.NUMERICS == family
    (same,) = again.detect([image])
    for name, value in found.items():
        np.testing.assert_array_equal(value, same[name])
    plain = MaskRCNN("inference", TinyForeign(NUM_CLASSES=4))
    plain.load_weights(tmp_path / "saved" / "weights.h5")  # the file names its dialect
    assert plain.config.NUMERICS == family


def test_a_batch_of_two_sizes_equals_single_images(made, tmp_path):
    """Each image has its own window when both are padded to one shape."""
    path = written(tmp_path / "a.safetensors", made("torchvision"))
    model = MaskRCNN.from_weights(
        path, IMAGE_MIN_DIM=96, IMAGE_MAX_DIM=128, DETECTION_MIN_CONFIDENCE=0.0
    )
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (96, side, 3)).astype("uint8") for side in (99, 125)]
    together = model.detect(images)
    assert model.predict.traces == 1
    for image, found in zip(images, together, strict=True):
        (alone,) = model.detect([image])
        np.testing.assert_allclose(found["boxes"], alone["boxes"], atol=1e-3)
        assert (found["boxes"] <= np.tile(image.shape[:2], 2)).all()


# --- Files that do not fit -----------------------------------------------------------------------
def without(arrays, pattern):
    return {name: array for name, array in arrays.items() if not re.search(pattern, name)}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: without(a, r"fpn\.layer_blocks\.1"), "nothing for fpn_p3"),
        (lambda a: without(a, "cls_score"), "no tensor 'roi_heads.box_predictor.cls_score.weight'"),
        (lambda a: without(a, r"layer4\.1"), r"\(2, 2, 2, 1\) blocks of 2 convolutions"),
        (
            lambda a: {n.replace("body", "trunk"): v for n, v in a.items()},
            "is neither a Mask R-CNN",
        ),
        (
            lambda a: a | {"rpn.head.cls_logits.weight": np.zeros((9, 16, 1, 1), "f4")},
            "9 anchors per cell",
        ),
        (
            lambda a: a | {"backbone.body.layer2.0.conv2.weight": np.zeros((16, 4, 3, 3), "f4")},
            "ResNeXt",
        ),
        (
            lambda a: a | {"roi_heads.box_head.fc7.weight": np.zeros((32, 33), "f4")},
            r"mrcnn_class_conv2: file \(33, 32\)",
        ),
        (
            lambda a: a | {"roi_heads.box_head.fc6.weight": np.zeros((32, 785), "f4")},
            r"fc6.weight' has shape \(32, 785\), expected \(32, 784\) from the shapes",
        ),
        (
            lambda a: a | {"roi_heads.box_head.fc7.bias": np.zeros(32, "int64")},
            "fc7.bias' has dtype int64, expected floating-point",
        ),
        (
            lambda a: a | {"roi_heads.box_head.fc7.bias": np.full(32, np.inf, "f4")},
            "mrcnn_class_conv2 has NaN or infinite",
        ),
    ],
)
def test_files_that_do_not_fit(made, tmp_path, change, message):
    path = written(tmp_path / "a.safetensors", change(made("torchvision")))
    with pytest.raises(ValueError, match=message) as caught:
        MaskRCNN.from_weights(path)
    assert str(path) in str(caught.value)


def test_newer_baselines_of_detectron2(made, tmp_path):
    arrays = made("detectron2") | {"backbone.fpn_lateral2.norm.weight": np.zeros(16, "f4")}
    with pytest.raises(ValueError, match="newer baselines"):
        MaskRCNN.from_weights(written(tmp_path / "a.safetensors", arrays))


def test_other_files(tmp_path, tiny_folder):
    with pytest.raises(FileNotFoundError, match="coco-torchvision-r50"):
        MaskRCNN.from_weights(tmp_path / "no.pth")
    with pytest.raises(ValueError, match="does not say what network.*MaskRCNN.load"):
        MaskRCNN.from_weights(tiny_folder / "weights.h5")
    assert MaskRCNN.from_weights(tiny_folder).class_names[1] == "square"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"epoch": 3}))
    with pytest.raises(ValueError, match="has no dict of tensors, neither"):
        MaskRCNN.from_weights(tmp_path / "a.pkl")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="no dict of tensors.*state_dict"):
        MaskRCNN.from_weights(tmp_path / "b.pkl")
    (tmp_path / "c.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="c.pth"):
        MaskRCNN.from_weights(tmp_path / "c.pth")


def test_what_torchvision_cannot_have(tmp_path):
    with pytest.raises(ValueError, match="NUMERICS 'torchvision'.*this one has 'auto'"):
        MaskRCNN("inference", TinyConfig()).save_torchvision(tmp_path / "a.safetensors")
    model = MaskRCNN("inference", TinyConfig(NUMERICS="torchvision"))  # one mask convolution
    with pytest.raises(ValueError, match="no such network: mrcnn_mask_conv2"):
        model.save_torchvision(tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


def test_matterport_files_too(tmp_path):
    config = TinyForeign(
        NUMERICS="matterport", BACKBONE="resnet50", BACKBONE_WIDTH=64, MASK_CHANNELS=256
    )
    MaskRCNN("inference", config).save(tmp_path / "m")
    model = MaskRCNN.from_weights(tmp_path / "m" / "weights.h5")
    assert (model.config.NUMERICS, model.config.BACKBONE) == ("matterport", "resnet50")
    assert model.config.NUM_CLASSES == 5 and model.config.TOP_DOWN_PYRAMID_SIZE == 16
