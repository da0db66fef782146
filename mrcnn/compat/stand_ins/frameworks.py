"""Installs the module paths and names of Keras 2 and TensorFlow 1 that old scripts import.

Each function takes an `ExitStack`; closing it undoes the installation.
"""

from __future__ import annotations

import importlib
from contextlib import ExitStack
from typing import Any

from mrcnn.compat.stand_ins.modules import add_missing, importable, module

KERAS_LAYER_MODULES = (
    "core",
    "convolutional",
    "pooling",
    "normalization",
    "merge",
    "recurrent",
    "wrappers",
    "advanced_activations",
    "embeddings",
    "noise",
    "local",
    "convolutional_recurrent",
)
KERAS_UTILS_MODULES = ("np_utils", "generic_utils", "data_utils", "vis_utils", "layer_utils")
# Names of TensorFlow 1 that still work under tf.compat.v1.
TENSORFLOW_NAMES = (
    "GPUOptions",
    "ConfigProto",
    "logging",
    "gfile",
    "app",
    "flags",
    "set_random_seed",
    "to_float",
    "to_int32",
    "to_int64",
    "log",
    "global_variables_initializer",
    "random_uniform",
    "random_normal",
    "random_shuffle",
    "ceil",
    "is_nan",
    "where_v2",
    "variable_scope",
)


class Session:
    """Stands in for a session or graph of TensorFlow 1, which TensorFlow 2 does not need."""

    def __init__(self, *args: Any, **options: Any):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    @property
    def graph(self) -> Session:
        """Returns itself, so that `with session.graph.as_default()` does nothing."""
        return self

    def as_default(self) -> Session:
        """Returns itself, for `with`."""
        return self

    def close(self) -> None:
        """Does nothing."""

    def run(self, fetches: Any, feed_dict: Any = None, **options: Any) -> None:
        """Does nothing for `global_variables_initializer()`, which is None here."""
        if fetches is None:
            return None
        raise NotImplementedError(
            "tf.Session.run has no stand-in: TensorFlow 2 computes eagerly. For the outputs of "
            "layers of a model, use model.run_graph(images, outputs)."
        )


def backend_names() -> dict:
    """Returns what old scripts call in `keras.backend` and Keras 3 no longer has, by name."""
    return {
        "set_session": lambda session=None: None,
        "get_session": Session,
        "image_dim_ordering": lambda: "tf",
        "set_image_dim_ordering": _set_image_dim_ordering,
        "learning_phase": lambda: 0,
        "set_learning_phase": lambda value: None,
    }


def _set_image_dim_ordering(ordering):
    if ordering != "tf":
        raise NotImplementedError(
            f"keras.backend.set_image_dim_ordering({ordering!r}) has no stand-in: images are "
            "[height, width, channels] here."
        )


def keras_paths(stack: ExitStack) -> None:
    """Installs the modules of Keras 2 and the old names of `keras.backend`."""
    import keras
    import keras.backend
    import keras.layers
    import keras.utils

    classes = {
        "Layer": keras.layers.Layer,
        "InputSpec": keras.layers.InputSpec,
        "Model": keras.Model,
        "Input": keras.Input,
        "InputLayer": keras.layers.InputLayer,
        "get_source_inputs": keras.utils.get_source_inputs,
    }
    module(stack, "keras.engine", classes)
    for name in ("topology", "base_layer", "training", "input_layer", "network", "saving"):
        module(stack, f"keras.engine.{name}", classes)
    for name in KERAS_LAYER_MODULES:
        if not importable(f"keras.layers.{name}"):
            module(stack, f"keras.layers.{name}", {}, source=keras.layers)
    utils = {"multi_gpu_model": _multi_gpu_model}
    for name in (*KERAS_UTILS_MODULES, "training_utils"):
        if not importable(f"keras.utils.{name}"):
            module(stack, f"keras.utils.{name}", utils, source=keras.utils)
    add_missing(stack, keras.utils, utils)
    if not importable("keras.objectives"):
        module(stack, "keras.objectives", {}, source=keras.losses)

    missing = backend_names()
    if importable("tensorflow"):  # Keras 2's functions live on there
        import tensorflow as tf

        # One file, imported under two names.
        for old in (tf.keras.backend, importlib.import_module("tensorflow.keras.backend")):
            add_missing(stack, old, missing)
        missing = {name: getattr(old, name) for name in dir(old) if name[0] != "_"} | missing
    add_missing(stack, keras.backend, missing)
    module(stack, "keras.backend.tensorflow_backend", {}, source=keras.backend)


def _multi_gpu_model(model, gpus=None, **options):
    raise NotImplementedError(
        "keras.utils.multi_gpu_model has no stand-in: set GPU_COUNT in the Config, which splits "
        "each batch over the devices."
    )


def tensorflow_names(stack: ExitStack) -> None:
    """Installs `tf.ConfigProto`, `tf.Session` and other names of TensorFlow 1."""
    if not importable("tensorflow"):
        return
    import tensorflow as tf

    old = tf.compat.v1
    names = {name: getattr(old, name) for name in TENSORFLOW_NAMES if hasattr(old, name)}
    # Variables initialize themselves now: `Session.run(None)` does nothing.
    names["global_variables_initializer"] = lambda: None
    names["reset_default_graph"] = lambda: None
    for name in ("Session", "InteractiveSession", "get_default_graph"):
        names[name] = Session
    add_missing(stack, tf, names)
