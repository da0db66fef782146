"""Mask R-CNN for Keras 3.

`Config`, `Dataset`, `MaskRCNN` and `read_image` are loaded on first use, so that
``import mrcnn`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see; __getattr__ below does it at run time
    from mrcnn.config import Config
    from mrcnn.data.dataset import Dataset
    from mrcnn.images.files import read_image
    from mrcnn.models.mask_rcnn import MaskRCNN

from mrcnn.backend import explained

__all__ = ["Config", "Dataset", "MaskRCNN", "__version__", "read_image"]
__version__ = "3.0.0"  # the only place; pyproject.toml reads it

_HOMES = {
    "Config": "mrcnn.config",
    "Dataset": "mrcnn.data.dataset",
    "MaskRCNN": "mrcnn.models.mask_rcnn",
    "read_image": "mrcnn.images.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcnn' has no attribute {name!r}")
    with explained():  # where Keras' backend is missing
        value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
