"""Name maps: weights of other packages to the layers of this one, one file per family.

The file of a family of PyTorch weights holds:

    PREFIX: str. What is in the names of its tensors, and in those of no other family.
    modern(name) -> str. The current name of a tensor that older versions called differently.
    dialect_of(names) -> str. The dialect that the weights were trained in.
    settings(shapes) -> dict. The Config values implied by the shapes of the tensors.
    entries(settings) -> list of layouts.Entry. Where each tensor goes.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType


@functools.cache
def families() -> tuple[ModuleType, ...]:
    """Returns the families of PyTorch weights: the files of this folder that have `entries`."""
    found = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    return tuple(module for module in found if hasattr(module, "entries"))
