"""Installs modules and names in the running process, and removes them again.

Each function takes an `ExitStack`; closing it undoes the installation.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from contextlib import ExitStack
from typing import Any

_MISSING = object()


def module(
    stack: ExitStack, name: str, names: dict, source: Any = None, advice: str = ""
) -> types.ModuleType:
    """Adds a module to `sys.modules` and to its parent.

    Args:
        stack: ExitStack. Closing it removes the module.
        name: str. Dotted name of the module.
        names: dict. Contents of the module, by name.
        source: module or None. Where other names are looked up. Defaults to None.
        advice: str. Ends the error for a missing name. Defaults to "".

    Returns:
        The module. A missing name raises NotImplementedError.
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


def set_item(stack: ExitStack, values: dict, key: str, value: Any) -> None:
    """Sets an entry of a dict until the stack is closed.

    Args:
        stack: ExitStack. Closing it restores the entry.
        values: dict. The dict.
        key: str. The key.
        value: object. The new value.
    """
    before = values.get(key, _MISSING)
    values[key] = value
    stack.callback(lambda: values.pop(key) if before is _MISSING else values.update({key: before}))


def set_name(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Sets an attribute until the stack is closed.

    Args:
        stack: ExitStack. Closing it restores the attribute.
        owner: module or other object with a `__dict__`.
        name: str. The attribute.
        value: object. The new value.
    """
    set_item(stack, vars(owner), name, value)


def add_missing(stack: ExitStack, owner: Any, names: dict) -> None:
    """Sets the attributes that an object does not have yet.

    Args:
        stack: ExitStack. Closing it removes them.
        owner: module or other object with a `__dict__`.
        names: dict. Values by name.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns about some of them
        absent = {name: value for name, value in names.items() if not hasattr(owner, name)}
    for name, value in absent.items():
        set_name(stack, owner, name, value)


def importable(name: str) -> bool:
    """Returns whether a module can be imported without an error.

    Args:
        name: str. Dotted name of the module.
    """
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
