"""A model is a folder: settings, classes, weights, history and curves. This is its layout.

::

    runs/cells20261123T1000/
        config.json                  every setting
        classes.json                 class names, background first
        mask_rcnn_cells_0007.h5      weights after epoch 7; the newest with the optimizer's state
        best.h5                      weights of the best epoch
        history.csv                  one row per epoch
        curves.png                   the same as a plot
        training.json                the train() calls so far: what an interrupted run resumes from

A folder written by `MaskRCNN.save` holds only config.json, classes.json and weights.h5.
"""

from __future__ import annotations

import csv
import datetime
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrcnn.images.atomic import atomic_path

_CHECKPOINT = re.compile(r"mask_rcnn_[\w-]+?_(\d{4,})\.h5$")
_STAMP = "%Y%m%dT%H%M"


def _run_match(folder_name: str, name: str | None) -> re.Match | None:
    """Matches the folder name of a run: its minute, and its number if the minute has several."""
    return re.fullmatch(
        re.escape((name or "model").lower()) + r"(\d{8}T\d{4})(?:-(\d+))?", folder_name
    )


class ModelFolder:
    """The folder of one model.

    Args:
        path: str or path. The folder. It is made when something is first written.
        name: str or None. The Config's `NAME`, which is part of the names of checkpoints. Defaults
            to None: "model".

    Attributes:
        path: Path. That of a new run can still change when the folder is made.
    """

    def __init__(self, path: str | os.PathLike, name: str | None = None):
        self.path = Path(path)
        self.name = (name or "model").lower()
        self._stem = self.path.name
        self._is_new = False  # a run that has no folder yet

    @classmethod
    def new(cls, parent: str | os.PathLike, name: str | None) -> ModelFolder:
        """Returns the folder of a new run, `parent/<name><date>T<time>`.

        It is made when it is first written. Runs of the same minute end with "-2", "-3" and so on.
        """
        stem = f"{(name or 'model').lower()}{datetime.datetime.now():{_STAMP}}"
        folder = cls(Path(parent) / stem, name)
        folder._is_new = True
        folder.path = next(path for path in folder._paths() if not path.exists())
        return folder

    def _paths(self) -> Iterator[Path]:
        """The names that a new run may take, best first."""
        yield self.path.parent / self._stem
        for number in itertools.count(2):
            yield self.path.parent / f"{self._stem}-{number}"

    def make(self) -> bool:
        """Makes the folder if there is none. A new run takes a name that no other run has.

        Returns:
            Whether the folder is the one of a new run, which was made just now.
        """
        if not self._is_new:
            self.path.mkdir(parents=True, exist_ok=True)
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in self._paths():
            try:
                path.mkdir()  # fails if another process was faster
            except FileExistsError:
                continue
            self.path, self._is_new = path, False
            return True
        raise FileExistsError(f"{self.path.parent}: no free name for a run.")  # never reached

    def discard(self) -> None:
        """Removes the description of a run that failed before its first checkpoint.

        What others have put into the folder stays.
        """
        for name in ("config.json", "classes.json", "training.json"):
            (self.path / name).unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()
            self._is_new = True

    @staticmethod
    def runs(parent: str | os.PathLike, name: str | None) -> list[ModelFolder]:
        """Returns the run folders of a NAME in `parent`, oldest first."""
        parent = Path(parent)
        paths = parent.iterdir() if parent.is_dir() else []
        found = [(match, path) for path in paths if (match := _run_match(path.name, name))]
        found.sort(key=lambda run: (run[0][1], int(run[0][2] or 1)))
        return [ModelFolder(path, name) for _, path in found]

    @staticmethod
    def of_checkpoint(path: str | os.PathLike, name: str | None) -> tuple[ModelFolder, int] | None:
        """Returns run folder and epoch of a numbered checkpoint of this NAME, None otherwise."""
        path = Path(path).absolute()
        checkpoint = _CHECKPOINT.match(path.name)
        if not checkpoint or not _run_match(path.parent.name, name):
            return None
        return ModelFolder(path.parent, name), int(checkpoint[1])

    # --- Weights -----------------------------------------------------------------------------
    @property
    def best(self) -> Path:
        """Path of the weights of the best epoch."""
        return self.path / "best.h5"

    def checkpoint(self, epoch: int) -> Path:
        """Returns the path of the checkpoint of an epoch, counted from 1."""
        return self.path / f"mask_rcnn_{self.name}_{epoch:04d}.h5"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Returns epoch and path of every checkpoint, oldest first."""
        files = self.path.glob("mask_rcnn_*.h5") if self.path.is_dir() else []
        return sorted((int(m[1]), p) for p in files if (m := _CHECKPOINT.match(p.name)))

    def prune(self, keep: int) -> None:
        """Removes all checkpoints except the newest.

        Args:
            keep: int. Number of checkpoints to keep. 0 keeps all.
        """
        for _, path in self.checkpoints()[:-keep] if keep else []:
            path.unlink(missing_ok=True)

    def weights(self, latest: bool = False) -> Path:
        """Returns the path of the weights to load.

        Args:
            latest: bool. Whether the newest checkpoint comes first, as for resuming. Otherwise the
                saved weights come first, then the best. Defaults to False.

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
        """Returns the class names, background first; empty without the file.

        Raises:
            ValueError: classes.json is not a list of text.
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
        """Returns the rows of history.csv, with `epoch` as int; empty without the file."""
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
        """Writes history.csv. Columns are in the order in which they first appear."""
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
        if self._is_new or not path.exists():  # a new run has nothing of its own yet
            return default
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
