"""GPU_COUNT: the batch is split over devices. The tests use two logical CPUs."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from tiny import TinyConfig

from mrcnn.model import MaskRCNN

SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
sys.path.insert(0, {tests!r})
from tiny import TinyConfig
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.model import MaskRCNN

# Group normalization, because batch normalization sees only the images of its own device.
config = TinyConfig(GPU_COUNT={count}, IMAGES_PER_GPU=4 // {count}, BACKBONE_NORM="group")
model = MaskRCNN("training", config, {folder!r})
shapes = ShapesDataset(8, 64, 64)
history = model.train(shapes, shapes, 1e-3, epochs=2, verbose=0).history
model.train(shapes, None, 1e-3, epochs=3, layers="heads", verbose=0)
again = MaskRCNN.load(model.log_dir)
assert len(again.detect([shapes.load_image(0)])) == 1
print(json.dumps(history | {{"kind": type(model.keras_model.get_layer("conv1").kernel.value).__name__}}))
"""  # noqa: E501


def train(folder, count):
    script = SCRIPT.format(tests=str(Path(__file__).parent), count=count, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="logical devices of TensorFlow")
def test_two_devices_train_as_one(tmp_path):
    """The batches are equal, but each device samples for its own images."""
    one, two = train(tmp_path / "one", 1), train(tmp_path / "two", 2)
    assert two.pop("kind") == "MirroredVariable" and one.pop("kind") != "MirroredVariable"
    assert two["loss"] == pytest.approx(one["loss"], rel=0.1)
    parts = [two[name] for name in TinyConfig.LOSS_WEIGHTS]
    assert [sum(values) for values in zip(*parts, strict=True)] == pytest.approx(two["loss"], 1e-4)


def test_fewer_devices_than_requested(caplog, tmp_path):
    model = MaskRCNN("training", TinyConfig(GPU_COUNT=8, IMAGES_PER_GPU=1), tmp_path)
    assert "GPU_COUNT = 8" in caplog.text and model.config.BATCH_SIZE == 8
