"""Which run a `train` call continues, from which checkpoint, and how a run is marked as complete.

A script may call `train` several times, for the heads first and then for all layers. The calls are
the *stages* of a run, recorded in training.json. A run is interrupted if its last stage is not
finished, or if its process was killed between two stages, before it could mark the run as ended.
When the same script runs again, it replays its calls: the finished ones are passed over, the
interrupted one continues.
"""

from __future__ import annotations

import hashlib
import logging
import operator
import os
import sys
from collections.abc import Callable
from multiprocessing import util
from pathlib import Path
from typing import Any

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.folder import ModelFolder
from mrcnn.images import lock
from mrcnn.weights.files import h5

logger = logging.getLogger("mrcnn")

# Runs of this process that are not marked as ended: a lock file is open for each.
MOST_OPEN_RUNS = 64
# What runs of older versions did not record about a stage.
_ADDED = ("data", "validation")


def describe_call(
    config: Config,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    *,
    epochs: int,
    layers: str,
    learning_rate: float | None,
) -> dict[str, Any]:
    """Returns what tells one `train` call from another, for training.json.

    Args:
        config: Config. Its `LEARNING_RATE` is the default.
        train_dataset: Dataset. Its images are counted, and their names are hashed.
        val_dataset: Dataset or None. The same.
        epochs: int. Total of epochs.
        layers: str. See `training.stages`.
        learning_rate: float or None. None: that of the Config.
    """
    return {
        "epochs": operator.index(epochs),
        "layers": layers,
        "learning_rate": float(config.LEARNING_RATE if learning_rate is None else learning_rate),
        "images": len(train_dataset.image_ids),
        "data": _fingerprint(train_dataset),
        "validation": None if val_dataset is None else _fingerprint(val_dataset),
    }


def _fingerprint(dataset: Dataset) -> str:
    """Returns a hash of classes and images, so that the parts of a cross-validation differ.

    The folder of the images does not count: a data set may be moved before a run is resumed.
    """
    digest = hashlib.sha256(repr(list(dataset.class_names)).encode("utf-8", "surrogatepass"))
    for info in dataset.image_info:
        path = info.get("path")
        name = "" if path is None else Path(path).name
        row = f"{info.get('source')}\n{info.get('id')}\n{name}\n"
        digest.update(row.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def is_same_call(recorded: dict[str, Any], stage: dict[str, Any]) -> bool:
    """Returns whether a recorded stage is that of a call.

    Args:
        recorded: dict. A row of training.json.
        stage: dict. As `describe_call` returns it.
    """
    names = [name for name in stage if name in recorded or name not in _ADDED]
    return all(recorded.get(name) == stage[name] for name in names)


# --- Finding a run -------------------------------------------------------------------------------
def find_interrupted(
    model_dir: str, config: Config, stage: dict[str, Any], required: bool = False
) -> ModelFolder | None:
    """Returns the newest interrupted run that a call could have started, and holds its folder.

    A run in which another process trains is not interrupted. A damaged run is passed over with a
    warning.

    Args:
        model_dir: str. Folder of the run folders.
        config: Config. Only a run with the same settings counts.
        stage: dict. Only a run with such a stage counts; see `describe_call`.
        required: bool. Whether the run needs a checkpoint. Otherwise, if none has one, a run that
            was killed in its first epoch is returned. Defaults to False.
    """
    settings = config.to_dict()
    untrained = []
    for run in reversed(ModelFolder.runs(model_dir, config.NAME)):
        if not run.checkpoints():
            untrained.append(run)
        elif _take(run, settings, stage):
            return run
    for run in [] if required else untrained:
        if _take(run, settings, stage):
            return run
    return None


def _take(run, settings, stage) -> bool:
    """Holds the folder of an interrupted run of this call; returns whether it is one."""
    # A run that this process has trained waits for the next call of the script.
    waits = lock.held_here(run.path)
    try:
        if not _is_interrupted(run, settings, stage, waits):
            return False
        if not run.try_hold():
            logger.info("%s is in use by another training.", run.path)
            return False
        # Again, since another process may have finished the run in the meantime.
        if _is_interrupted(run, settings, stage, waits):
            return True
        run.release()
    except (ValueError, OSError) as error:
        logger.warning("Passing over the run %s: %s", run.path, error)
    return False


def _is_interrupted(run, settings, stage, waits) -> bool:
    stages = run.stages()
    if not stages:
        return run.is_blank()
    if not any(is_same_call(recorded, stage) for recorded in stages):
        return False
    # Runs of older versions do not say whether they have ended.
    if stages[-1]["finished"] and (waits or stages[-1].get("ended", True)):
        return False
    return Config.from_json(run.path / "config.json").to_dict() == settings


# --- Reading a run -------------------------------------------------------------------------------
def read_newest(run: ModelFolder, read: Callable[[Path], Any]) -> tuple[int, Path | None]:
    """Reads the newest checkpoint that is whole.

    Args:
        run: ModelFolder.
        read: callable. Takes the path of a checkpoint and loads its weights; raises a ValueError or
            an OSError if they cannot be used.

    Returns:
        (epoch, path) of the checkpoint, or (0, None) if the run has none.

    Raises:
        ValueError, OSError: no checkpoint can be used. The error is that of the newest.
    """
    first_error = None
    for epoch, path in reversed(run.checkpoints()):
        try:
            read(path)
            h5.check_optimizer(path)
        except (ValueError, OSError) as error:
            logger.warning("A checkpoint cannot be used: %s", error)
            first_error = first_error or error
            continue
        if first_error:
            logger.warning("Instead, the run continues from %s.", path)
        return epoch, path
    if first_error:
        raise first_error
    return 0, None


def finished_stages(run: ModelFolder, epoch: int) -> list[dict[str, Any]]:
    """Returns the stages of a run that were finished before an epoch, first to last.

    Args:
        run: ModelFolder.
        epoch: int. Epochs that are completed; fewer than recorded if a checkpoint is damaged.
    """
    stages = run.stages()
    # Runs of older versions do not record the end of a stage.
    ends = [stage["start"] for stage in stages[1:]] + [stages[-1]["epochs"]] if stages else []
    finished = []
    for stage, end in zip(stages, ends, strict=True):
        end = stage.get("end") or end
        if not stage["finished"] or end > epoch:
            break
        finished.append(stage)
    return finished


def mark_finished(run: ModelFolder, epoch: int) -> None:
    """Marks the last stage of a run as finished, if it was killed after its last checkpoint.

    Args:
        run: ModelFolder.
        epoch: int. Epochs that are completed.
    """
    stages = run.stages()
    if stages and not stages[-1]["finished"] and stages[-1]["epochs"] <= epoch:
        stages[-1] |= {"finished": True, "ended": False, "end": epoch}
        run.write_stages(stages)
    if stages and stages[-1]["finished"] and not stages[-1].get("ended", True):
        keep_open(run)


# --- The end of a run ----------------------------------------------------------------------------
_open_runs: dict[Path, ModelFolder] = {}
_process: int | None = None  # in which `_at_exit` is registered


def keep_open(run: ModelFolder) -> None:
    """Marks a run as ended once the process ends, unless it is killed or ends by an error.

    Args:
        run: ModelFolder. Its last stage is finished.
    """
    global _process
    if _process != os.getpid():  # a forked process inherits runs that are not its own
        _open_runs.clear()
        # Unlike `atexit`, this also works in a process of `multiprocessing`.
        util.Finalize(None, _at_exit, exitpriority=0)
        _process = os.getpid()
    _open_runs.pop(run.path, None)
    _open_runs[run.path] = run
    while len(_open_runs) > MOST_OPEN_RUNS:
        _end(_open_runs.pop(next(iter(_open_runs))))


def _end(run):
    try:
        stages = run.stages() if run.path.is_dir() and lock.held_here(run.path) else []
        if stages and stages[-1]["finished"]:
            stages[-1]["ended"] = True
            run.write_stages(stages)
        if run.path.is_dir() and run.try_hold():
            run.release()
    except (ValueError, OSError) as error:
        logger.warning("%s cannot be marked as ended: %s", run.path, error)


def _at_exit():
    # After an error in a later line of the script, the next start replays its calls. In a notebook,
    # an error says nothing about the training.
    failed = getattr(sys, "last_value", None) is not None and not hasattr(sys, "ps1")
    if not failed:
        for run in _open_runs.values():
            _end(run)
    _open_runs.clear()
    lock.release_all()
