"""Matterport's `mrcnn.parallel_model`. `GPU_COUNT` alone is enough now; see MIGRATION.md."""

from __future__ import annotations

import os
from typing import Any

import keras

__all__ = ["ParallelModel"]


class ParallelModel(keras.Model):
    """Wraps a model as Matterport's class did: the same inputs, outputs and weights.

    `MaskRCNN.train` itself splits each batch over the devices, so nothing is left to do here.

    Args:
        keras_model: keras.Model. A functional model.
        gpu_count: int. Not used.

    Attributes:
        inner_model: keras.Model. The wrapped model.
    """

    def __init__(self, keras_model: keras.Model, gpu_count: int):
        super().__init__(keras_model.inputs, keras_model.outputs, name=keras_model.name)
        self.inner_model, self.gpu_count = keras_model, gpu_count

    def save_weights(self, filepath: str | os.PathLike, **kwargs: Any) -> None:
        """Saves the weights of `inner_model`.

        Args:
            filepath: str or path. The file.
            **kwargs: passed to `save_weights` of `inner_model`.
        """
        self.inner_model.save_weights(filepath, **kwargs)

    def load_weights(self, filepath: str | os.PathLike, **kwargs: Any) -> None:
        """Loads the weights of `inner_model`.

        Args:
            filepath: str or path. The file.
            **kwargs: passed to `load_weights` of `inner_model`.
        """
        self.inner_model.load_weights(filepath, **kwargs)

    def make_parallel(self) -> list:
        """Returns the outputs of the model."""
        return self.inner_model.outputs
