"""Learning-rate schedules: those with a name, and those of Keras as values of LR_SCHEDULE."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mrcnn.errors import shorten


def constant(step: Any, steps: int, warmup: int, milestones: Sequence[float]) -> Any:
    """Keeps the full rate."""
    return 1.0


def stepped(step: Any, steps: int, warmup: int, milestones: Sequence[float]) -> Any:
    """Divides the rate by 10 at each share of the training in `milestones`."""
    from keras import ops

    factor = 1.0
    for share in milestones:
        factor = factor * ops.where(step >= share * steps, 0.1, 1.0)
    return factor


def cosine(step: Any, steps: int, warmup: int, milestones: Sequence[float]) -> Any:
    """Follows half a cosine from the full rate, after the warm-up, to 0."""
    from keras import ops

    done = ops.clip((step - warmup) / max(steps - warmup, 1), 0.0, 1.0)
    return 0.5 * (1 + ops.cos(math.pi * done))


# Schedules that are chosen by name. Each is a function of the step (a float tensor), the steps of
# the whole training, the steps of the warm-up and LR_STEPS that returns a factor of the rate.
# `training.schedule.Schedule` applies it, and adds the warm-up.
KINDS = {"constant": constant, "step": stepped, "cosine": cosine}


def is_schedule(value: Any) -> bool:
    """Whether a value is a Keras LearningRateSchedule. Never imports Keras."""
    keras = sys.modules.get("keras")  # a schedule can only exist once Keras is imported
    return keras is not None and isinstance(value, keras.optimizers.schedules.LearningRateSchedule)


def save(schedule: Any) -> dict[str, Any]:
    """Returns the class name and the config of a schedule, for JSON.

    Raises:
        ValueError: the schedule cannot be built again from plain values.
    """
    from keras import saving

    name = saving.get_registered_name(type(schedule))
    try:
        saved = {"class_name": name, "config": schedule.get_config()}
        json.dumps(saved)
        load(saved)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"LR_SCHEDULE = {schedule!r} cannot be saved in config.json: its class needs a "
            "get_config() that returns plain values, and the decorator "
            "@keras.saving.register_keras_serializable()."
        ) from error
    return saved


def load(saved: Mapping[str, Any]) -> Any:
    """Builds the schedule that `save` described.

    Only schedules of Keras and registered ones are built, so that a config.json of unknown origin
    cannot name any other code.

    Raises:
        ValueError: no such schedule.
    """
    from keras import optimizers, saving

    schedules, name = optimizers.schedules, saved.get("class_name")
    found: Any = None
    if isinstance(name, str):
        found = getattr(schedules, name, None) or saving.get_registered_object(name)
    is_class = isinstance(found, type)
    if not is_class or not issubclass(found, schedules.LearningRateSchedule):
        raise ValueError(
            f"LR_SCHEDULE names {shorten(name)}, which is no schedule of Keras and not registered: "
            "first import the module that defines it with "
            "@keras.saving.register_keras_serializable()."
        )
    try:
        return found.from_config(dict(saved["config"]))
    except Exception as error:  # of any kind: the values come from a file
        raise ValueError(
            f"LR_SCHEDULE: {name} cannot be built from {shorten(saved)}: {shorten(str(error))}"
        ) from error
