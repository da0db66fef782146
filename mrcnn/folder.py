"""A model is a folder: settings, classes, weights, history, curves. This file knows its layout.

::

    runs/cells20261123T1000/
        config.json                  every setting
        classes.json                 class names, background first
        mask_rcnn_cells_0007.h5      weights after epoch 7; the newest with the optimizer's state
        best.h5                      weights of the best epoch
        history.csv                  one row an epoch
        curves.png                   the same as a picture
        training.json                the train() calls so far: what an interrupted run goes on from

A folder written by `MaskRCNN.save` holds config.json, classes.json and weights.h5 alone.
"""

from __future__ import annotations

import csv
import datetime
import json
import re
from pathlib import Path

from mrcnn.images.atomic import atomic_path

_CHECKPOINT = re.compile(r"mask_rcnn_[\w-]+?_(\d{4,})\.h5$")
_STAMP = "%Y%m%dT%H%M"


def _run_pattern(name):
    return re.compile(re.escape((name or "model").lower()) + r"\d{8}T\d{4}$")


class ModelFolder:
    """One model's folder.

    Args:
        path: of the folder; made when something is first written.
        name: the Config's NAME, which the checkpoint files carry.
    """

    def __init__(self, path, name: str | None = None):
        self.path = Path(path)
        self.name = (name or "model").lower()

    @classmethod
    def new(cls, parent, name: str | None) -> ModelFolder:
        """A folder `parent/<name><date>T<time>` that does not exist yet."""
        now = datetime.datetime.now()
        stem = (name or "model").lower()
        path = Path(parent) / f"{stem}{now:{_STAMP}}"
        while path.exists():  # two runs within a minute
            now += datetime.timedelta(minutes=1)
            path = Path(parent) / f"{stem}{now:{_STAMP}}"
        return cls(path, name)

    @staticmethod
    def runs(parent, name: str | None) -> list[ModelFolder]:
        """The run folders of a NAME in `parent`, oldest first."""
        parent = Path(parent)
        paths = sorted(parent.iterdir()) if parent.is_dir() else []
        found = [path for path in paths if _run_pattern(name).match(path.name)]
        return [ModelFolder(path, name) for path in found]

    @staticmethod
    def of_checkpoint(path, name: str | None) -> tuple[ModelFolder, int] | None:
        """Run folder and epoch of a numbered checkpoint of this NAME; None for other files."""
        path = Path(path).absolute()
        checkpoint = _CHECKPOINT.match(path.name)
        if not checkpoint or not _run_pattern(name).match(path.parent.name):
            return None
        return ModelFolder(path.parent, name), int(checkpoint[1])

    # --- Weights -----------------------------------------------------------------------------
    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.path / "best.h5"

    def checkpoint(self, epoch: int) -> Path:
        """Where the state after an epoch (counted from 1) is kept."""
        return self.path / f"mask_rcnn_{self.name}_{epoch:04d}.h5"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Epoch and path of every kept checkpoint, oldest first."""
        files = self.path.glob("mask_rcnn_*.h5") if self.path.is_dir() else []
        return sorted((int(m[1]), p) for p in files if (m := _CHECKPOINT.match(p.name)))

    def prune(self, keep: int):
        """Removes all checkpoints but the newest `keep` (0: keeps all)."""
        for _, path in self.checkpoints()[:-keep] if keep else []:
            path.unlink(missing_ok=True)

    def weights(self, latest: bool = False) -> Path:
        """The weights to load: saved, best, else newest; `latest`: the newest checkpoint first.

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
    def describe(self, config, class_names: list[str]):
        """Writes config.json and classes.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write("config.json", config.to_json())
        self._write("classes.json", json.dumps(list(class_names), indent=2, ensure_ascii=False))

    def class_names(self) -> list[str]:
        """The class names, background first. Raises ValueError if the file is no list of text."""
        names = self._read("classes.json", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{self.path / 'classes.json'}: expected a JSON list of class names.")
        return names

    # --- Training ----------------------------------------------------------------------------
    def stages(self) -> list[dict]:
        """The train() calls recorded in this folder, first to last."""
        return self._read("training.json", [])

    def write_stages(self, stages: list[dict]):
        """Records the train() calls."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write("training.json", json.dumps(stages, indent=2))

    def history(self) -> list[dict]:
        """The rows of history.csv, numbers as floats, the epoch as int; empty without the file."""
        path = self.path / "history.csv"
        if not path.exists():
            return []
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [
            {k: int(v) if k == "epoch" else float(v) for k, v in row.items() if v not in ("", None)}
            for row in rows
        ]

    def write_history(self, rows: list[dict]):
        """Writes history.csv whole; columns in order of first appearance."""
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
