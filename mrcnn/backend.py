"""Imports Keras with a clear error where its backend is missing, and nothing heavy by itself."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Backend of Keras: what to install for it.
PACKAGES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


class BackendError(ImportError):
    """Keras' backend cannot be imported; the text says what to do."""


def chosen() -> str:
    """Returns the name of the backend that Keras takes: of KERAS_BACKEND, else of keras.json."""
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name
    folder = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        return str(json.loads(Path(folder, "keras.json").read_text("utf-8"))["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow"


@contextmanager
def explained() -> Iterator[None]:
    """Turns what a missing or misspelt backend raises inside the block into `BackendError`."""
    try:
        yield
    except BackendError:
        raise
    except (ImportError, ValueError) as error:
        text = _reason()
        if text is None:  # another fault
            raise
        raise BackendError(text) from error


def _reason() -> str | None:
    """What is wrong with the chosen backend; None: it is installed."""
    name = chosen()
    found = [known for known, package in PACKAGES.items() if _installed(package)]
    others = [known for known in found if known != name]
    other = f"choose an installed one: KERAS_BACKEND={others[0]}" if others else "no other is there"
    if name not in PACKAGES:
        return (
            f"Keras has no backend {name!r} (KERAS_BACKEND or keras.json); there are "
            f"{', '.join(PACKAGES)}. Correct the name, or {other}."
        )
    if name in found:
        return None
    return (
        f"Keras' backend {name!r} is not installed. Install it: pip install {PACKAGES[name]}; or "
        f"{other}."
    )


def _installed(package):
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # hidden by hand
        return False
