"""`mrcnn info`: versions, devices, and what a model is."""

from __future__ import annotations

import importlib.metadata
import platform

import keras

import mrcnn
from mrcnn.cli.common import OK, open_model

_PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python", "pycocotools", "scikit-image")


def run(model_name=None, say=print) -> int:
    """Shows them.

    Args:
        model_name: model folder, "demo" or None.
        say: function that shows a line.
    """
    say(f"mrcnn          {mrcnn.__version__} (python {platform.python_version()})")
    for package in _PACKAGES:
        say(f"{package:14} {_version(package)}")
    say(f"{'backend':14} {keras.backend.backend()}")
    devices = keras.distribution.list_devices("gpu") or keras.distribution.list_devices("cpu")
    say(f"{'devices':14} {', '.join(devices) or 'cpu'}")
    if model_name is not None:
        _describe(open_model(model_name), say)
    return OK


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _describe(model, say):
    weights = model.keras_model.weights
    parameters = sum(int(keras.ops.size(weight)) for weight in weights)
    config = model.config
    say("")
    say(f"{'model':14} {config.NAME}")
    say(f"{'classes':14} {', '.join(model.class_names[1:])}")
    say(f"{'parameters':14} {parameters:,} ({parameters * 4 / 2**20:.1f} MB)")
    say("")
    for name, value in config.to_dict().items():
        say(f"{name:30} {value}")
