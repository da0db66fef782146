"""Matterport's `mrcnn.model`: the old names, from where they live now. New code does not use it."""

from __future__ import annotations

import importlib
from typing import Any

from mrcnn.compat.model import OldMethods
from mrcnn.compat.names import *  # noqa: F403 - what old scripts and notebooks import from here
from mrcnn.models import mask_rcnn

# What the old module had imported, and old scripts reach through it: module, or module and name.
_OLD_NAMES = {
    **{name: (name, None) for name in ("datetime", "keras", "logging", "math", "multiprocessing")},
    **{name: (name, None) for name in ("os", "random", "re", "scipy", "skimage", "sys")},
    "K": ("keras.backend", None),
    "KE": ("keras.layers", None),  # Keras' engine, whose Layer old code subclassed
    "KL": ("keras.layers", None),
    "KM": ("keras.models", None),
    "OrderedDict": ("collections", "OrderedDict"),
    "np": ("numpy", None),
    "tf": ("tensorflow", None),
    "utils": ("mrcnn.utils", None),
}


class MaskRCNN(OldMethods, mask_rcnn.MaskRCNN):
    """`mrcnn.MaskRCNN` with the methods of old; see `compat.model.OldMethods`."""


def __getattr__(name: str) -> Any:
    """Returns what old scripts reach through this module, such as `modellib.utils`."""
    if name not in _OLD_NAMES:
        raise AttributeError(f"module 'mrcnn.model' has no attribute {name!r}")
    module, attribute = _OLD_NAMES[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
