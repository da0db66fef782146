"""Annotation formats: one file per format, found by its name in this folder.

The file of a format holds:

    NAME: str. What `Dataset.open(path, format=NAME)` calls it.
    looks_like(path) -> bool. Whether a path, file or folder, holds the format; a quick look.
    read(path, images=None, **options) -> Annotations.
    write(annotations, path). Writes what `read` reads.
    HOLDS_SCORES = True. Optional: whether `write` keeps the scores of a model.
    splits(path) -> list of str. Optional: the parts that `read` takes as its option `split`.

The first line of its docstring says what the format is. Files that begin with "_" are no formats.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from mrcnn.data.annotations import Annotations

logger = logging.getLogger("mrcnn")


def formats() -> dict[str, ModuleType]:
    """Returns the formats of this folder by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [
        importlib.import_module(f"{__name__}.{name}") for name in names if not name.startswith("_")
    ]
    return {module.NAME: module for module in modules}


def read(
    path: str | os.PathLike,
    format: str = "auto",
    images: str | os.PathLike | None = None,
    **options: Any,
) -> Annotations:
    """Reads annotations of any format.

    Args:
        path: str or path. The annotation file or folder.
        format: str. The name of the format. Defaults to "auto": the one that `path` looks like.
        images: str or path. The folder of images, if it is not where the format expects it.
            Defaults to None.
        **options: options of the format, such as `crowds` of "coco" or `class_name`.

    Returns:
        Annotations.

    Raises:
        FileNotFoundError: if `path` does not exist.
        ValueError: if no format or several fit, there is no format of the name, or it does not have
            an option; or what the format itself raises.
    """
    module = _named(format) if format != "auto" else _detected(Path(path))
    known = list(inspect.signature(module.read).parameters)[2:]
    for option in options:
        if option not in known:
            raise ValueError(
                f"The format {module.NAME!r} has no option {option!r}. Its options: "
                f"{', '.join(known) or 'none'}."
            )
    return module.read(path, images=images, **options)


def recognize(path: str | os.PathLike, format: str = "auto") -> str | None:
    """Returns the name of the format of a path, or None if none or several fit.

    Args:
        path: str or path. The annotation file or folder.
        format: str. A name, which is returned as it is. Defaults to "auto".
    """
    if format != "auto":
        return format
    fitting = _fitting(Path(path))
    return fitting[0].NAME if len(fitting) == 1 else None


def splits(path: str | os.PathLike, format: str) -> list[str]:
    """Returns the names of the parts that a data set is divided into, such as "train" and "val".

    Args:
        path: str or path. The annotation file or folder.
        format: str. The name of the format.
    """
    module = _named(format)
    return module.splits(Path(path)) if hasattr(module, "splits") else []


def write(annotations: Annotations, path: str | os.PathLike, format: str) -> None:
    """Writes annotations in one of the formats.

    Args:
        annotations: Annotations.
        path: str or path. The file or folder to write.
        format: str. The name of the format.

    Raises:
        ValueError: if there is no such format, or it cannot hold the annotations.
    """
    module = _named(format)
    scored = any(i.score is not None for image in annotations.images for i in image.instances)
    if scored and not getattr(module, "HOLDS_SCORES", False):
        logger.warning(
            "%s: the format %r has no place for scores; they are left out.", path, format
        )
    module.write(annotations, path)


def _named(name):
    known = formats()
    if name not in known:
        raise ValueError(f"format must be one of 'auto', {_listed(known)}, got {name!r}.")
    return known[name]


def _detected(path):
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such annotation file or folder. Check the path.")
    fitting = _fitting(path)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = _listed(module.NAME for module in fitting)
        raise ValueError(f"{path} looks like several formats: {names}. Choose one with format=.")
    first_lines = {
        name: (module.__doc__ or "").splitlines()[0] for name, module in formats().items()
    }
    looked_for = "".join(f"\n  {name}: {line}" for name, line in first_lines.items())
    raise ValueError(
        f"{path}: no known annotation format; it is {_described(path)}. Looked for:{looked_for}\n"
        "If it is one of these, name it with format= for a closer look."
    )


def _fitting(path):
    """Returns the formats that a path looks like."""
    return [module for module in formats().values() if path.exists() and module.looks_like(path)]


def _listed(names):
    return ", ".join(repr(name) for name in names)


def _described(path):
    if path.is_file():
        return f"a file of {path.stat().st_size} bytes"
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    return f"a folder of {', '.join(entries[:8]) or 'nothing'}{', ...' * (len(entries) > 8)}"
