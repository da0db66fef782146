"""The loop over epochs: no part of a training stays in memory after its model is deleted."""

import gc
import weakref

import keras
from tiny import TinyConfig

from mrcnn import MaskRCNN
from mrcnn.data.synthetic.shapes import ShapesDataset


def traced_steps() -> list[str]:
    """Names of the graphs that TensorFlow holds; other backends trace none."""
    if keras.backend.backend() != "tensorflow":
        return []
    from tensorflow.python.framework.func_graph import FuncGraph

    return [thing.name for thing in gc.get_objects() if type(thing) is FuncGraph]


def test_the_memory_of_training_is_freed(tmp_path):
    gc.collect()
    before = traced_steps()
    model = MaskRCNN("training", TinyConfig(), str(tmp_path))
    model.train(ShapesDataset(2, 64, 64), epochs=1, verbose=0)
    assert len(traced_steps()) > len(before) or keras.backend.backend() != "tensorflow"
    graph = weakref.ref(model.keras_model)
    del model
    gc.collect()
    assert graph() is None
    assert traced_steps() == before
