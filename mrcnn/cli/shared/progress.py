"""Progress of long work in the terminal: a bar while it runs, one line per epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Figures in the line of an epoch, in this order, as far as they are known.
_SHOWN = {
    "loss": "loss",
    "val_loss": "val loss",
    "val_box_AP": "box AP",
    "val_mask_AP": "mask AP",
    "val_mask_AP50": "mask AP50",
}


def _progress():
    console = Console(soft_wrap=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,  # the bar goes when its work is done
        disable=not console.is_terminal,  # in a log file only the lines are wanted
    )


@contextmanager
def bar(text: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows a progress bar during a block.

    Args:
        text: str. Stands before the bar.
        total: int. Number of steps.

    Yields:
        A function of the number of steps that were just done (default 1).
    """
    with _progress() as progress:
        task = progress.add_task(text, total=total)
        yield lambda n=1: progress.advance(task, n)


def epoch_line(epoch: int, epochs: int, logs: dict, seconds: float) -> str:
    """Returns the line of an epoch."""
    figures = [f"{text} {logs[name]:.4f}" for name, text in _SHOWN.items() if name in logs]
    return "  ".join([f"epoch {epoch:{len(str(epochs))}}/{epochs}", *figures, f"{seconds:.0f} s"])


class EpochLines(keras.callbacks.Callback):
    """Shows a bar over the steps of each epoch, then one line for it.

    The line is shown when the next epoch begins, since callbacks that run after this one add their
    figures (AP) to the logs.

    Args:
        say: function that shows a line. Defaults to `print`.
    """

    def __init__(self, say: Callable[[str], object] = print):
        super().__init__()
        self.say = say
        self._held: tuple[int, dict, float] | None = None
        self._progress: Progress | None = None

    def on_epoch_begin(self, epoch, logs=None):
        self._flush()
        self._start = time.monotonic()
        self._epoch = epoch + 1
        self._progress = _progress()
        self._progress.start()
        text = f"epoch {self._epoch}/{self.params['epochs']}"
        self._task = self._progress.add_task(text, total=self.params.get("steps"))

    def on_train_batch_end(self, batch, logs=None):
        if self._progress:
            self._progress.advance(self._task)

    def on_epoch_end(self, epoch, logs=None):
        self._close()
        self._held = (self._epoch, logs or {}, time.monotonic() - self._start)

    def on_train_end(self, logs=None):
        self._flush()

    def _close(self):
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _flush(self):
        if self._held:
            epoch, logs, seconds = self._held
            self.say(epoch_line(epoch, self.params["epochs"], logs, seconds))
            self._held = None
