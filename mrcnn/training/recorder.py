"""What is written after each epoch: history, curves and checkpoints."""

from __future__ import annotations

import math

import keras
from keras import ops


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
