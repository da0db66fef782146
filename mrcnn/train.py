"""Training: optimizer, schedule, frozen layers, callbacks, fit."""

from __future__ import annotations

import logging
import math
import re

import keras
from keras import ops

from mrcnn.network.assemble import layer_weights, leaf_layers
from mrcnn.ops import kernels

logger = logging.getLogger("mrcnn")

_HEADS = r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)"
# Matterport's names of training stages: the heads, and the ResNet from a stage on.
STAGES = {
    "heads": _HEADS,
    "5+": r"(res5.*)|(bn5.*)|" + _HEADS,
    "4+": r"(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|" + _HEADS,
    "3+": r"(res3.*)|(bn3.*)|(res4.*)|(bn4.*)|(res5.*)|(bn5.*)|" + _HEADS,
    "all": r".*",
}


class Trainer(keras.Model):
    """The training graph with its total loss: the weighted sum of the graph's outputs.

    Every loss is a metric of its own name, weighted as in the total.
    """

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras' hook: the total of the losses that the graph computed."""
        total = 0.0
        for name, weight in self.loss_weights.items():
            value = weight * y_pred[name]
            self.loss_metrics[name].update_state(value)
            total = total + value
        return total / kernels.replicas()


def trainer(training_model: keras.Model, loss_weights: dict, kind=Trainer) -> Trainer:
    """Makes a training graph trainable by fit; it shares all weights. `kind`: a Trainer's class."""
    model = kind(training_model.input, training_model.output, name=training_model.name)
    names = list(training_model.output)
    model.loss_weights = {name: float(loss_weights.get(name, 1.0)) for name in names}
    model.loss_metrics = {name: keras.metrics.Mean(name=name) for name in names}
    return model


def select_layers(model: keras.Model, layers: str, frozen_norm: bool) -> list[str]:
    """Makes the layers trainable whose name matches, and no others.

    Args:
        model: the training graph.
        layers: a key of `STAGES`, or a regular expression for whole layer names. `conv1` trains in
            any case when pictures are not RGB.
        frozen_norm: batch normalisation of the backbone stays constant.

    Returns:
        Names of the layers that train.

    Raises:
        ValueError: an invalid expression, or one that matches no layer with weights.
    """
    try:
        pattern = re.compile(STAGES.get(layers, layers))
    except (re.error, TypeError) as error:
        raise ValueError(
            f"layers must be one of {', '.join(map(repr, STAGES))} or a regular expression, "
            f"got {layers!r} ({error})."
        ) from error
    chosen = []
    for layer in leaf_layers(model):
        if not layer_weights(layer):
            continue
        constant = frozen_norm and isinstance(layer, keras.layers.BatchNormalization)
        # No trained weights are for pictures that are not RGB: these begin to learn at once.
        new = layer.name == "conv1" and layer.kernel.shape[2] != 3
        layer.trainable = (new or bool(pattern.fullmatch(layer.name))) and not constant
        if layer.trainable:
            chosen.append(layer.name)
    if not chosen:
        names = ", ".join(layer.name for layer in leaf_layers(model) if layer_weights(layer))
        raise ValueError(
            f"layers={layers!r} matches no layer with weights; names are such as {names[:300]} ..."
        )
    return chosen


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
    if config.LR_SCHEDULE != "constant" or config.WARMUP_STEPS:
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


class EpochSeeds(keras.callbacks.Callback):
    """Gives every epoch sampling seeds of its own, so that a resumed run draws as an unbroken one.

    Args:
        seed: of the Config; None: left alone.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        if self.seed is None:
            return
        for layer in self.model.layers:
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([self.seed, epoch])


class Recorder(keras.callbacks.Callback):
    """After each epoch: evaluates now and then, writes history, curves and checkpoints.

    The checkpoint comes last: an epoch counts as finished when its checkpoint is whole.

    Args:
        folder: the model's `ModelFolder`.
        save: function (path, epoch, with_optimizer) that writes weights.
        plot: function (rows, path) that draws the curves.
        evaluate: None, or function returning metrics such as {"val_mask_AP": .4}.
        every: epochs between evaluations; the last epoch is always evaluated.
        epochs: the last epoch of this training.
        keep: checkpoints kept; 0: all.
    """

    def __init__(self, folder, save, plot, evaluate, every, epochs, keep):
        super().__init__()
        self.folder, self.save, self.plot, self.evaluate = folder, save, plot, evaluate
        self.every, self.epochs, self.keep = every, epochs, keep

    def on_epoch_end(self, epoch, logs=None):
        epoch, logs = epoch + 1, logs if logs is not None else {}
        _check_finite(logs, epoch)
        if self.evaluate and self.every and (epoch % self.every == 0 or epoch == self.epochs):
            logs.update(self.evaluate())
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {name: float(value) for name, value in logs.items()}
        rows = [r for r in self.folder.history() if r["epoch"] < epoch] + [row]
        self.folder.write_history(rows)
        self.plot(rows, self.folder.path / "curves.png")
        if is_best(rows):
            self.save(self.folder.best, epoch, False)
        self.save(self.folder.checkpoint(epoch), epoch, True)
        self.folder.prune(self.keep)


def is_best(rows: list[dict]) -> bool:
    """Whether the last epoch is the best: by AP once there is one, else by loss.

    An epoch without an evaluation is never best once another has one.
    """
    for name, sign in (
        ("val_mask_AP", 1), ("val_box_AP", 1), ("val_loss", -1), ("loss", -1),
    ):  # fmt: skip
        values = [sign * row[name] for row in rows if name in row and not math.isnan(row[name])]
        if values:
            return name in rows[-1] and sign * rows[-1][name] >= max(values)
    return True


def _check_finite(logs, epoch):
    bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
    if bad and "loss" in bad:
        raise FloatingPointError(
            f"Training diverged in epoch {epoch}: {', '.join(sorted(bad))} is not a number. The "
            "last checkpoint is whole. Lower LEARNING_RATE or set WARMUP_STEPS, and go on from it."
        )


def set_directions(callbacks, losses):
    """Callbacks that monitor one of the losses, or an AP, learn which way is better.

    Keras finds out by itself for "val_loss" alone, and else refuses mode "auto".
    """
    for callback in callbacks:
        if getattr(callback, "mode", None) == "auto":
            name = str(getattr(callback, "monitor", "")).removeprefix("val_")
            if name in losses or "_AP" in name:
                callback.mode = "min" if name in losses else "max"


def fit(model, config, train_batches, val_batches, first_epoch, epochs, callbacks, verbose=1):
    """Runs epochs `first_epoch`..`epochs` of a compiled Trainer. Returns the keras History."""
    set_directions(callbacks, model.loss_metrics)
    return model.fit(
        train_batches,
        validation_data=val_batches,
        initial_epoch=first_epoch,
        epochs=epochs,
        callbacks=[train_batches.follow_fit(), EpochSeeds(config.SEED), *callbacks],
        shuffle=False,  # the batches hold the order
        verbose=verbose,
    )
