"""One training run: what it starts from, what it writes after each epoch, and how it resumes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from mrcnn import plots
from mrcnn.config import Config
from mrcnn.data.augment import Augmenter
from mrcnn.data.batches import Batches
from mrcnn.data.dataset import Dataset
from mrcnn.folder import ModelFolder
from mrcnn.training import fit
from mrcnn.training.schedule import build_optimizer
from mrcnn.training.stages import select_layers
from mrcnn.weights.files import h5

logger = logging.getLogger("mrcnn")


class Run:
    """One call of `train`: a stage of a run folder.

    Args:
        model: MaskRCNN. Its `config`, `network`, `keras_model`, `class_names`, `folder` and `epoch`
            are used; `epoch` advances with every checkpoint.
        stage: dict. The arguments that tell one call from another: `epochs`, `layers`,
            `learning_rate` and `images`. All are written to training.json.
        train_dataset: Dataset. The training set.
        val_dataset: Dataset or None. The validation set. Defaults to None.
        augmentation: callable or None. See `data.batches.Batches`. Defaults to None: `AUGMENTATION`
            of the Config.
        plain_sources: sequence of str. Sources whose images are never augmented. Defaults to none.
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
        self.resumes = bool(last) and all(last.get(name) == stage[name] for name in stage)
        # More epochs of the same layers at a constant rate: the optimizer keeps its state.
        constant = model.config.LR_SCHEDULE == "constant" and not model.config.WARMUP_STEPS
        self.prolongs = constant and last.get("layers") == stage["layers"]
        if not self.resumes:
            self.stages.append(stage | {"start": model.epoch, "finished": False})

    def fit(
        self,
        optimizer_file: str | Path | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = 1,
    ) -> keras.callbacks.History:
        """Trains. A run that fails before its first checkpoint leaves no run folder.

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
        is_new = model.folder.make()
        try:
            model.folder.describe(config, model.class_names)
            model.folder.write_stages(self.stages)
            history = fit.fit(
                model.keras_model,
                config,
                self.batches,
                self.val_batches,
                first_epoch=model.epoch,
                epochs=self.stage["epochs"],
                callbacks=[Recorder(self), *callbacks],
                verbose=verbose,
            )
        except BaseException as error:
            if is_new and not model.folder.checkpoints():
                model.folder.discard()
            elif isinstance(error, KeyboardInterrupt):
                logger.warning(
                    "Interrupted after epoch %d. %s is complete; the same call resumes from there.",
                    model.epoch,
                    model.folder.path,
                )
            raise
        self.stages[-1]["finished"] = True
        model.folder.write_stages(self.stages)
        return history

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
        for _, older in folder.checkpoints()[-2:-1]:  # training resumes from the newest
            try:
                h5.drop_optimizer(older)
            except (OSError, ValueError) as error:  # it only takes more room
                logger.warning("The optimizer's state stays in an old checkpoint: %s", error)
        folder.prune(self.model.config.CHECKPOINTS_TO_KEEP)


def find_interrupted(model_dir: str, config: Config, stage: dict[str, Any]) -> ModelFolder | None:
    """Returns the newest interrupted run that a call with these arguments could have started.

    Args:
        model_dir: str. Folder of the run folders.
        config: Config. Only a run with the same settings counts.
        stage: dict. Only a run with such a stage counts; see `Run`.

    Returns:
        The run folder, or None if there is none with a checkpoint.
    """
    settings = config.to_dict()
    for run in reversed(ModelFolder.runs(model_dir, config.NAME)):
        stages = run.stages()
        started = any({name: s.get(name) for name in stage} == stage for s in stages)
        if not started or stages[-1]["finished"] or not run.checkpoints():
            continue
        if Config.from_json(run.path / "config.json").to_dict() == settings:
            return run
    return None


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
        _check_finite(logs, epoch)
        every = run.model.config.EVALUATE_EVERY
        last = epoch == run.stage["epochs"]
        if run.val_dataset is not None and every and (epoch % every == 0 or last):
            logs.update(run.validate())
        rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {name: float(value) for name, value in logs.items()}
        rows = [r for r in folder.history() if r["epoch"] < epoch] + [row]
        folder.write_history(rows)
        plots.plot_history(rows, folder.path / "curves.png")
        if is_best(rows):
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
