"""Models written for other packages, one file per format, which has the name of the format.

The file of a format holds:

    SUFFIX: str. The suffix of the file that it writes.
    write(model, path). Writes a `MaskRCNN`, and raises ValueError if the other package has no such
        network.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from types import ModuleType
from typing import Any


def names() -> list[str]:
    """Returns the names of the formats, without importing them."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def named(name: str) -> ModuleType:
    """Returns the format of a name.

    Raises:
        ValueError: an unknown name.
    """
    if name not in names():
        raise ValueError(f"format must be one of {', '.join(names())}, got {name!r}.")
    return importlib.import_module(f"{__name__}.{name}")


def write(model: Any, path: str | os.PathLike, format: str) -> None:
    """Writes a model for another package.

    Args:
        model: MaskRCNN. The model.
        path: str or path. The file to write.
        format: str. One of `names()`.

    Raises:
        ValueError: an unknown format, or a network that the other package does not have.
    """
    named(format).write(model, path)
