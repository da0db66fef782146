"""Matterport's `mrcnn.parallel_model`. `GPU_COUNT` alone is enough now; see MIGRATION.md."""

from __future__ import annotations

import keras

__all__ = ["ParallelModel"]


class ParallelModel(keras.Model):
    """A model under its old wrapper: the same inputs, outputs and weights.

    A batch is split over devices by `MaskRCNN.train` itself, so there is nothing left to do here.

    Args:
        keras_model: a functional model.
        gpu_count: unused.

    Attributes:
        inner_model: the model.
    """

    def __init__(self, keras_model, gpu_count):
        super().__init__(keras_model.inputs, keras_model.outputs, name=keras_model.name)
        self.inner_model, self.gpu_count = keras_model, gpu_count

    def save_weights(self, filepath, **kwargs):
        """As `inner_model` does."""
        self.inner_model.save_weights(filepath, **kwargs)

    def load_weights(self, filepath, **kwargs):
        """As `inner_model` does."""
        self.inner_model.load_weights(filepath, **kwargs)

    def make_parallel(self):
        """The outputs of the model."""
        return self.inner_model.outputs
