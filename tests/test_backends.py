"""One training step and one detection, on the current backend of Keras."""

import numpy as np
from tiny import TinyConfig

from mrcnn import MaskRCNN
from mrcnn.data.synthetic.shapes import ShapesDataset


class OneStep(TinyConfig):
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 1


def test_a_step_and_a_detection(tmp_path):
    model = MaskRCNN("training", OneStep(), tmp_path)
    data = ShapesDataset(2, 64, 64)
    before = [np.array(weight) for weight in model.network.training.get_layer("conv1").weights]
    history = model.train(data, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    after = model.network.training.get_layer("conv1").weights
    assert any((a != np.array(b)).any() for a, b in zip(before, after, strict=True))
    (found,) = model.detect([data.load_image(0)])
    assert found["masks"].shape == (64, 64, len(found["scores"]))
    again = MaskRCNN.load(model.folder.path)
    (same,) = again.detect([data.load_image(0)])
    np.testing.assert_allclose(same["scores"], found["scores"], atol=1e-5)
