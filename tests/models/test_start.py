"""How a model is opened by name, or created for training from another model."""

import numpy as np
import pytest

from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.models.mask_rcnn import MaskRCNN
from mrcnn.models.start import NoModelError, open_model, training_model


def test_a_model_under_every_name(tiny_folder):
    model = open_model(tiny_folder, "training", LEARNING_RATE=0.5)
    assert model.mode == "training" and model.config.LEARNING_RATE == 0.5
    assert open_model(str(tiny_folder)).class_names[1] == "square"
    assert open_model("demo").config.NAME == MaskRCNN.demo().config.NAME
    with pytest.raises(NoModelError, match=r"'dmo' is not there: .* Did you mean demo\?"):
        open_model("dmo")


def test_starting_from_another_model(tiny_folder, tmp_path):
    """Settings and weights are reused, but heads only if the classes are the same."""
    data = ShapesDataset(2, 64, 64, seed=1)
    lines = []
    same = training_model(data, tiny_folder, tmp_path, say=lines.append, NAME="same")
    assert same.mode == "training" and same.config.BACKBONE_WIDTH == 8
    assert (same.config.NAME, same.class_names, same.epoch) == ("same", same.class_names, 0)
    assert lines == [f"Starting from {tiny_folder / 'weights.h5'}."]

    def kernel(model, name):
        return np.asarray(model.network.training.get_layer(name).kernel)

    old = MaskRCNN.load(tiny_folder)
    for name in ("conv1", "mrcnn_class_logits"):
        assert np.array_equal(kernel(same, name), kernel(old, name))
    data.add_class("shapes", 4, "star")
    data.prepare()
    other = training_model(data, tiny_folder, tmp_path, say=lines.append)
    assert lines[1].endswith(" with new heads for these classes.")
    assert other.config.NUM_CLASSES == 5
    assert np.array_equal(kernel(other, "conv1"), kernel(old, "conv1"))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_started_from(tiny_folder, tmp_path):
    data = ShapesDataset(2, 64, 64, seed=1)
    with pytest.raises(ValueError, match="NUM_CLASSES is 7, but the data set has 4 classes"):
        training_model(data, tiny_folder, tmp_path, NUM_CLASSES=7)
    with pytest.raises(FileNotFoundError, match="weights 'nowhere': no such file or folder"):
        training_model(data, "nowhere", tmp_path)
