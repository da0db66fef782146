"""A model is a folder: settings, classes, weights, history, curves. This file knows its layout.

::

    runs/cells20261123T1000/
        config.json                  every setting
        classes.json                 class names, the background first
        mask_rcnn_cells_0007.h5      weights after epoch 7; the newest with the optimizer's state
        best.h5                      weights of the best epoch
        history.csv                  one row per epoch
        curves.png                   the same as an image
        training.json                the train() calls so far, which resuming needs

A folder written by `MaskRCNN.save` holds config.json, classes.json and weights.h5 alone.
"""

from __future__ import annotations

import csv
import datetime
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

from mrcnn.images.atomic import atomic_path

logger = logging.getLogger("mrcnn")

_CHECKPOINT = re.compile(r"mask_rcnn_[\w-]+?_(\d{4,})\.h5$")
_STAMP = "%Y%m%dT%H%M"


def _run_pattern(name: str | None) -> re.Pattern:
    """Names of the run folders of a NAME: the time of the start, and a number if it was taken."""
    return re.compile(re.escape((name or "model").lower()) + r"(\d{8}T\d{4})(?:-(\d+))?$")


class ModelFolder:
    """One model's folder.

    Args:
        path: str or path. The folder; made when something is first written.
        name: str or None. NAME of the Config, which the checkpoint files carry. Defaults to None:
            "model".
    """

    def __init__(self, path: str | os.PathLike, name: str | None = None):
        self.path = Path(path)
        self.name = (name or "model").lower()
        self._is_new = False

    @classmethod
    def new(cls, parent: str | os.PathLike, name: str | None) -> ModelFolder:
        """Returns a folder `parent/<name><date>T<time>` for a new run.

        If the name is taken, a number is added. The folder is made, and so reserved, when something
        is first written. If another model or process has taken the name by then, the next number is
        used.

        Args:
            parent: str or path. Folder of the run folders.
            name: str or None. NAME of the Config.
        """
        now = f"{datetime.datetime.now():{_STAMP}}"
        folder = cls(Path(parent) / f"{(name or 'model').lower()}{now}", name)
        folder._is_new = True
        while folder.path.exists():
            folder.path = folder._next()
        return folder

    def _next(self) -> Path:
        """The same name with the next number."""
        stem, _, number = self.path.name.rpartition("-")
        if not number.isdigit() or "T" not in stem[-5:]:  # it has no number yet
            return self.path.with_name(f"{self.path.name}-2")
        return self.path.with_name(f"{stem}-{int(number) + 1}")

    def make(self) -> None:
        """Makes the folder. A new run reserves a name that nobody else has."""
        if not self._is_new:
            self.path.mkdir(parents=True, exist_ok=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                self.path.mkdir()
                break
            except FileExistsError:
                self.path = self._next()
        self._is_new = False

    @staticmethod
    def runs(parent: str | os.PathLike, name: str | None) -> list[ModelFolder]:
        """Returns the run folders of a NAME in `parent`, oldest first."""
        parent = Path(parent)
        found = []
        for path in parent.iterdir() if parent.is_dir() else []:
            match = _run_pattern(name).match(path.name)
            if match:
                found.append((match[1], int(match[2] or 1), path))
        return [ModelFolder(path, name) for *_, path in sorted(found)]

    @staticmethod
    def of_checkpoint(path: str | os.PathLike, name: str | None) -> tuple[ModelFolder, int] | None:
        """Returns run folder and epoch of a numbered checkpoint of this NAME, None for others."""
        path = Path(path).absolute()
        checkpoint = _CHECKPOINT.match(path.name)
        if not checkpoint or not _run_pattern(name).match(path.parent.name):
            return None
        return ModelFolder(path.parent, name), int(checkpoint[1])

    # --- Weights -----------------------------------------------------------------------------
    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.path / "best.h5"

    def checkpoint(self, epoch: int) -> Path:
        """Returns where the state after an epoch (counted from 1) is kept."""
        return self.path / f"mask_rcnn_{self.name}_{epoch:04d}.h5"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Returns epoch and path of every kept checkpoint, oldest first."""
        files = self.path.glob("mask_rcnn_*.h5") if self.path.is_dir() else []
        return sorted((int(m[1]), p) for p in files if (m := _CHECKPOINT.match(p.name)))

    def prune(self, keep: int) -> None:
        """Removes all checkpoints except the newest `keep`. 0: keeps all."""
        for _, path in self.checkpoints()[:-keep] if keep else []:
            path.unlink(missing_ok=True)

    def weights(self, latest: bool = False) -> Path:
        """Returns the weights to load: saved, best, or newest.

        Args:
            latest: bool. Whether the newest checkpoint comes first. Defaults to False.

        Raises:
            FileNotFoundError: the folder holds no weights.
        """
        numbered = [path for _, path in self.checkpoints()[-1:]]
        saved = [p for p in (self.path / "weights.h5", self.best) if p.exists()]
        for path in numbered + saved if latest else saved + numbered:
            return path
        raise FileNotFoundError(
            f"{self.path} holds no weights (weights.h5, best.h5 or mask_rcnn_*.h5). Is it the "
            "folder of a model, written by train() or save()?"
        )

    # --- Description -------------------------------------------------------------------------
    def describe(self, config: Any, class_names: list[str]) -> None:
        """Writes config.json and classes.json."""
        self.make()
        self._write("config.json", config.to_json())
        self._write("classes.json", json.dumps(list(class_names), indent=2, ensure_ascii=False))

    def class_names(self) -> list[str]:
        """Returns the class names, the background first; an empty list without the file.

        Raises:
            ValueError: the file is not a list of text.
        """
        names = self._read("classes.json", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{self.path / 'classes.json'}: expected a JSON list of class names.")
        return names

    # --- Training ----------------------------------------------------------------------------
    def stages(self) -> list[dict]:
        """Returns the train() calls recorded in this folder, first to last."""
        return self._read("training.json", [])

    def write_stages(self, stages: list[dict]) -> None:
        """Records the train() calls."""
        self.make()
        self._write("training.json", json.dumps(stages, indent=2))

    def history(self) -> list[dict]:
        """Returns the rows of history.csv; empty without the file. Only the epoch is an int."""
        path = self.path / "history.csv"
        if not path.exists():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            {k: int(v) if k == "epoch" else float(v) for k, v in row.items() if v not in ("", None)}
            for row in rows
        ]

    def write_history(self, rows: list[dict]) -> None:
        """Writes history.csv; columns in order of first appearance."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_path(self.path / "history.csv") as temporary:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)

    def _write(self, name, text):
        with atomic_path(self.path / name) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")

    def _read(self, name, default):
        path = self.path / name
        if not path.exists():
            return default
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
