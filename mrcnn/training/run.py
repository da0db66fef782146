"""One training run: what it starts from, what it writes after each epoch, and how it resumes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mrcnn import plots, runtime
from mrcnn.data.augment import Augmenter
from mrcnn.data.batches import Batches
from mrcnn.data.check import check_dataset
from mrcnn.data.classes import with_classes
from mrcnn.data.dataset import Dataset
from mrcnn.training import fit
from mrcnn.training.resume import (
    describe_call,
    find_interrupted,
    finished_stages,
    is_same_call,
    keep_open,
    mark_finished,
    read_newest,
)
from mrcnn.training.schedule import build_optimizer
from mrcnn.training.stages import select_layers
from mrcnn.weights.files import h5

logger = logging.getLogger("mrcnn")


class Run:
    """One call of `train`: a stage of a run folder.

    Args:
        model: MaskRCNN. Its `config`, `network`, `keras_model`, `class_names`, `folder` and `epoch`
            are used; `epoch` advances with every checkpoint.
        stage: dict. What tells one call from another, as `resume.describe_call` returns it. It is
            written to training.json.
        train_dataset: Dataset. The training set.
        val_dataset: Dataset or None. The validation set. Defaults to None.
        augmentation: callable or None. See `data.batches.Batches`. Defaults to None: `AUGMENTATION`
            of the Config.
        plain_sources: sequence of str. Sources whose images are never augmented. Defaults to none.

    Raises:
        ValueError: training.json or history.csv is damaged.
    """

    def __init__(
        self,
        model: Any,
        stage: dict[str, Any],
        train_dataset: Dataset,
        val_dataset: Dataset | None = None,
        *,
        augmentation: Callable | None = None,
        plain_sources: Sequence[str] = (),
    ):
        config = model.config
        self.model, self.stage, self.val_dataset = model, stage, val_dataset
        if augmentation is None and config.AUGMENTATION:
            augmentation = Augmenter(**config.AUGMENTATION)
        self.batches = Batches(
            train_dataset,
            config,
            augmentation,
            shuffle=True,
            seed=config.SEED or 0,
            steps=config.STEPS_PER_EPOCH,
            plain_sources=plain_sources,
        )
        self.val_batches = None
        if val_dataset is not None:
            self.val_batches = Batches(
                val_dataset, config, shuffle=False, seed=0, steps=config.VALIDATION_STEPS
            )
        self.stages = [s for s in model.folder.stages() if s["start"] < model.epoch]
        last = self.stages[-1] if self.stages else {}
        self.resumes = bool(last) and is_same_call(last, stage)
        # More epochs of the same layers at a constant rate: the optimizer keeps its state.
        constant = model.config.LR_SCHEDULE == "constant" and not model.config.WARMUP_STEPS
        self.prolongs = constant and last.get("layers") == stage["layers"]
        if not self.resumes:
            self.stages.append(stage | {"start": model.epoch})
        self.stages[-1] |= {"finished": False, "ended": False, "end": None}
        self.rows = [row for row in model.folder.history() if row["epoch"] <= model.epoch]

    def fit(
        self,
        optimizer_file: str | Path | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = 1,
    ) -> keras.callbacks.History:
        """Trains. The caller holds the run folder, if it exists, and gives it back.

        Args:
            optimizer_file: str or path. The checkpoint with the state of the optimizer, for a run
                that resumes. Defaults to None: the optimizer starts from scratch.
            callbacks: sequence of keras.callbacks.Callback. Called when the checkpoint of an epoch
                is written. Defaults to none.
            verbose: int or str. As in Keras' `fit`. Defaults to 1.

        Returns:
            The History of Keras.

        Raises:
            ValueError: `layers` matches no layer.
        """
        model, config = self.model, self.model.config
        chosen = select_layers(
            model.keras_model,
            self.stage["layers"],
            frozen_norm=config.BACKBONE_NORM == "frozen",
            stages=model.network.stages,
        )
        logger.info("Training %d layers (%s).", len(chosen), self.stage["layers"])
        self.optimizer = self._compile()
        if optimizer_file and (self.resumes or self.prolongs):
            h5.load_optimizer(optimizer_file, self.optimizer, learning_rate=self.resumes)
        self.describe()
        follow = [] if self.val_batches is None else [self.val_batches.follow_fit()]
        history = fit.fit(
            model.keras_model,
            config,
            self.batches,
            self.val_batches,
            first_epoch=model.epoch,
            epochs=self.stage["epochs"],
            callbacks=[*follow, Recorder(self), *callbacks],
            verbose=verbose,
        )
        self.stages[-1] |= {"finished": True, "end": model.epoch}
        model.folder.write_stages(self.stages)
        keep_open(model.folder)
        return history

    def describe(self) -> None:
        """Makes the run folder, if it is not there, and writes what the run is."""
        folder = self.model.folder
        folder.hold()
        folder.describe(self.model.config, self.model.class_names)
        folder.write_stages(self.stages)

    def _compile(self) -> keras.optimizers.Optimizer:
        model, config = self.model, self.model.config
        epochs = max(self.stage["epochs"] - self.stages[-1]["start"], 1)
        with model.devices():
            optimizer = build_optimizer(
                config,
                self.stage["learning_rate"],
                len(self.batches) * epochs,
                model.keras_model.trainable_variables,
            )
            model.keras_model.compile(optimizer=optimizer, jit_compile=config.JIT_COMPILE)
        return optimizer

    def validate(self) -> dict[str, float]:
        """Evaluates the validation set; returns its AP by name of the metric."""
        result = self.model.evaluate(self.val_dataset)
        metrics = {"val_box_AP": result.bbox["AP"], "val_box_AP50": result.bbox["AP50"]}
        if result.segm is not None:
            metrics |= {"val_mask_AP": result.segm["AP"], "val_mask_AP50": result.segm["AP50"]}
        return metrics

    def save_best(self, epoch: int) -> None:
        """Writes the weights of the best epoch, without the optimizer."""
        write_weights(self.model, self.model.folder.best, epoch)

    def save_checkpoint(self, epoch: int) -> None:
        """Writes weights and optimizer; an epoch is complete once this is done."""
        folder = self.model.folder
        write_weights(self.model, folder.checkpoint(epoch), epoch, self.optimizer)
        self.model.epoch = epoch
        thin_out(folder.checkpoints()[-3:])
        folder.prune(self.model.config.CHECKPOINTS_TO_KEEP)


def thin_out(checkpoints: Sequence[tuple[int, Path]]) -> None:
    """Drops the optimizer's state from all checkpoints except the newest two.

    Training resumes from the newest, or from the one before it if that is damaged.

    Args:
        checkpoints: sequence of (epoch, path), oldest first.
    """
    for _, older in checkpoints[:-2]:
        try:
            h5.drop_optimizer(older)
        except (OSError, ValueError) as error:  # it only takes more room
            logger.warning("The optimizer's state stays in an old checkpoint: %s", error)


def train(
    model: Any,
    train_dataset: Dataset,
    val_dataset: Dataset | None,
    call: dict[str, Any],
    *,
    resume: bool | str = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = 1,
    **options: Any,
) -> keras.callbacks.History:
    """Trains a model, or resumes the run of a killed process.

    No other training can use the run folder meanwhile. One that fails before its first checkpoint
    leaves no run folder.

    Args:
        model: MaskRCNN. See `Run`. Its `class_names` are set.
        train_dataset: Dataset. The training set.
        val_dataset: Dataset or None. The validation set.
        call: dict. `epochs`, `layers` and `learning_rate`, as in `MaskRCNN.train`.
        resume: bool or str. See `MaskRCNN.train`. Defaults to "auto".
        callbacks: sequence of keras.callbacks.Callback. See `Run.fit`. Defaults to none.
        verbose: int or str. As in Keras' `fit`. Defaults to 1.
        **options: passed to `Run`.

    Returns:
        The History of Keras. It is empty if there is nothing to train.

    Raises:
        ValueError, FileNotFoundError, FolderInUseError: see `MaskRCNN.train`.
    """
    runtime.refuse_fork()
    if model.mode != "training":
        raise ValueError("train() needs a model made with mode='training', not 'inference'.")
    check_dataset(train_dataset, model.config)
    if val_dataset is not None:
        val_dataset = with_classes(val_dataset, train_dataset.class_names, name="val_dataset")
        check_dataset(val_dataset, model.config, name="val_dataset")
    stage = describe_call(model.config, train_dataset, val_dataset, **call)
    model.class_names = list(train_dataset.class_names)
    try:
        history = _take_folder(model, stage, resume)
        if history is None:
            run = Run(model, stage, train_dataset, val_dataset, **options)
            optimizer_file, model._optimizer_file = model._optimizer_file, None
            history = run.fit(optimizer_file, callbacks, verbose)
    except BaseException as error:
        if model.folder.abandon() and isinstance(error, KeyboardInterrupt):
            logger.warning(
                "Interrupted after epoch %d. %s is complete; the same call resumes from there.",
                model.epoch,
                model.folder.path,
            )
        raise
    model.folder.rest()
    return history


def complete(model: Any) -> None:
    """Does what a killed process may not have done after the last checkpoint of its last epoch.

    Args:
        model: MaskRCNN. It has resumed a run in which nothing is left to train.

    Raises:
        FolderInUseError: another training uses the run folder.
    """
    model.folder.hold()
    _complete_last_epoch(model)
    mark_finished(model.folder, model.epoch)
    model.folder.rest()


def _take_folder(model, stage, resume):
    """Locks the run folder, if there is one yet; returns a History if nothing is left to train."""
    if model.epoch == 0 and resume:
        _resume(model, stage, required=resume is True)
    if model.folder.exists():
        model.folder.hold()
        _complete_last_epoch(model)
    return _pass_over(model, stage)


def _resume(model, stage, required):
    """Continues the newest interrupted run that this call could have started."""
    run = find_interrupted(model.model_dir, model.config, stage, required)
    if run is not None:
        try:
            model.epoch, model._optimizer_file = read_newest(run, model.read_checkpoint)
            run.replayed = finished_stages(run, model.epoch)
        except BaseException:
            run.release()
            raise
        model.folder = run
        logger.warning(
            "Resuming %s after epoch %d. resume=False starts over.", run.path, model.epoch
        )
    elif required:
        raise FileNotFoundError(
            f"resume=True, but {model.model_dir!r} has no interrupted run of "
            f"NAME={model.config.NAME!r} with this Config and these arguments."
        )


def _complete_last_epoch(model):
    """Does what a killed process may not have done after its last checkpoint."""
    checkpoints = model.folder.checkpoints()
    if checkpoints and checkpoints[-1][0] == model.epoch:  # otherwise the newest is not in use
        thin_out(checkpoints)
        model.folder.prune(model.config.CHECKPOINTS_TO_KEEP)


def _pass_over(model, stage) -> keras.callbacks.History | None:
    """Returns an empty History if the call has nothing to train."""
    replayed = model.folder.replayed
    is_finished = bool(replayed) and is_same_call(replayed[0], stage)
    model.folder.replayed = replayed[1:] if is_finished else []
    if stage["epochs"] > model.epoch and not is_finished:
        return None
    logger.warning(
        "Nothing to train: %d epochs are done, and epochs=%d is the total.",
        model.epoch,
        stage["epochs"],
    )
    done = [recorded for recorded in model.folder.stages() if recorded["start"] < model.epoch]
    if done and is_same_call(done[-1], stage):
        # Without the interruption, the next call would not continue with this optimizer.
        model._optimizer_file = None
    mark_finished(model.folder, model.epoch)
    return keras.callbacks.History()


def write_weights(model: Any, path: str | Path, epoch: int, optimizer: Any = None) -> None:
    """Writes a weight file with what is needed to read it.

    Args:
        model: MaskRCNN. See `Run`.
        path: str or path. The file.
        epoch: int. Epochs that are completed.
        optimizer: keras.optimizers.Optimizer or None. Its state is written too. Defaults to None.
    """
    config = model.config
    metadata = {
        "epoch": epoch,
        "name": config.NAME,
        "classes": list(model.class_names),
        "numerics": config.NUMERICS,
        "batch_norm_epsilon": config.BATCH_NORM_EPSILON,
    }
    h5.write_weights(path, model.network.layers, optimizer=optimizer, metadata=metadata)


class Recorder(keras.callbacks.Callback):
    """Evaluates, and writes history, curves and checkpoints after each epoch.

    The checkpoint comes last: an epoch is complete once its checkpoint is.

    Args:
        run: Run.
    """

    def __init__(self, run: Run):
        super().__init__()
        self.run = run

    def on_epoch_end(self, epoch, logs=None):
        epoch, logs = epoch + 1, logs if logs is not None else {}
        run, folder = self.run, self.run.model.folder
        if not (folder.path / "training.json").is_file():
            logger.warning("%s was removed during training. It is made again.", folder.path)
            run.describe()
        _check_finite(logs, epoch)
        every = run.model.config.EVALUATE_EVERY
        last = epoch == run.stage["epochs"]
        if run.val_dataset is not None and every and (epoch % every == 0 or last):
            logs.update(run.validate())
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {name: float(value) for name, value in logs.items()}
        run.rows.append(row)
        folder.write_history(run.rows)
        plots.plot_history(run.rows, folder.path / "curves.png")
        if is_best(run.rows):
            run.save_best(epoch)
        run.save_checkpoint(epoch)


def is_best(rows: Sequence[dict[str, float]]) -> bool:
    """Returns whether the last epoch is the best: by AP if there is one, otherwise by loss.

    An epoch without an evaluation is never the best once another epoch has one.

    Args:
        rows: sequence of dict. The history, one row per epoch.
    """
    measures = (("val_mask_AP", 1), ("val_box_AP", 1), ("val_loss", -1), ("loss", -1))
    for name, sign in measures:
        values = [sign * row[name] for row in rows if name in row and not math.isnan(row[name])]
        if values:
            return name in rows[-1] and sign * rows[-1][name] >= max(values)
    return True


def _check_finite(logs, epoch):
    bad = [name for name, value in logs.items() if not math.isfinite(float(value))]
    if "loss" in bad:
        raise FloatingPointError(
            f"Training diverged in epoch {epoch}: {', '.join(sorted(bad))} is not a number. The "
            "last checkpoint is complete. Lower LEARNING_RATE or set WARMUP_STEPS, and resume."
        )
