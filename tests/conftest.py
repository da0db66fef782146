"""Shared by all tests: quiet TensorFlow, no windows, and a tiny model."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# One operation at a time, as `ops.kernels.make_repeatable` asks; tests of single operations start
# TensorFlow before it can.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest

# Everything as small as it goes: a step takes a fraction of a second.
TINY = {
    "NAME": "tiny",
    "NUM_CLASSES": 4,
    "BACKBONE": "resnet18",
    "IMAGE_MIN_DIM": 64,
    "IMAGE_MAX_DIM": 64,
    "IMAGES_PER_GPU": 2,
    "RPN_ANCHOR_SCALES": (8, 16, 32, 48, 64),
    "TOP_DOWN_PYRAMID_SIZE": 16,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 16,
    "MASK_CHANNELS": 8,
    "MASK_CONV_LAYERS": 1,
    "PRE_NMS_LIMIT": 50,
    "POST_NMS_ROIS_TRAINING": 20,
    "POST_NMS_ROIS_INFERENCE": 10,
    "TRAIN_ROIS_PER_IMAGE": 8,
    "RPN_TRAIN_ANCHORS_PER_IMAGE": 32,
    "MAX_GT_INSTANCES": 8,
    "DETECTION_MAX_INSTANCES": 5,
    "DETECTION_MIN_CONFIDENCE": 0.0,
    "DATA_WORKERS": 0,
}


@pytest.fixture(scope="session")
def tiny_settings():
    """Settings of the tiny model, a dict to copy."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A saved tiny model with random weights and the classes of ShapesDataset."""
    from mrcnn import Config, MaskRCNN

    model = MaskRCNN("inference", Config(**TINY))
    model.class_names = ["BG", "square", "circle", "triangle"]
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save(folder)
    return folder
