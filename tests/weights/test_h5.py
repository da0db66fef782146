import json
import os
import resource

import h5py
import keras
import numpy as np
import pytest

from mrcnn.weights import loading
from mrcnn.weights.files import h5, reading
from mrcnn.weights.source import open_source

LAYERS = ("conv1", "bn_conv1", "rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")


def network(classes=3, width=4, seed=0):
    """Returns a toy network with the layer names of the real one."""
    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(width, 3, name="conv1")(image)
    x = keras.layers.BatchNormalization(name="bn_conv1")(x)
    x = keras.layers.ReLU(name="relu")(x)
    shared = keras.layers.Conv2D(5, 1, name="rpn_conv_shared")(x)
    outputs = [
        keras.layers.Conv2D(2, 1, name="rpn_class_raw")(shared),
        keras.layers.Conv2D(4, 1, name="rpn_bbox_pred")(shared),
        dense(classes, name="mrcnn_class_logits")(x),
        dense(4 * classes, name="mrcnn_bbox_fc")(x),
    ]
    return keras.Model(image, outputs)


def weights_of(model):
    return [np.array(value) for value in model.get_weights()]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def saved(tmp_path):
    model = network()
    path = tmp_path / "runs" / "a.h5"
    h5.write_weights(path, model.layers, metadata={"epoch": 3, "classes": ["BG", "é"]})
    return path, model


def test_round_trip(saved):
    path, model = saved
    other = network(seed=1)
    assert not same(weights_of(model), weights_of(other))
    report = loading.load_weights(path, other.layers)
    assert same(weights_of(model), weights_of(other))
    assert report.loaded == [layer.name for layer in model.layers if layer.weights]
    assert not (report.missing or report.unexpected or report.mismatched or report.excluded)
    assert "loaded 7 layers" in report.summary()
    assert reading.read_metadata(path) == {"epoch": 3, "classes": ["BG", "é"]}
    assert os.listdir(path.parent) == ["a.h5"]


def test_layout_is_that_of_keras_2(saved):
    path, model = saved
    with h5py.File(path) as file:
        names = [name.decode() for name in file.attrs["layer_names"]]
        assert names == ["image", "conv1", "bn_conv1", "relu", "rpn_model", *names[5:]]
        assert file.attrs["keras_version"].startswith("2.")
        assert [n.decode() for n in file["bn_conv1"].attrs["weight_names"]] == [
            f"bn_conv1/{part}:0" for part in ("gamma", "beta", "moving_mean", "moving_variance")
        ]
        assert file["conv1/conv1/kernel:0"].shape == (3, 3, 3, 4)
        # Matterport's files have the nested model in one group, in this order.
        assert [n.decode() for n in file["rpn_model"].attrs["weight_names"]] == [
            f"{layer}/{part}:0" for layer in LAYERS[2:] for part in ("kernel", "bias")
        ]
        assert len(file["relu"].attrs["weight_names"]) == 0


def test_keras_reads_it_by_name(saved):
    path, model = saved
    other = network(seed=1)
    other.load_weights(path, by_name=True)
    plain = ("conv1", "bn_conv1", "mrcnn_class_logits")  # Keras would need a nested rpn_model
    for name in plain:
        assert same(weights_of(model.get_layer(name)), weights_of(other.get_layer(name)))


def test_read_weights(saved):
    path, model = saved
    found = reading.read_weights(path)
    assert list(found) == [layer.name for layer in model.layers if layer.weights]
    assert list(found["rpn_class_raw"]) == ["rpn_class_raw/kernel:0", "rpn_class_raw/bias:0"]
    assert np.array_equal(found["conv1"]["conv1/kernel:0"], model.get_layer("conv1").kernel)


def test_other_names_of_weights(saved, tmp_path):
    """Split attributes, text names, inner names and another order are matched by suffix."""
    path, model = saved
    found = reading.read_weights(path)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names0"] = ["conv1", "gone"]
        file.attrs["layer_names1"] = ["bn_conv1"]
        for layer in ("conv1", "bn_conv1"):
            names = []
            for name, value in reversed(found[layer].items()):
                names.append(f"{layer}/{layer}/conv2d/{name.split('/')[-1].split(':')[0]}")
                file[f"{layer}/{names[-1]}"] = value
            file[layer].attrs["weight_names"] = names
    other = network(seed=1)
    report = loading.load_weights(tmp_path / "old.h5", other.layers)
    assert report.loaded == ["conv1", "bn_conv1"] and "rpn_class_raw" in report.missing
    for layer in report.loaded:
        assert same(weights_of(model.get_layer(layer)), weights_of(other.get_layer(layer)))


def test_long_name_lists_are_split(tmp_path):
    layers = [keras.layers.ReLU(name=f"layer_{i:05}_{'x' * 60}") for i in range(1200)]
    layers.append(keras.layers.Dense(2, name="last"))
    layers[-1].build((None, 3))
    h5.write_weights(tmp_path / "a.h5", layers)
    with h5py.File(tmp_path / "a.h5") as file:
        assert "layer_names" not in file.attrs and "layer_names1" in file.attrs
    assert list(reading.read_weights(tmp_path / "a.h5")) == ["last"]


# --- What does not fit ---------------------------------------------------------------------------
def test_number_of_classes(saved):
    path, model = saved
    other = network(classes=5, seed=1)
    before = weights_of(other)
    with pytest.raises(ValueError, match="with 3 classes.*NUM_CLASSES = 5.*exclude=") as info:
        loading.load_weights(path, other.layers)
    assert "['mrcnn_class_logits', 'mrcnn_bbox_fc']" in str(info.value)
    assert same(before, weights_of(other))
    heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "rpn_model"]
    report = loading.load_weights(path, other.layers, exclude=heads)
    assert report.loaded == ["conv1", "bn_conv1"] and set(LAYERS[2:]) < set(report.excluded)
    assert report.mismatched == heads[:2] and "mismatched: 2" in report.summary()


def test_other_shapes(saved):
    other = network(width=6, seed=1)
    before = weights_of(other)
    with pytest.raises(ValueError, match=r"conv1: file .*3, 4\).*model .*3, 6\).*exclude"):
        loading.load_weights(saved[0], other.layers)
    assert same(before, weights_of(other))


def test_nothing_in_common(saved):
    layer = keras.layers.Dense(2, name="stranger")
    layer.build((None, 3))
    with pytest.raises(ValueError, match="no layer in common.*conv1.*stranger"):
        loading.load_weights(saved[0], [layer])


def test_unknown_exclude(saved):
    with pytest.raises(ValueError, match="exclude names layers.*: mrcnn_masks"):
        loading.load_weights(saved[0], saved[1].layers, exclude=["mrcnn_masks"])


# --- Untrusted files -----------------------------------------------------------------------------
def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.h5"):
        reading.read_weights(tmp_path / "nowhere.h5")


@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
def test_truncated(saved, share):
    path, _ = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="a.h5 cannot be read.*damaged.*copy, download or"):
        loading.load_weights(path, network().layers)


def test_no_hdf5_and_other_layout(tmp_path):
    (tmp_path / "a.h5").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="a.h5 cannot be read"):
        reading.read_weights(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = 1.0
    with pytest.raises(ValueError, match="b.h5: '/' has no attribute 'layer_names'.*Keras 2"):
        reading.read_weights(tmp_path / "b.h5")


@pytest.mark.parametrize("kind", ["external", "soft", "objects", "group", "absent", "raw file"])
def test_refuses(saved, tmp_path, kind):
    path, _ = saved
    name = "conv1/conv1/kernel:0"
    with h5py.File(tmp_path / "victim.h5", "w") as file:
        file["secret"] = np.ones((3, 3, 3, 4), "float32")
    with h5py.File(path, "a") as file:
        del file[name]
        if kind == "external":
            file[name] = h5py.ExternalLink(tmp_path / "victim.h5", "/secret")
        elif kind == "soft":
            file[name] = h5py.SoftLink("/mrcnn_bbox_fc/mrcnn_bbox_fc/kernel:0")
        elif kind == "objects":
            file.create_dataset(name, data=["rm -rf"] * 3, dtype=h5py.string_dtype())
        elif kind == "group":
            file.create_group(name)
        elif kind == "raw file":
            external = [(str(tmp_path / "victim.h5"), 0, 432)]
            file.create_dataset(name, (3, 3, 3, 4), "float32", external=external)
    with pytest.raises(ValueError, match="a.h5: .*(link|numbers|missing|another file)"):
        loading.load_weights(path, network().layers)


def test_shape_is_checked_before_reading(saved):
    path, _ = saved
    with h5py.File(path, "a") as file:
        del file["conv1/conv1/bias:0"]
        # A dataset of 8 TB without any stored data.
        file.create_dataset("conv1/conv1/bias:0", (2**41,), "float32", chunks=(2**20,))
    with pytest.raises(ValueError, match="2199023255552"):
        loading.load_weights(path, network().layers)


def test_nan(saved):
    path, _ = saved
    with h5py.File(path, "a") as file:
        file["conv1/conv1/bias:0"][0] = np.nan
    with pytest.raises(ValueError, match="layer conv1 has NaN"):
        loading.load_weights(path, network().layers)


def test_full_disk(saved):
    path, model = saved
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(
            OSError, match="cannot write.*a.h5.*previous.*is unchanged.*Free disk space"
        ):
            h5.write_weights(path, model.layers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["a.h5"]


def test_equal_layer_names(tmp_path):
    layers = [keras.layers.Dense(1, name="a"), keras.layers.Dense(1, name="a")]
    with pytest.raises(ValueError, match="repeated: a"):
        h5.write_weights(tmp_path / "a.h5", layers)


# --- Optimizer -----------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [keras.optimizers.AdamW, keras.optimizers.SGD])
def test_optimizer(tmp_path, make):
    options = {"momentum": 0.9} if make is keras.optimizers.SGD else {}
    model = network()
    optimizer = make(0.1, **options)
    optimizer.build(model.trainable_variables)
    for _ in range(2):
        optimizer.apply([np.ones(v.shape, "float32") for v in model.trainable_variables])
    h5.write_weights(tmp_path / "a.h5", model.layers, optimizer)

    other = make(0.01, **options)  # Keras numbers its name: sgd_1
    other.build(network(seed=1).trainable_variables)
    count = h5.load_optimizer(tmp_path / "a.h5", other)
    assert count == len(optimizer.variables) - 1  # all except the learning rate
    for ours, theirs in zip(optimizer.variables, other.variables, strict=True):
        expected = 0.01 if ours.name == "learning_rate" else np.array(ours)
        assert np.allclose(expected, np.array(theirs))
    assert int(other.iterations) == 2
    h5.load_optimizer(tmp_path / "a.h5", other, learning_rate=True)
    assert np.allclose(other.learning_rate, 0.1)


def test_optimizer_missing(saved, caplog):
    optimizer = keras.optimizers.SGD()
    optimizer.build(saved[1].trainable_variables)
    with caplog.at_level("WARNING", "mrcnn"):
        assert h5.load_optimizer(saved[0], optimizer) == 0
    assert "starts from scratch" in caplog.text


def test_metadata(saved):
    path, model = saved
    with h5py.File(path, "a") as file:
        file.attrs["mrcnn_metadata"] = "{"
    with pytest.raises(ValueError, match="a.h5: .*not valid JSON"):
        reading.read_metadata(path)
    with h5py.File(path, "a") as file:
        file.attrs["mrcnn_metadata"] = "[1]"
    with pytest.raises(ValueError, match="a.h5: .*not a JSON object"):
        reading.read_metadata(path)
    h5.write_weights(path, model.layers)
    assert reading.read_metadata(path) == {}
    assert json.dumps(reading.read_metadata(path)) == "{}"


@pytest.mark.parametrize(
    "metadata", [{"numerics": ["x"]}, {"numerics": "evil"}, {"classes": 3}, {"classes": [1, {}]}]
)
def test_untrusted_metadata(saved, metadata):
    path, model = saved
    h5.write_weights(path, model.layers, metadata=metadata)
    with open_source(path) as source:
        assert source.dialect is None and source.class_names is None and not source.settings


def test_drop_optimizer(saved, tmp_path):
    path, model = saved
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    whole = tmp_path / "whole.h5"
    h5.write_weights(whole, model.layers, optimizer=optimizer, metadata={"epoch": 3})
    before, size = reading.read_weights(whole), whole.stat().st_size
    h5.drop_optimizer(whole)
    assert whole.stat().st_size < size and reading.read_metadata(whole) == {"epoch": 3}
    for layer, weights in reading.read_weights(whole).items():
        assert list(weights) == list(before[layer])
        for name, value in weights.items():
            np.testing.assert_array_equal(value, before[layer][name])
    bare = whole.read_bytes()
    h5.drop_optimizer(whole)  # there is no optimizer any more
    assert whole.read_bytes() == bare


def test_a_name_that_is_not_there_is_a_key_error(saved):
    with reading.open_weights(saved[0]) as layers:
        assert "nothing" not in layers["conv1"] and layers["conv1"].get("nothing") is None
        with pytest.raises(KeyError):
            layers["conv1"]["nothing"]


def test_the_state_of_an_optimizer_is_checked_within_limits(saved, tmp_path):
    path, _ = saved
    with pytest.raises(FileNotFoundError, match="nothing.h5"):
        h5.check_optimizer(tmp_path / "nothing.h5")
    with h5py.File(path, "a") as file:
        for i in range(10):  # 640 MB of numbers that are not stored
            name = f"optimizer_weights/a{i}"
            file.create_dataset(name, (2**24,), "float32", chunks=(2**16,))
    with pytest.raises(ValueError, match="a.h5: with 'a4' of shape .* claims 335,"):
        h5.check_optimizer(path)
