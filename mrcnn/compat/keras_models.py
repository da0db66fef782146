"""The Keras models behind `MaskRCNN.keras_model`, with the files and methods of Keras 2."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from mrcnn.compat.generator import new_inputs
from mrcnn.network.layers.basic import leaf_layers
from mrcnn.training import fit as training
from mrcnn.weights import loading
from mrcnn.weights.files import h5

logger = logging.getLogger("mrcnn")

# The base class of a mixin whose methods call those of the class that it is mixed into: type
# checkers cannot know that class.
_Mixin: Any = object


class OldFiles(_Mixin):
    """Mixin that lets a Keras model also read and write files in Matterport's layout."""

    def save_weights(
        self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs: Any
    ) -> None:
        """Saves the weights.

        A `.h5` file that is not a `.weights.h5` file is written in Matterport's layout, any other
        as Keras writes it.

        Args:
            filepath: str or path. The file.
            overwrite: bool. Whether an existing file is replaced. Defaults to True.
            **kwargs: passed to `keras.Model.save_weights`.

        Raises:
            FileExistsError: the file exists, and `overwrite` is False.
        """
        if not _is_old_file(filepath):
            super().save_weights(filepath, overwrite, **kwargs)
            return
        if not overwrite and Path(filepath).exists():
            raise FileExistsError(f"{filepath} exists. Set overwrite=True to replace it.")
        h5.write_weights(filepath, leaf_layers(self))

    def load_weights(
        self,
        filepath: str | os.PathLike,
        skip_mismatch: bool = False,
        by_name: bool = True,
        **kwargs: Any,
    ) -> Any:
        """Loads weights.

        A `.h5` file that is not a `.weights.h5` file is read by `weights.loading.load_weights`, any
        other as Keras reads it.

        Args:
            filepath: str or path. The file.
            skip_mismatch: bool. As in Keras; only for Keras' own files. Defaults to False.
            by_name: bool. Not used: files in Matterport's layout are always loaded by name.
                Defaults to True.
            **kwargs: passed to the function that reads the file.
        """
        if not _is_old_file(filepath):
            return super().load_weights(filepath, skip_mismatch=skip_mismatch, **kwargs)
        return loading.load_weights(filepath, leaf_layers(self), **kwargs)


def _is_old_file(path):
    return str(path).endswith(".h5") and not str(path).endswith(".weights.h5")


class CheckpointPath(str):
    """The path of checkpoints in Matterport's layout, which Keras' ModelCheckpoint accepts.

    `ModelCheckpoint(..., save_weights_only=True)` of Keras 3 checks that the path ends with
    ".weights.h5", which Keras' own layout requires. `OldFiles.save_weights` writes any .h5 file.
    """

    def endswith(self, suffix: Any, *span: Any) -> bool:
        """Returns what `str.endswith` returns, and True for ".weights.h5".

        Args:
            suffix: str or tuple of str. As in `str.endswith`.
            *span: int. Start and end, as in `str.endswith`.
        """
        return suffix == ".weights.h5" or super().endswith(suffix, *span)


def _usable(callbacks):
    """Leaves out TensorBoard if it is missing: TensorFlow no longer installs it."""
    listed = list(callbacks) if isinstance(callbacks, (list, tuple)) else callbacks
    if not isinstance(listed, list) or importlib.util.find_spec("tensorboard"):
        return listed
    kept = [one for one in listed if not isinstance(one, keras.callbacks.TensorBoard)]
    if len(kept) < len(listed):
        logger.warning("TensorBoard is not installed, so its callback is left out.")
    return kept


@keras.saving.register_keras_serializable("mrcnn")
class Graph(OldFiles, keras.Model):
    """The inference graph.

    Attributes:
        further_layers: callable. Returns layers by name that `get_layer` finds too, although the
            outputs of the graph do not depend on them.
    """

    further_layers: Callable[[], dict[str, keras.Layer]] = dict

    def get_layer(self, name: str | None = None, index: int | None = None) -> keras.Layer:
        """Returns a layer as `keras.Model.get_layer`, or one of `further_layers`.

        Args:
            name: str or None. Its name. Defaults to None: it is found by `index`.
            index: int or None. Its place among the layers. Defaults to None.
        """
        if name is not None and name not in {layer.name for layer in self.layers}:
            further = self.further_layers()
            if name in further:
                return further[name]
        return super().get_layer(name, index)


@keras.saving.register_keras_serializable("mrcnn")
class TrainingGraph(OldFiles, training.Trainer):
    """The training graph. Its `fit` also accepts the batches of `data_generator`.

    Attributes:
        config: Config or None. Of the model; None in a graph that was loaded by Keras.
    """

    config: Any = None

    def fit(self, x: Any = None, *args: Any, **options: Any) -> keras.callbacks.History:
        """Trains as `keras.Model.fit`; arguments that Keras 3 no longer has are ignored.

        Args:
            x: as in Keras, or a generator of Matterport's batches; see `compat.generator`.
                Defaults to None.
            *args: as in Keras.
            **options: as in Keras and in Keras 2's `fit_generator`.

        Returns:
            The History of Keras.

        Raises:
            ValueError: the data is a generator, and this graph was loaded by Keras.
        """
        for name in ("max_queue_size", "workers", "use_multiprocessing", "pickle_safe"):
            options.pop(name, None)
        if isinstance(x, Iterator):
            options["shuffle"] = False  # the generator shuffles
        if "validation_data" in options:
            options["validation_data"] = self._new_batches(options["validation_data"])
        if "callbacks" in options:
            options["callbacks"] = _usable(options["callbacks"])
        return super().fit(self._new_batches(x), *args, **options)

    def fit_generator(
        self, generator: Any, steps_per_epoch: int | None = None, epochs: int = 1, **options: Any
    ) -> keras.callbacks.History:
        """Calls `fit`, under the name that Keras 2 had for generators.

        Args:
            generator: see `fit`.
            steps_per_epoch: int or None. Batches per epoch. Defaults to None: all.
            epochs: int. Number of epochs. Defaults to 1.
            **options: see `fit`.

        Returns:
            The History of Keras.
        """
        return self.fit(generator, steps_per_epoch=steps_per_epoch, epochs=epochs, **options)

    def _new_batches(self, batches):
        """Converts the batches of a generator to the training graph's; keeps other data."""
        if not isinstance(batches, Iterator):
            return batches
        if self.config is None:
            raise ValueError(
                "A graph loaded by keras.models.load_model has no Config, which the batches of "
                "data_generator require. Create MaskRCNN('training', ...) and load the weights "
                "into it instead."
            )
        config = self.config  # not `self`: TensorFlow holds generators until the process ends
        return ((new_inputs(inputs, config),) for inputs, _ in batches)
