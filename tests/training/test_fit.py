"""The loop over epochs: memory is freed when a model that was trained is deleted."""

import gc

import keras
import pytest
from tiny import TinyConfig

from mrcnn import MaskRCNN
from mrcnn.data.synthetic.shapes import ShapesDataset


def traced_steps() -> int:
    from tensorflow.python.framework.func_graph import FuncGraph

    gc.collect()
    return sum(type(thing) is FuncGraph for thing in gc.get_objects())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a habit of TensorFlow")
def test_the_memory_of_training_is_freed(tmp_path):
    before = traced_steps()
    model = MaskRCNN("training", TinyConfig(), str(tmp_path))
    model.train(ShapesDataset(2, 64, 64), epochs=1, verbose=0)
    assert traced_steps() > before
    del model
    assert traced_steps() == before
