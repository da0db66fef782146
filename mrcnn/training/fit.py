"""Training: optimizer, schedule, frozen layers, callbacks, fit."""

from __future__ import annotations

import logging

import keras

from mrcnn import runtime

logger = logging.getLogger("mrcnn")


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
        return total / runtime.replicas()


def trainer(training_model: keras.Model, loss_weights: dict, kind=Trainer) -> Trainer:
    """Makes a training graph trainable by fit; it shares all weights. `kind`: a Trainer's class."""
    model = kind(training_model.input, training_model.output, name=training_model.name)
    names = list(training_model.output)
    model.loss_weights = {name: float(loss_weights.get(name, 1.0)) for name in names}
    model.loss_metrics = {name: keras.metrics.Mean(name=name) for name in names}
    return model


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
