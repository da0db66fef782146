"""Matterport's `mrcnn.model`: re-exports the old names. New code does not need it."""

from __future__ import annotations

import importlib
from collections import OrderedDict  # noqa: F401 - reached as `modellib.OrderedDict`
from typing import Any

from mrcnn.compat.model import OldMethods
from mrcnn.compat.names import *  # noqa: F403 - what old scripts and notebooks import from here
from mrcnn.models import mask_rcnn


# Matterport's methods have other signatures than ours, which is their purpose.
class MaskRCNN(OldMethods, mask_rcnn.MaskRCNN):  # type: ignore[misc]
    """`mrcnn.MaskRCNN` with Matterport's methods; see `compat.model.OldMethods`."""


# Modules that Matterport's module imported, so that scripts could reach them through it.
_OLD_MODULES = {
    "K": "keras.backend",
    "KE": "keras.layers",  # for the base class `KE.Layer`
    "KL": "keras.layers",
    "KM": "keras.models",
    "np": "numpy",
    "tf": "tensorflow",
    "utils": "mrcnn.utils",
}
_OLD_MODULES |= {
    name: name
    for name in (
        "datetime",
        "json",
        "keras",
        "logging",
        "math",
        "multiprocessing",
        "os",
        "random",
        "re",
        "scipy",
        "skimage",
    )
}


def __getattr__(name: str) -> Any:
    """Returns a module that old scripts reach through this one, such as `modellib.utils`."""
    if name in _OLD_MODULES:
        return importlib.import_module(_OLD_MODULES[name])
    raise AttributeError(f"module 'mrcnn.model' has no attribute {name!r}")
