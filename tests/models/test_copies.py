"""Copies of a model: pickle, deepcopy, and the Keras file of `keras_model`."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny import TinyConfig

import mrcnn.model
import mrcnn.models.mask_rcnn
from mrcnn.data.batches import Batches
from mrcnn.data.synthetic.shapes import ShapesDataset

CLASSES = [mrcnn.models.mask_rcnn.MaskRCNN, mrcnn.model.MaskRCNN]
SETTINGS = [{}, {"NUMERICS": "matterport"}]
cases = pytest.mark.parametrize(
    ("cls", "settings", "mode"),
    [
        pytest.param(cls, s, mode, marks=[] if quick else pytest.mark.slow)
        for cls in CLASSES
        for s in SETTINGS
        for mode in ("training", "inference")
        # quick: the new class to train with, and the old class and dialect to detect with
        for quick in [
            (cls is CLASSES[1], bool(s), mode == "inference") in (3 * (True,), 3 * (False,))
        ]
    ],
)


def same(found, expected):
    assert len(found["scores"])
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)


@cases
def test_pickle_and_deepcopy(cls, settings, mode, tmp_path):
    model = cls(mode, TinyConfig(**settings), tmp_path)
    model.class_names = ["BG", "a", "b", "c"]
    image = ShapesDataset(1, 64, 64).load_image(0)
    (expected,) = model.detect([image])
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is cls and twin.mode == mode and twin.class_names == model.class_names
        assert twin.keras_model is not model.keras_model
        assert twin.folder is not model.folder  # two models never train in one folder
        same(twin.detect([image])[0], expected)


SCRIPT = """
import pickle, sys
import numpy as np
model, image = pickle.load(open(sys.argv[1], "rb"))
np.savez(sys.argv[2], **model.detect([image])[0])
"""


def test_pickle_in_another_process(tmp_path):
    model = mrcnn.model.MaskRCNN("inference", TinyConfig(), tmp_path)
    image = ShapesDataset(1, 64, 64).load_image(0)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps((model, image)))
    run_python(SCRIPT, tmp_path / "model.pkl", tmp_path / "found.npz")
    same(np.load(tmp_path / "found.npz"), model.detect([image])[0])


def run_python(script, *arguments):
    tests = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{script}"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def arrays_for(graph, seed=0):
    """Returns random arrays for the inputs of an inference graph."""
    rng = np.random.default_rng(seed)
    shapes = [
        (1, 1023, 4)
        if "anchors" in tensor.name
        else (1, *(side or 64 for side in tensor.shape[1:]))
        for tensor in keras.tree.flatten(graph.input)
    ]
    return [rng.random(shape).astype("float32") for shape in shapes]


def values(outputs):
    return [keras.ops.convert_to_numpy(value) for value in keras.tree.flatten(outputs)]


@cases
def test_keras_file_opens_again(cls, settings, mode, tmp_path):
    config = TinyConfig(SEED=3, **settings)
    model = cls(mode, config, tmp_path)
    data = ShapesDataset(4, 64, 64)
    if mode == "training":
        model.train(data, epochs=1, verbose=0)
    path = tmp_path / "m.keras"
    model.keras_model.save(path)
    opened = keras.models.load_model(path)
    assert type(opened) is type(model.keras_model)
    if mode == "inference":
        arrays = arrays_for(model.keras_model)
        expected, found = model.keras_model(arrays), opened(arrays)
    else:
        assert opened.loss_weights == model.keras_model.loss_weights
        batches = Batches(data, config, None, shuffle=False, seed=0)
        expected = model.keras_model.evaluate(batches, verbose=0, return_dict=True)
        found = opened.evaluate(batches, verbose=0, return_dict=True)
        assert found.keys() == expected.keys() and "mrcnn_mask_loss" in found
        assert opened.fit(batches, verbose=0).history["loss"][0] > 0
        return
    for one, other in zip(values(expected), values(found), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("cls", "line"),
    [(CLASSES[0], "from mrcnn import MaskRCNN"), (CLASSES[1], "import mrcnn.model")],
)
def test_keras_file_opens_in_a_process_that_imported_the_class(cls, line, tmp_path):
    for mode in ("training", "inference"):
        cls(mode, TinyConfig(), tmp_path).keras_model.save(tmp_path / f"{mode}.keras")
    run_python(
        f"import keras\n{line}\n"
        "for mode in ('training', 'inference'):\n"
        "    keras.models.load_model(f'{sys.argv[1]}/{mode}.keras')",
        tmp_path,
    )
