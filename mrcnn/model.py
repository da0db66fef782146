"""Matterport's `mrcnn.model`: the old names, from where they live now. New code does not use it."""

from __future__ import annotations

import importlib

from mrcnn.compat.model import OldMethods
from mrcnn.compat.names import *  # noqa: F403 - what old scripts and notebooks import from here
from mrcnn.models import mask_rcnn


class MaskRCNN(OldMethods, mask_rcnn.MaskRCNN):
    """`mrcnn.MaskRCNN` with the methods of old; see `compat.model.OldMethods`."""


_OLD_NAMES = {
    "utils": "mrcnn.utils", "tf": "tensorflow", "np": "numpy", "K": "keras.backend",
    "KL": "keras.layers", "KM": "keras.models",
}  # fmt: skip


def __getattr__(name):
    """What old scripts reach through this module: `modellib.utils`, `modellib.K` and the like."""
    if name in _OLD_NAMES:
        return importlib.import_module(_OLD_NAMES[name])
    raise AttributeError(f"module 'mrcnn.model' has no attribute {name!r}")
