"""Kills trainings: whatever the moment, the resumed run equals the unbroken one."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import keras
import numpy as np

from mrcnn import plots
from mrcnn.config import Config
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.folder import ModelFolder
from mrcnn.images.atomic import write_text
from mrcnn.images.lock import LOCK_FILE
from mrcnn.models.mask_rcnn import MaskRCNN

from . import Events, Kill, draw, events_of, run

TOLERANCE = 1e-6
# Besides these names, a run folder holds numbered checkpoints only.
FILES = {"best.h5", "classes.json", "config.json", "curves.png", "history.csv", "training.json"}


class Plan(NamedTuple):
    """A script that trains.

    Attributes:
        stages: tuple of (layers, epochs). One `train` call each.
        settings: dict. Settings of Config.
        validation: bool. Whether there is a validation set.
    """

    stages: tuple[tuple[str, int], ...]
    settings: dict
    validation: bool


PLANS = {
    # The validation set is larger than VALIDATION_STEPS, so its batches depend on the epoch.
    "heads, then all": Plan(
        (("heads", 2), ("all", 4)),
        {"VALIDATION_STEPS": 1, "LR_SCHEDULE": "cosine", "WARMUP_STEPS": 2, "OPTIMIZER": "adamw"},
        True,
    ),
    "the same layers twice": Plan(
        (("all", 2), ("all", 4)), {"VALIDATION_STEPS": 1, "EVALUATE_EVERY": 2}, True
    ),
    "one call": Plan(
        (("all", 4),),
        {"CHECKPOINTS_TO_KEEP": 1, "STEPS_PER_EPOCH": 3, "AUGMENTATION": {"fliplr": 0.5}},
        False,
    ),
}


def backbone(image):
    """Five convolutions: the smallest network that can be trained."""
    x, maps = image, []
    for stage in range(1, 6):
        name = f"stage_{stage}"
        x = keras.layers.Conv2D(4, 3, 2, padding="same", activation="relu", name=name)(x)
        maps.append(x)
    return maps[1:]


def config_of(plan: Plan) -> Config:
    """Returns the Config of a plan."""
    settings = {
        "NAME": "kill me v1.0",
        "NUM_CLASSES": 4,
        "BACKBONE": backbone,
        "TOP_DOWN_PYRAMID_SIZE": 8,
        "FPN_CLASSIF_FC_LAYERS_SIZE": 8,
        "USE_MASKS": False,
        "IMAGE_MIN_DIM": 64,
        "IMAGE_MAX_DIM": 64,
        "RPN_ANCHOR_SCALES": (8, 16, 32, 48, 64),
        "PRE_NMS_LIMIT": 20,
        "POST_NMS_ROIS_TRAINING": 16,
        "POST_NMS_ROIS_INFERENCE": 8,
        "TRAIN_ROIS_PER_IMAGE": 8,
        "MAX_GT_INSTANCES": 4,
        "DETECTION_MAX_INSTANCES": 4,
        "DETECTION_MIN_CONFIDENCE": 0.0,
        "LEARNING_RATE": 0.01,
        "IMAGES_PER_GPU": 2,
        "DATA_WORKERS": 0,
        "EVALUATE_EVERY": 0,
    }
    return Config(**settings | plan.settings)


def script(plan: Plan, runs: Path) -> Callable[[Events], None]:
    """Returns a function that does what a user's script does.

    Args:
        plan: Plan.
        runs: Path. Folder of the run folders.
    """

    def work(events: Events) -> None:
        events.count_files()
        logging.basicConfig()
        # Matplotlib takes most of an epoch, and the file is all that matters here.
        plots.plot_history = lambda rows, path: write_text(path, "a curve " * len(rows))

        class Count(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                events("the beginning of an epoch")

            def on_train_batch_end(self, batch, logs=None):
                events("a step")

            def on_test_batch_end(self, batch, logs=None):
                events("a step of validation")

        events("the start")
        model = MaskRCNN("training", config_of(plan), runs)
        train = ShapesDataset(4, 64, 64)
        val = ShapesDataset(6, 64, 64, seed=1) if plan.validation else None
        for layers, epochs in plan.stages:
            model.train(
                train, val, epochs=epochs, layers=layers, custom_callbacks=[Count()], verbose=0
            )
            events("the end of a call")

    return work


class Reference(NamedTuple):
    """An unbroken run.

    Attributes:
        plan: Plan.
        state: dict. What `state_of` returned.
        events: dict. How many events of each kind there were.
        seconds: float. How long it took.
    """

    plan: Plan
    state: dict
    events: dict[str, int]
    seconds: float


def reference(name: str, folder: Path) -> Reference:
    """Runs a plan without a kill.

    Args:
        name: str. A key of `PLANS`.
        folder: Path. Where to run it.
    """
    folder.mkdir(parents=True)
    log = folder / "log"
    status, seconds = run(script(PLANS[name], folder / "runs"), log)
    if status:
        text = log.read_text()[-3000:]
        raise RuntimeError(f"the unbroken run failed with status {status}:\n{text}")
    return Reference(PLANS[name], state_of(folder / "runs"), events_of(log), seconds)


def state_of(runs: Path) -> dict[str, np.ndarray]:
    """Returns everything that a script has left: numbers by name, and the names of the files.

    Args:
        runs: Path. Folder of the run folders.
    """
    (folder,) = runs.iterdir()  # a killed start leaves no other folder
    names = sorted(path.name for path in folder.iterdir())
    state: dict = {"files": np.array(names)}
    unexpected = {name for name in names if not name.endswith(".h5")} - FILES
    if unexpected:
        raise AssertionError(f"files that should not be there: {sorted(unexpected)}")
    (found,) = ModelFolder.runs(runs, "kill me v1.0")
    for row in found.history():
        state |= {f"history {row['epoch']} {name}": value for name, value in row.items()}
    stages = json.loads((folder / "training.json").read_text())
    state["stages"] = np.array([json.dumps(stage, sort_keys=True) for stage in stages])
    for name in names:
        if name.endswith(".h5"):
            state |= {f"{name} {key}": value for key, value in _arrays(folder / name).items()}
    return state


def _arrays(path):
    found: dict = {}
    with h5py.File(path) as file:
        found["metadata"] = np.array(str(file.attrs["mrcnn_metadata"]))
        file.visititems(
            lambda name, item: (
                found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    return found


def differences(state: dict, expected: dict) -> list[str]:
    """Returns what differs between two runs by more than `TOLERANCE`.

    Args:
        state: dict. See `state_of`.
        expected: dict. The same of the unbroken run.
    """
    found = [f"{key} is missing or unexpected" for key in state.keys() ^ expected.keys()]
    for key in state.keys() & expected.keys():
        one, other = np.asarray(state[key]), np.asarray(expected[key])
        if one.shape != other.shape or one.dtype.kind != other.dtype.kind:
            found.append(f"{key}: {one} instead of {other}")
        elif one.dtype.kind in "fiu":
            apart = np.abs(one.astype(float) - other).max(initial=0)
            if not (apart <= TOLERANCE):
                found.append(f"{key} differs by {apart:.3g}")
        elif (one != other).any():
            found.append(f"{key}: {one} instead of {other}")
    return sorted(found)


def check(unbroken: Reference, kills: list[Kill], folder: Path) -> tuple[int, list[str]]:
    """Kills a training, runs it to its end, and compares it with the unbroken run.

    Args:
        unbroken: Reference.
        kills: list of Kill. One per start of the script, before the start that is not killed.
        folder: Path. Where to run it. It is removed if all is well.

    Returns:
        (number of processes that were killed, differences). A process may end before its kill.
    """
    folder.mkdir(parents=True)
    killed = 0
    for kill in [*kills, None]:
        status, _ = run(script(unbroken.plan, folder / "runs"), folder / "log", kill)
        if status == -9:
            killed += 1
            if has_ended(folder / "runs"):  # killed between its last write and its end
                break
        elif status == 0:
            break
        else:
            return killed, [f"the script failed: {(folder / 'log').read_text()[-2000:]}"]
    try:
        found = differences(state_of(folder / "runs"), unbroken.state)
    except (AssertionError, ValueError, OSError) as error:
        found = [f"{type(error).__name__}: {error}"]
    if not found:
        shutil.rmtree(folder)
    return killed, found


def has_ended(runs: Path) -> bool:
    """Returns whether a script had nothing left to do when it was killed; removes its lock file.

    The next start of such a script starts over, as after an unbroken run.

    Args:
        runs: Path. Folder of the run folders.
    """
    for found in ModelFolder.runs(runs, "kill me v1.0"):
        stages = found.stages()
        if stages and stages[-1].get("ended"):
            (found.path / LOCK_FILE).unlink(missing_ok=True)
            return True
    return False


def main(count: int, seed: int, folder: Path) -> int:
    """Kills trainings at random moments.

    Args:
        count: int. How many processes are killed.
        seed: int. Seed of the moments.
        folder: Path. Where to work. Failed runs stay there.

    Returns:
        The number of trainings that did not resume right.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rng = random.Random(seed)
    unbroken: dict[str, Reference] = {}
    killed = trainings = failed = 0
    while killed < count:
        name = sorted(PLANS)[trainings % len(PLANS)]
        if name not in unbroken:
            unbroken[name] = reference(name, folder / name.replace(" ", "_"))
        kills = draw(unbroken[name].events, unbroken[name].seconds, rng)[: count - killed]
        more, found = check(unbroken[name], kills, folder / str(trainings))
        killed, trainings, failed = killed + more, trainings + 1, failed + bool(found)
        moments = "; ".join(map(str, kills))
        print(f"{killed}/{count} {name}: killed at {moments}: {'FAILED' if found else 'equal'}")
        for line in found[:8]:
            print(f"    {line}")
        sys.stdout.flush()
    print(f"{killed} kills in {trainings} trainings, {failed} failed (seed {seed}).")
    return failed
