"""Mask R-CNN for Keras 3.

`Config`, `Dataset` and `MaskRCNN` are loaded on first use, so that ``import mrcnn`` is instant.
"""

from __future__ import annotations

import importlib

from mrcnn.backend import explained

__all__ = ["Config", "Dataset", "MaskRCNN", "__version__"]
__version__ = "3.0.0"  # also in pyproject.toml

_HOMES = {
    "Config": "mrcnn.config",
    "Dataset": "mrcnn.data.dataset",
    "MaskRCNN": "mrcnn.models.mask_rcnn",
}


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcnn' has no attribute {name!r}")
    with explained():  # where Keras' backend is missing
        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # from now on found without this function
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
