"""Puts modules and names into the process, and takes them out again.

Each function takes the `ExitStack` that undoes what it does.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from contextlib import ExitStack
from typing import Any

_MISSING = object()


def module(stack: ExitStack, name: str, names: dict, source: Any = None, advice: str = ""):
    """Puts a module into `sys.modules`, and into its parent.

    Args:
        stack: undoes it.
        name: dotted name.
        names: what it holds.
        source: module. Where else to look for a name. Defaults to None.
        advice: str. Ends the error for a name that it does not have.

    Returns:
        The module. A name that it does not have raises NotImplementedError.
    """
    made = types.ModuleType(name, f"Stand-in of `mrcnn.compat.stand_ins` for {name}.")
    made.__path__ = []  # it may have submodules
    made.__dict__.update(names)

    def missing(attribute):
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if source is not None and hasattr(source, attribute):
            return getattr(source, attribute)
        raise NotImplementedError(f"{name}.{attribute} has no stand-in. {advice}".strip())

    vars(made)["__getattr__"] = missing
    parent, _, last = name.rpartition(".")
    set_item(stack, sys.modules, name, made)
    if parent in sys.modules:
        set_name(stack, sys.modules[parent], last, made)
    return made


def set_item(stack: ExitStack, values: dict, key: str, value: Any):
    """Sets an entry of a dict until the stack is closed."""
    before = values.get(key, _MISSING)
    values[key] = value
    stack.callback(lambda: values.pop(key) if before is _MISSING else values.update({key: before}))


def set_name(stack: ExitStack, owner: Any, name: str, value: Any):
    """Sets an attribute until the stack is closed."""
    set_item(stack, vars(owner), name, value)


def add_missing(stack: ExitStack, owner: Any, names: dict):
    """Sets those attributes that the owner does not have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of some of them
        absent = {name: value for name, value in names.items() if not hasattr(owner, name)}
    for name, value in absent.items():
        set_name(stack, owner, name, value)


def importable(name: str) -> bool:
    """Whether a module can be imported; one that raises anything on import cannot."""
    before = set(sys.modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
        return True
    except Exception:
        for left in set(sys.modules) - before:
            if left == name or left.startswith(f"{name}."):
                del sys.modules[left]
        return False
