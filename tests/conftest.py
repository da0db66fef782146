"""Shared by all tests: quiet TensorFlow, no windows, and a tiny model."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# One operation at a time, as `ops.kernels.make_repeatable` asks; tests of single operations start
# TensorFlow before it can.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A saved tiny model with random weights and the classes of ShapesDataset."""
    from tiny import TinyConfig

    from mrcnn import MaskRCNN

    model = MaskRCNN("inference", TinyConfig())
    model.class_names = ["BG", "square", "circle", "triangle"]
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def models_go():
    """Models are rings of references that Python is slow to find: the whole suite took 13 GB."""
    yield
    gc.collect()
