"""Models travel: pickle, copy.deepcopy, and Keras' own files."""

import copy
import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from tiny import TinyConfig

import mrcnn.model
from mrcnn import MaskRCNN
from mrcnn.data.synthetic.shapes import ShapesDataset

IMAGE = ShapesDataset(1, 64, 64, seed=3).load_image(0)
KINDS = {"clean": MaskRCNN, "old": mrcnn.model.MaskRCNN}


class Small(TinyConfig):
    NAME = "small"


def make(kind, mode, **settings):
    model = KINDS[kind](mode, Small(**settings), "runs")
    model.class_names = ["BG", "a", "b", "c"]
    return model


def same(first, second):
    (a,), (b,) = first.detect([IMAGE]), second.detect([IMAGE])
    assert len(a["scores"])
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name])


def pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize(
    "copied, kind, mode",
    [
        (copy.deepcopy, "clean", "training"),
        (pickled, "clean", "inference"),
        (pickled, "old", "training"),
        (copy.deepcopy, "old", "inference"),
    ],
)
def test_a_copy_detects_the_same(copied, kind, mode):
    model = make(kind, mode)
    model.detect([IMAGE])  # compiled functions do not travel
    again = copied(model)
    assert type(again) is type(model) and again.mode == mode
    assert again.class_names == model.class_names and again.config is not model.config
    assert again.config.to_dict() == model.config.to_dict()
    same(model, again)


def test_a_copy_of_the_old_graph():
    model = make("old", "inference", NUMERICS="matterport", BACKBONE="resnet50", BACKBONE_WIDTH=8)
    same(model, copy.deepcopy(model))


def test_a_model_goes_to_another_process(tmp_path):
    model = make("clean", "inference")
    (expected,) = model.detect([IMAGE])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps((model, IMAGE)))
    script = (
        f"import sys, pickle; sys.path[:0] = {sys.path!r}\n"
        f"model, image = pickle.load(open({str(tmp_path / 'model.pkl')!r}, 'rb'))\n"
        "print(model.detect([image])[0]['rois'].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == str(expected["rois"].tolist()), done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_comes_back_from_a_file_of_keras(kind, tmp_path):
    model = make(kind, "inference")
    path = tmp_path / "model.keras"
    model.keras_model.save(path)
    again = keras.models.load_model(path)
    inputs = [IMAGE[None].astype("float32"), np.float32([[0, 0, 64, 64]])]
    first, second = model.keras_model(inputs), again(inputs)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_graph_comes_back_from_a_file_of_keras(kind, tmp_path):
    model = make(kind, "training", LOSS_WEIGHTS={"mrcnn_mask_loss": 3.0})
    path = tmp_path / "model.keras"
    model.keras_model.save(path)
    again = keras.models.load_model(path)
    assert type(again) is type(model.keras_model)
    assert again.loss_weights == model.keras_model.loss_weights
    for first, second in zip(model.keras_model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(first, second)


def test_two_models_of_one_config_do_not_meet():
    config = Small()
    first, second = MaskRCNN("inference", config), MaskRCNN("inference", config)
    first.config.DETECTION_MIN_CONFIDENCE = 0.9
    assert second.config.DETECTION_MIN_CONFIDENCE == config.DETECTION_MIN_CONFIDENCE == 0.0
    old = mrcnn.model.MaskRCNN("inference", config, "runs")
    assert old.config is config  # old scripts change it after building
