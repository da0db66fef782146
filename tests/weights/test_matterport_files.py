"""Weight files of Matterport's Mask_RCNN and Keras' first ResNet-50, and ours in that layout."""

import h5py
import numpy as np
import pytest
from tiny import TinyConfig

from mrcnn.config import Config
from mrcnn.model import MaskRCNN
from mrcnn.network.layers.basic import layer_weights, leaf_layers
from mrcnn.weights.files import reading

HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]


class SmallConfig(TinyConfig):
    NAME = "small"
    BACKBONE = "resnet50"


# --- Files with the names and shapes of the old package ------------------------------------------
def convolution(name, *shape):
    return [(name, f"{name}/kernel:0", shape), (name, f"{name}/bias:0", shape[-1:])]


def norm(name, channels):
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    return [(name, f"{name}/{part}:0", (channels,)) for part in parts]


def resnet_tensors(blocks, width=64):
    """Returns (group, weight, shape) of the tensors of a bottleneck ResNet."""
    found = convolution("conv1", 7, 7, 3, width) + norm("bn_conv1", width)
    channels = width
    for stage, count in zip((2, 3, 4, 5), blocks, strict=True):
        filters = width * 2 ** (stage - 2)
        for index in range(count):
            name = f"{stage}{chr(ord('a') + index)}_branch"
            shapes = {
                "2a": (1, 1, channels, filters),
                "2b": (3, 3, filters, filters),
                "2c": (1, 1, filters, 4 * filters),
            }
            if index == 0:
                shapes["1"] = (1, 1, channels, 4 * filters)
            for branch, shape in shapes.items():
                found += convolution(f"res{name}{branch}", *shape)
                found += norm(f"bn{name}{branch}", shape[-1])
            channels = 4 * filters
    return found


def tensors(blocks, classes, width=64, pyramid=256, fc=1024, mask_layers=4, mask=256):
    """Returns (group, weight, shape) of all tensors of a file of Mask_RCNN."""
    found = resnet_tensors(blocks, width)
    for level in (2, 3, 4, 5):
        found += convolution(f"fpn_c{level}p{level}", 1, 1, width * 4 * 2 ** (level - 2), pyramid)
        found += convolution(f"fpn_p{level}", 3, 3, pyramid, pyramid)
    rpn = convolution("rpn_conv_shared", 3, 3, pyramid, 512)
    rpn += convolution("rpn_class_raw", 1, 1, 512, 6) + convolution("rpn_bbox_pred", 1, 1, 512, 12)
    found += [("rpn_model", name, shape) for _, name, shape in rpn]
    found += convolution("mrcnn_class_conv1", 7, 7, pyramid, fc) + norm("mrcnn_class_bn1", fc)
    found += convolution("mrcnn_class_conv2", 1, 1, fc, fc) + norm("mrcnn_class_bn2", fc)
    found += convolution("mrcnn_class_logits", fc, classes)
    found += convolution("mrcnn_bbox_fc", fc, 4 * classes)
    for i in range(mask_layers):
        found += convolution(f"mrcnn_mask_conv{i + 1}", 3, 3, mask if i else pyramid, mask)
        found += norm(f"mrcnn_mask_bn{i + 1}", mask)
    found += convolution("mrcnn_mask_deconv", 2, 2, mask, mask)
    return found + convolution("mrcnn_mask", 1, 1, mask, classes)


def write(path, rows, constant=False, text=str.encode, root=None):
    """Writes a file as Keras 2 does. `constant`: tensor i is filled with i and takes no space."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        top = file.create_group(root) if root else file
        groups = list(dict.fromkeys(group for group, _, _ in rows))
        top.attrs["layer_names"] = [text(name) for name in ["input_image", *groups]]
        top.attrs["keras_version"] = text("2.1.6")
        top.attrs["backend"] = text("tensorflow")
        top.create_group("input_image").attrs["weight_names"] = np.zeros((0,), "S1")
        for group in groups:
            names = [name for g, name, _ in rows if g == group]
            top.create_group(group).attrs["weight_names"] = [text(name) for name in names]
        for number, (group, name, shape) in enumerate(rows):
            if constant:
                top[group].create_dataset(name, shape, "float32", fillvalue=number, chunks=True)
            else:
                values = rng.normal(0, 0.05, shape).astype("float32")
                top[group][name] = np.abs(values) + 0.1 if "variance" in name else values
    return path


def small_rows(classes=4):
    return tensors((3, 4, 6, 3), classes, 8, 16, 32, 1, 8)


def check_equal(path, model):
    """Checks that every tensor of the file is in the model."""
    found = reading.read_weights(path)
    layers = {layer.name: layer for layer in leaf_layers(model.keras_model)}
    for name, weights in found.items():
        for theirs, ours in zip(weights.values(), layer_weights(layers[name]), strict=True):
            np.testing.assert_array_equal(theirs, np.asarray(ours))


# --- Loading -------------------------------------------------------------------------------------
def test_690_of_690_tensors(tmp_path):
    """Every tensor of the file is loaded into the right weight, and every weight is loaded."""
    rows = tensors((3, 4, 23, 3), 81)
    assert len(rows) == 690
    assert sum(int(np.prod(shape)) for _, _, shape in rows) == 64_158_584
    path = write(tmp_path / "mask_rcnn_coco.h5", rows, constant=True)

    class InferenceConfig(Config):
        NAME = "coco"
        NUM_CLASSES = 1 + 80
        GPU_COUNT = 1
        IMAGES_PER_GPU = 1

    model = MaskRCNN("inference", InferenceConfig(), model_dir=str(tmp_path))
    report = model.load_weights(str(path), by_name=True)
    assert not report.missing and not report.unexpected and not report.mismatched
    layers = {layer.name: layer for layer in leaf_layers(model.keras_model)}
    ours = [w for layer in layers.values() for w in layer_weights(layer)]
    assert len(ours) == 690 and model.config.NUMERICS == "matterport"
    for number, (_, name, shape) in enumerate(rows):
        layer, part = name.split(":")[0].split("/")
        weight = next(w for w in layer_weights(layers[layer]) if w.name == part)
        assert tuple(weight.shape) == shape and np.unique(np.asarray(weight)) == number


@pytest.mark.parametrize("text", [str.encode, str])
@pytest.mark.parametrize("root", [None, "model_weights"])
def test_text_names_and_complete_models(tmp_path, text, root):
    """Names are bytes or text; in complete models, the weights are one group deeper."""
    path = write(tmp_path / "old.h5", small_rows(), text=text, root=root)
    model = MaskRCNN("inference", SmallConfig(), tmp_path)
    assert not model.load_weights(path, by_name=True).missing
    check_equal(path, model)


def test_our_files_have_their_layout(tmp_path):
    """Our files have the groups, names and shapes of the old layout, and nothing else."""
    model = MaskRCNN("training", SmallConfig(NUMERICS="matterport"), tmp_path)
    model.keras_model.save_weights(str(tmp_path / "mask_rcnn_small_0001.h5"))
    with h5py.File(tmp_path / "mask_rcnn_small_0001.h5") as file:
        found = [
            (group, name.decode(), file[group][name].shape)
            for group in file
            for name in file[group].attrs["weight_names"]
        ]
        assert file.attrs["keras_version"].startswith("2.")
    assert sorted(found) == sorted(small_rows())
    again = MaskRCNN("inference", SmallConfig(), tmp_path)
    report = again.load_weights(tmp_path / "mask_rcnn_small_0001.h5")
    assert not report.missing and not report.unexpected
    check_equal(tmp_path / "mask_rcnn_small_0001.h5", again)
    again.keras_model.load_weights(str(tmp_path / "mask_rcnn_small_0001.h5"), by_name=True)


def test_other_classes(tmp_path):
    path = write(tmp_path / "old.h5", small_rows(81))
    model = MaskRCNN("training", SmallConfig(), tmp_path)
    with pytest.raises(ValueError, match="81 classes.*NUM_CLASSES = 4.*mrcnn_class_logits"):
        model.load_weights(str(path), by_name=True)
    report = model.load_weights(str(path), by_name=True, exclude=HEADS)
    assert set(report.excluded) == set(HEADS) - {"mrcnn_bbox"} and not report.missing


def test_another_backbone_is_refused(tmp_path):
    """A file without a backbone would leave it at random values, so it is an error."""
    rows = [row for row in small_rows() if not row[0].startswith(("res", "bn"))]
    model = MaskRCNN("inference", SmallConfig(), tmp_path)
    with pytest.raises(ValueError, match="only 1 of the 106 layers of the backbone.*BACKBONE"):
        model.load_weights(write(tmp_path / "heads.h5", rows))
    other = MaskRCNN("inference", SmallConfig(BACKBONE="resnet18"), tmp_path)
    with pytest.raises(ValueError, match="BACKBONE"):
        other.load_weights(write(tmp_path / "old.h5", small_rows()))


# --- ImageNet ------------------------------------------------------------------------------------
def test_imagenet_weights(tmp_path):
    """Keras' first ResNet-50 sets the dialect. It was trained on BGR, our images are RGB."""
    path = write(tmp_path / "resnet50_notop.h5", resnet_tensors((3, 4, 6, 3), 8))
    model = MaskRCNN("training", SmallConfig(), tmp_path)
    report = model.load_weights(str(path), by_name=True)
    assert model.config.NUMERICS == "matterport" and len(report.loaded) == 106
    assert not report.unexpected and "mrcnn_mask" in report.missing
    kernel = reading.read_weights(path)["conv1"]["conv1/kernel:0"]
    ours = np.asarray(model.keras_model.get_layer("conv1").kernel)
    np.testing.assert_array_equal(ours, kernel[:, :, ::-1])


def test_imagenet_weights_of_a_resnet50_in_a_resnet101(tmp_path):
    """Old scripts do this. Layers without weights are reported."""
    path = write(tmp_path / "resnet50_notop.h5", resnet_tensors((3, 4, 6, 3), 8))
    model = MaskRCNN("training", SmallConfig(BACKBONE="resnet101"), tmp_path)
    report = model.load_weights(str(path), by_name=True)
    assert "res4g_branch2a" in report.missing and "res4f_branch2a" in report.loaded


# --- Images that are not RGB ---------------------------------------------------------------------
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_conv1_for_other_channels(tmp_path, channels):
    path = write(tmp_path / "old.h5", small_rows())
    config = SmallConfig(
        IMAGE_CHANNEL_COUNT=channels,
        MEAN_PIXEL=np.full(channels, 100.0),
        PIXEL_STD=np.ones(channels),
    )
    model = MaskRCNN("training", config, tmp_path)
    report = model.load_weights(path, by_name=True)
    assert not report.missing and "conv1" in report.loaded
    rgb = reading.read_weights(path)["conv1"]["conv1/kernel:0"]
    ours = np.asarray(model.keras_model.get_layer("conv1").kernel)
    np.testing.assert_allclose(ours.sum(axis=2), rgb.sum(axis=2), rtol=1e-3, atol=1e-5)
    if channels > 3:
        np.testing.assert_allclose(ours[:, :, :3] * channels / 3, rgb, rtol=1e-5)
    model.set_trainable("mrcnn.*", verbose=0)  # conv1 is trained with the heads
    assert model.keras_model.get_layer("conv1").trainable
    assert not model.keras_model.get_layer("res2a_branch2a").trainable
