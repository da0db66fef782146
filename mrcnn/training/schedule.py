"""The learning-rate schedule and the optimizer."""

from __future__ import annotations

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable("mrcnn")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from a thousandth of the rate, then constant, stepped or cosine.

    Args:
        rate: the full learning rate.
        steps: of the whole training.
        warmup: steps of warm-up.
        kind: "constant", "step" (a tenth at each share in `milestones`) or "cosine" (to 0).
        milestones: shares of the training, ascending.
    """

    def __init__(self, rate, steps, warmup=0, kind="constant", milestones=()):
        self.rate, self.steps, self.warmup = rate, steps, warmup
        self.kind, self.milestones = kind, tuple(milestones)

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rate = self.rate
        if self.kind == "step":
            for share in self.milestones:
                rate = rate * ops.where(step >= share * self.steps, 0.1, 1.0)
        elif self.kind == "cosine":
            span = max(self.steps - self.warmup, 1)
            done = ops.clip((step - self.warmup) / span, 0.0, 1.0)
            rate = rate * 0.5 * (1 + ops.cos(math.pi * done))
        if self.warmup:
            rate = rate * ops.minimum(1.0, 0.001 + 0.999 * step / self.warmup)
        return rate

    def get_config(self):
        return {
            "rate": self.rate, "steps": self.steps, "warmup": self.warmup, "kind": self.kind,
            "milestones": self.milestones,
        }  # fmt: skip


def build_optimizer(config, learning_rate: float, steps: int, variables: list):
    """The optimizer of a Config over `steps` steps, for these trainable variables.

    Decay acts on kernels alone. The gradient is clipped by its global norm: Keras' own `clipnorm`
    is per variable.
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
