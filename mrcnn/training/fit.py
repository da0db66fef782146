"""The training graph, and the loop over epochs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import keras

from mrcnn import runtime


@keras.saving.register_keras_serializable("mrcnn")
class Trainer(keras.Model):
    """The training graph with its total loss: the weighted sum of the graph's outputs.

    Every loss is a metric of its own name, weighted as in the total. It is made by `trainer`, and
    comes back from a file with its weights of the losses.
    """

    def weigh(self, loss_weights: Mapping[str, float]) -> None:
        """Sets the weight of each loss; a loss that is not named has 1.

        Args:
            loss_weights: mapping of str to float.
        """
        names = list(self.output)
        self.loss_weights = {name: float(loss_weights.get(name, 1.0)) for name in names}
        self.loss_metrics = {name: keras.metrics.Mean(name=name) for name in names}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras' hook: the total of the losses that the graph computed."""
        total = 0.0
        for name, weight in self.loss_weights.items():
            value = weight * y_pred[name]
            self.loss_metrics[name].update_state(value)
            total = total + value
        return total / runtime.replicas()

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, and leaves nothing behind once the model is gone."""
        with runtime.gradients_forgotten():
            return super().fit(*args, **kwargs)

    def get_config(self):
        return super().get_config() | {"loss_weights": dict(self.loss_weights)}

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> Trainer:
        """Builds the graph of a config, with its weights of the losses."""
        config = dict(config)
        loss_weights = config.pop("loss_weights")
        model = super().from_config(config, custom_objects)
        model.weigh(loss_weights)
        return model


def trainer(
    training_model: keras.Model, loss_weights: Mapping[str, float], kind: type[Trainer] = Trainer
) -> Trainer:
    """Makes a training graph trainable by `fit`; it shares all weights.

    Args:
        training_model: keras.Model. Its outputs are a dict of losses.
        loss_weights: mapping of str to float. See `Trainer.weigh`.
        kind: type. A subclass of `Trainer`. Defaults to `Trainer`.
    """
    model = kind(training_model.input, training_model.output, name=training_model.name)
    model.weigh(loss_weights)
    return model


class EpochSeeds(keras.callbacks.Callback):
    """Gives every epoch its own sampling seeds, so that a resumed run draws as an unbroken one.

    Args:
        seed: int or None. `SEED` of the Config. None: nothing is done.
    """

    def __init__(self, seed: int | None):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        if self.seed is None:
            return
        for layer in self.model.layers:
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([self.seed, epoch])


def set_directions(callbacks: Iterable[keras.callbacks.Callback], losses: Container[str]) -> None:
    """Tells callbacks that monitor a loss or an AP which direction is better.

    Keras finds this out by itself for "val_loss" alone, and otherwise refuses mode "auto".

    Args:
        callbacks: iterable of keras.callbacks.Callback.
        losses: container of str. Names of the losses.
    """
    for callback in callbacks:
        if getattr(callback, "mode", None) == "auto":
            name = str(getattr(callback, "monitor", "")).removeprefix("val_")
            if name in losses or "_AP" in name:
                callback.mode = "min" if name in losses else "max"


def fit(
    model: Trainer,
    config: Any,
    train_batches: Any,
    val_batches: Any = None,
    *,
    first_epoch: int,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int | str = 1,
) -> keras.callbacks.History:
    """Trains a compiled Trainer, repeatably with a `SEED`; see `runtime.repeatable`.

    Args:
        model: Trainer.
        config: Config. Its `SEED` is read.
        train_batches: Batches. Of the training set.
        val_batches: Batches or None. Of the validation set. Defaults to None.
        first_epoch: int. Epochs that are completed.
        epochs: int. The last epoch.
        callbacks: sequence of keras.callbacks.Callback.
        verbose: int or str. As in Keras' `fit`. Defaults to 1.

    Returns:
        The History of Keras.
    """
    set_directions(callbacks, model.loss_metrics)
    with runtime.repeatable(config.SEED):
        return model.fit(
            train_batches,
            validation_data=val_batches,
            initial_epoch=first_epoch,
            epochs=epochs,
            callbacks=[train_batches.follow_fit(), EpochSeeds(config.SEED), *callbacks],
            shuffle=False,  # the batches hold the order
            verbose=verbose,
        )
