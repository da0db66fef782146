"""`mrcnn info`: versions, devices, and what a model is."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

import mrcnn
from mrcnn.cli.shared import options
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.models import open_model
from mrcnn.cli.shared.usage import OK

HELP = "Show versions, devices and what a model is."
EXAMPLE = "mrcnn info demo"

_PACKAGES = ("tensorflow", "keras", "numpy", "opencv-python", "pycocotools", "scikit-image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("model", nargs="?", help=options.MODEL)


def run(args: argparse.Namespace) -> int:
    """Shows them."""
    load_backend()
    import keras

    from mrcnn import runtime

    print(f"mrcnn          {mrcnn.__version__} (python {platform.python_version()})")
    for package in _PACKAGES:
        print(f"{package:14} {_version(package)}")
    print(f"{'backend':14} {keras.backend.backend()}")
    print(f"{'devices':14} {', '.join(runtime.devices())}")
    if args.model is not None:
        _describe(open_model(args.model))
    return OK


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _describe(model: Any) -> None:
    parameters = model.keras_model.count_params()
    config = model.config
    print()
    print(f"{'model':14} {config.NAME}")
    print(f"{'classes':14} {', '.join(model.class_names[1:])}")
    print(f"{'parameters':14} {parameters:,} ({parameters * 4 / 2**20:.1f} MB)")
    print()
    for name, value in config.to_dict().items():
        print(f"{name:30} {value}")
