"""A model folder whose weights lost a layer is refused: the layer would stay random."""

import shutil

import h5py
import numpy as np
import pytest

from mrcnn import MaskRCNN


@pytest.fixture
def folder(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "model")


def without(folder, layer):
    """Removes a layer from the list of the file, as a damaged name does."""
    with h5py.File(folder / "weights.h5", "a") as file:
        names = [name for name in file.attrs["layer_names"] if name != layer.encode()]
        del file.attrs["layer_names"]
        file.attrs["layer_names"] = np.array(names)


@pytest.mark.parametrize("layer", ["mrcnn_mask", "bn3a_branch2a"])
def test_a_lost_layer(folder, layer):
    without(folder, layer)
    with pytest.raises(ValueError, match=f"weights.h5 is incomplete: .*{layer}"):
        MaskRCNN.load(folder)


def test_weights_alone_may_be_loaded_in_part(folder, caplog):
    """Old scripts start a training from files that lack the heads."""
    model = MaskRCNN.load(folder)
    without(folder, "mrcnn_mask")
    with caplog.at_level("WARNING", "mrcnn"):
        report = model.load_weights(folder / "weights.h5")
    assert report.missing == ["mrcnn_mask"] and "missing: 1 (mrcnn_mask)" in caplog.text
