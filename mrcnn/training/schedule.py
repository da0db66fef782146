"""The learning-rate schedule and the optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.settings import schedules


@keras.saving.register_keras_serializable("mrcnn")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from a thousandth of the rate, then one of `settings.schedules.KINDS`.

    Args:
        rate: float. The full learning rate.
        steps: int. Steps of the whole training.
        warmup: int. Steps of the warm-up. Defaults to 0.
        kind: str. A key of `settings.schedules.KINDS`. Defaults to "constant".
        milestones: sequence of float. Shares of the training, ascending, where "step" divides the
            rate by 10. Defaults to none.
    """

    def __init__(
        self,
        rate: float,
        steps: int,
        warmup: int = 0,
        kind: str = "constant",
        milestones: Sequence[float] = (),
    ):
        self.rate, self.steps, self.warmup = rate, steps, warmup
        self.kind, self.milestones = kind, tuple(milestones)

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        step = ops.cast(step, "float32")
        factor = schedules.KINDS[self.kind](step, self.steps, self.warmup, self.milestones)
        rate = self.rate * factor
        if self.warmup:
            rate = rate * ops.minimum(1.0, 0.001 + 0.999 * step / self.warmup)
        return rate

    def get_config(self):
        return {
            "rate": self.rate,
            "steps": self.steps,
            "warmup": self.warmup,
            "kind": self.kind,
            "milestones": self.milestones,
        }


def build_optimizer(
    config: Any, learning_rate: float, steps: int, variables: list
) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a Config.

    Decay acts on kernels alone. The gradient is clipped by its global norm; `clipnorm` of Keras is
    per variable.

    Args:
        config: Config. Its training settings are read.
        learning_rate: float. The full rate.
        steps: int. Steps of the whole training.
        variables: list of keras.Variable. The trainable variables.
    """
    rate = learning_rate
    if not isinstance(config.LR_SCHEDULE, str):
        rate = config.LR_SCHEDULE  # a Keras schedule, which holds its own rates
    elif config.LR_SCHEDULE != "constant" or config.WARMUP_STEPS:
        rate = Schedule(
            learning_rate,
            steps,
            min(config.WARMUP_STEPS, steps),
            config.LR_SCHEDULE,
            config.LR_STEPS,
        )
    options = {
        "weight_decay": config.WEIGHT_DECAY or None,
        "global_clipnorm": config.GRADIENT_CLIP_NORM or None,
    }
    if config.OPTIMIZER == "adamw":
        optimizer = keras.optimizers.AdamW(rate, **options | {"weight_decay": config.WEIGHT_DECAY})
    else:
        optimizer = keras.optimizers.SGD(rate, momentum=config.LEARNING_MOMENTUM, **options)
    if config.WEIGHT_DECAY:
        undecayed = [v for v in variables if v.name not in ("kernel", "depthwise_kernel")]
        optimizer.exclude_from_weight_decay(var_list=undecayed)
    optimizer.build(variables)
    return optimizer
