"""A model is a folder: settings, classes, weights, history and curves. This is its layout.

::

    runs/cells20261123T1000/
        config.json                  every setting
        classes.json                 class names, background first
        mask_rcnn_cells_0007.h5      weights after epoch 7
        best.h5                      weights of the best epoch
        history.csv                  one row per epoch
        curves.png                   the same as a plot
        training.json                the train() calls so far: what an interrupted run resumes from
        training.lock                while a process trains in the folder; see `images.lock`

The newest two checkpoints hold the state of the optimizer, too.

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

from mrcnn.config import Config
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import atomic_path, remove_leftovers
from mrcnn.images.lock import LOCK_FILE, FolderLock
from mrcnn.images.texts import read_csv, read_json
from mrcnn.settings.checks import run_name

_CHECKPOINT = re.compile(r"mask_rcnn_.+?_(\d{4,})\.h5")
_DESCRIPTION = ("config.json", "classes.json", "training.json", "command.json")
# Files of a run whose temporary files are removed when it is resumed.
_WRITTEN = re.compile(
    r"(config|classes|training|command)\.json|history\.csv|curves\.png|best\.h5|"
    + _CHECKPOINT.pattern
)
_STAMP = "%Y%m%dT%H%M"


class FolderInUseError(OSError):
    """Another training writes into the folder."""


def read_config(folder: str | os.PathLike) -> Config:
    """Reads and checks the settings of a model folder.

    Args:
        folder: str or path. The folder.

    Raises:
        FileNotFoundError: it has no config.json.
        ValueError: the file is damaged, or a setting is out of range; naming the file.
    """
    path = Path(folder) / "config.json"
    config = Config.from_json(path)
    with reading(path, "the settings of a model", "Restore the file, or correct this setting."):
        config.validate()
    return config


def _file_name(name: str | None) -> str:
    """Returns the part of file names that stands for a NAME."""
    name = "model" if name is None or name == "" else name
    if not run_name.accepts(name):
        raise ValueError(f"NAME must be {run_name.expected}, got {shorten(name)}.")
    return name.lower()


def _run_match(folder_name: str, name: str | None) -> re.Match | None:
    """Matches the folder name of a run: its minute, and its number if the minute has several."""
    return re.fullmatch(re.escape(_file_name(name)) + r"(\d{8}T\d{4})(?:-(\d{1,9}))?", folder_name)


class ModelFolder:
    """The folder of one model.

    Args:
        path: str or path. The folder. It is made when something is first written.
        name: str or None. The Config's `NAME`, which is part of the names of checkpoints. Defaults
            to None: "model".

    Attributes:
        path: Path. That of a new run can still change when the folder is made.
        replayed: list of dict. Finished train() calls of a resumed run that its script repeats.

    Raises:
        ValueError: a NAME that cannot be part of a file name.
    """

    def __init__(self, path: str | os.PathLike, name: str | None = None):
        self.path = Path(path)
        self.name = _file_name(name)
        self._lock: FolderLock | None = None
        self.replayed: list[dict] = []
        self._stem = self.path.name
        self._is_new = False  # a run that has no folder yet

    @classmethod
    def new(cls, parent: str | os.PathLike, name: str | None) -> ModelFolder:
        """Returns the folder of a new run, `parent/<name><date>T<time>`.

        It is made when it is first written. Runs of the same minute end with "-2", "-3" and so on.
        """
        stem = f"{_file_name(name)}{datetime.datetime.now():{_STAMP}}"
        folder = cls(Path(parent) / stem, name)
        folder._is_new = True
        folder.path = next(path for path in folder._paths() if not path.exists())
        return folder

    def _paths(self) -> Iterator[Path]:
        """The names that a new run may take, best first."""
        yield self.path.parent / self._stem
        stem = re.sub(r"-\d+$", "", self._stem)
        for number in itertools.count(2):
            yield self.path.parent / f"{stem}-{number}"

    def make(self) -> bool:
        """Makes the folder if there is none. A new run takes a name that no other run has.

        Returns:
            Whether the folder is the one of a new run, which was made just now.

        Raises:
            OSError: the folder cannot be made.
        """
        if not self._is_new:
            _make_folders(self.path)
            return False
        _make_folders(self.path.parent)
        for path in self._paths():
            try:
                path.mkdir()  # fails if another process was faster
            except FileExistsError:
                continue
            except OSError as error:
                raise _cannot("be made", path, error) from error
            self.path, self._is_new = path, False
            return True
        raise FileExistsError(f"{self.path.parent}: no free name for a run.")  # never reached

    def in_parent(self, parent: str | os.PathLike) -> ModelFolder:
        """Returns the folder that continues this run in `parent`: this one, if it is there.

        Otherwise it is a folder of the same name, which is made when it is first written. If
        another run has the name, it ends with "-2", "-3" and so on.
        """
        path = Path(parent) / self.path.name
        folder = ModelFolder(path, self.name)
        folder._is_new = path.resolve() != self.path.resolve()
        return folder

    def exists(self) -> bool:
        """Returns whether the folder of this run has been made."""
        return not self._is_new and self.path.is_dir()

    # --- One training at a time --------------------------------------------------------------
    def hold(self) -> None:
        """Reserves the folder for a training of this object, and makes it if there is none.

        The temporary files of killed trainings are removed.

        Raises:
            FolderInUseError: another process or another model trains in this folder.
            OSError: the folder cannot be made or written to.
        """
        while True:
            is_new = self.make()
            if self.try_hold():
                return
            if not is_new:
                raise FolderInUseError(
                    f"{self.path} is in use: a process that trains or has trained in this folder, "
                    "such as a notebook, is still running. End it, or start a new run."
                )
            self._is_new = True  # another process took the folder while it was empty

    def try_hold(self) -> bool:
        """Reserves an existing folder as `hold` does; returns False if it is in use.

        Raises:
            OSError: the folder cannot be written to.
        """
        if self._lock is None or not self._lock.is_of(self.path):
            self._lock = FolderLock(self.path)
        try:
            if not self._lock.acquire():
                return False
        except OSError as error:
            raise _cannot("be written to", self.path, error) from error
        remove_leftovers(self.path, _WRITTEN.fullmatch)
        return True

    def rest(self) -> None:
        """Ends a training: other models of this process may use the folder, others may not."""
        if self._lock is not None:
            self._lock.rest()

    def release(self) -> None:
        """Ends a training: any process may use the folder."""
        if self._lock is not None:
            self._lock.release()

    def abandon(self) -> bool:
        """Ends a training that failed. Without any weights, nothing of the run stays.

        What others have put into the folder stays.

        Returns:
            Whether the folder is a run that can be resumed.
        """
        if self._lock is None or not self._lock.is_in_use_here():
            return False
        if any(self.path.glob("*.h5")):
            self.release()
            return True
        for name in ("config.json", "classes.json", "training.json", "history.csv", "curves.png"):
            (self.path / name).unlink(missing_ok=True)
        self.release()
        self.remove_if_empty()
        return False

    def remove_if_empty(self) -> None:
        """Removes the folder of a run in which nothing is."""
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()
            self._is_new = True

    def is_blank(self) -> bool:
        """Whether a start was killed before it wrote which training it was."""
        names = {path.name for path in self.path.iterdir()}
        if "training.json" in names:
            return False
        known = {*_DESCRIPTION, LOCK_FILE}
        return all(name in known or name.startswith(".") for name in names)

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
        checkpoint = _CHECKPOINT.fullmatch(path.name)
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
        return sorted((int(m[1]), p) for p in files if (m := _CHECKPOINT.fullmatch(p.name)))

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
        names = self._read("classes.json", "a list of class names")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{self.path / 'classes.json'}: expected a JSON list of class names.")
        return names

    # --- Training ----------------------------------------------------------------------------
    def stages(self) -> list[dict]:
        """Returns the train() calls recorded in this folder, first to last.

        Raises:
            ValueError: training.json is damaged.
        """
        stages = self._read("training.json", "the list of train() calls")
        if not isinstance(stages, list) or not all(map(_is_stage, stages)):
            raise ValueError(
                f"{self.path / 'training.json'}: expected a list of train() calls, each with whole "
                'numbers "start" and "epochs" and with "finished". It is damaged: restore it, or '
                "start a new run from the checkpoint."
            )
        return stages

    def write_stages(self, stages: list[dict]) -> None:
        """Records the train() calls."""
        self.make()
        self._write("training.json", json.dumps(stages, indent=2))

    def history(self) -> list[dict]:
        """Returns the rows of history.csv, with `epoch` as int; empty without the file.

        Raises:
            ValueError: history.csv is damaged.
        """
        path = self.path / "history.csv"
        if self._is_new or not path.exists():
            return []
        rows = []
        for cells in read_csv(path, "the history of a training"):
            try:
                row: dict[str, Any] = {k: float(v) for k, v in cells.items() if v != ""}
                row["epoch"] = int(cells["epoch"])
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"{path}: expected numbers, and a column epoch of whole numbers, got "
                    f"{shorten(cells)}. Restore the file, or remove it: the run then resumes "
                    "without its earlier rows."
                ) from error
            rows.append(row)
        return rows

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

    def _read(self, name, expected) -> Any:
        """Returns the value of a JSON file, or an empty list if there is none."""
        path = self.path / name
        if self._is_new or not path.exists():  # a new run has nothing of its own yet
            return []
        return read_json(path, expected)


def _is_stage(stage: Any) -> bool:
    if not isinstance(stage, dict) or not isinstance(stage.get("finished"), bool):
        return False
    counts = [stage.get("start"), stage.get("epochs")]
    return all(type(count) is int and count >= 0 for count in counts)


def _make_folders(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot("be made", path, error) from error


def _cannot(verb: str, path: Path, error: OSError) -> OSError:
    text = f"the folder {path} cannot {verb} ({error.strerror}). Choose another, or free disk space"
    return OSError(error.errno, text, str(path))
