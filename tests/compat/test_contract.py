"""Every name and signature of Matterport's Mask_RCNN is there."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from mrcnn.config import Config

# What our versions of these accept beyond the old; old calls mean the same.
OPTIONAL_NOW = {
    "MaskRCNN.__init__": {"model_dir"},
    "MaskRCNN.train": {"val_dataset", "learning_rate", "epochs", "layers"},
}
KERAS_OWN = {"ParallelModel.__getattribute__", "ParallelModel.summary"}  # any arguments
DEFAULTS = {
    **{"NAME": None, "GPU_COUNT": 1, "IMAGES_PER_GPU": 2, "BACKBONE": "resnet101"},
    **{"COMPUTE_BACKBONE_SHAPE": None, "FPN_CLASSIF_FC_LAYERS_SIZE": 1024, "NUM_CLASSES": 1},
    **{"TOP_DOWN_PYRAMID_SIZE": 256, "RPN_ANCHOR_STRIDE": 1, "RPN_NMS_THRESHOLD": 0.7},
    **{"RPN_TRAIN_ANCHORS_PER_IMAGE": 256, "POST_NMS_ROIS_TRAINING": 2000, "POOL_SIZE": 7},
    **{"POST_NMS_ROIS_INFERENCE": 1000, "USE_MINI_MASK": True, "MINI_MASK_SHAPE": (56, 56)},
    **{"IMAGE_RESIZE_MODE": "square", "IMAGE_MIN_DIM": 800, "IMAGE_MAX_DIM": 1024},
    **{"IMAGE_MIN_SCALE": 0, "IMAGE_CHANNEL_COUNT": 3, "TRAIN_ROIS_PER_IMAGE": 200},
    **{"ROI_POSITIVE_RATIO": 0.33, "MASK_POOL_SIZE": 14, "MAX_GT_INSTANCES": 100},
    **{"DETECTION_MAX_INSTANCES": 100, "DETECTION_MIN_CONFIDENCE": 0.7, "USE_RPN_ROIS": True},
    **{"DETECTION_NMS_THRESHOLD": 0.3, "LEARNING_RATE": 0.001, "LEARNING_MOMENTUM": 0.9},
    **{"WEIGHT_DECAY": 0.0001, "GRADIENT_CLIP_NORM": 5.0},
}


def lines():
    module = owner = None
    text = Path(__file__).with_name("signatures.txt").read_text(encoding="utf-8")
    for line in text.splitlines()[1:]:
        if line.startswith("["):
            module, owner = line.strip("[]"), None
        elif line.strip().startswith("class "):
            owner = re.match(r"class (\w+)", line)[1]
            yield module, owner, None
        elif line.strip().startswith("def "):
            name, arguments = re.match(r"\s*def (\w+)\((.*)\)", line).groups()
            inside = line.startswith(" ")
            yield module, f"{owner}.{name}" if inside else name, arguments
        else:
            yield module, line, None


CASES = list(lines())


def test_the_list_is_whole():
    assert len(CASES) == 134
    assert len({module for module, _, _ in CASES}) == 5


@pytest.mark.parametrize("module, name, arguments", CASES, ids=lambda case: str(case)[:40])
def test_name_and_signature(module, name, arguments):
    found = importlib.import_module(f"mrcnn.{module}")
    names = vars(found) | {"COCO_MODEL_URL": None}
    for step in name.split("."):
        found = inspect.getattr_static(found, step, None) if "." in name else getattr(found, step)
        assert found is not None, f"mrcnn.{module}.{name} is missing"
    if arguments is None or isinstance(found, property) or name in KERAS_OWN:
        return
    old = inspect.signature(eval(f"lambda {arguments}: 0", names)).parameters  # noqa: S307
    new = inspect.signature(found).parameters
    assert list(new)[: len(old)] == list(old)
    for argument, parameter in old.items():
        if argument not in OPTIONAL_NOW.get(name, ()):
            assert new[argument].default == parameter.default
            assert new[argument].kind == parameter.kind
    extra = list(new.values())[len(old) :]
    assert all(p.default is not p.empty or p.kind == p.VAR_KEYWORD for p in extra)


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_of_config(name):
    assert getattr(Config, name) == DEFAULTS[name]


def test_what_old_modules_had_imported():
    """Scripts take these from the modules, as they take `log`."""
    model, visualize = (
        importlib.import_module("mrcnn.model"),
        importlib.import_module("mrcnn.visualize"),
    )
    for name in ("utils", "K", "KL", "KM", "tf", "np"):
        assert inspect.ismodule(getattr(model, name))
    for name in ("plt", "patches", "lines", "utils", "Polygon", "find_contours"):
        assert getattr(visualize, name) is not None
    for module in (model, visualize):
        with pytest.raises(AttributeError, match="nothing"):
            _ = module.nothing
