"""Compiled inference graphs: fast functions of NumPy arrays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def compiled(model: keras.Model) -> Callable[..., Any]:
    """Returns a fast function of NumPy arrays for an inference model.

    Args:
        model: keras.Model. Its inputs are images `[batch, height, width, channels]`, and perhaps
            further arrays.

    Returns:
        A callable that takes one array per input and returns the outputs of the model as NumPy
        arrays, in their structure. Its attribute `traces` counts the graphs that were built: on
        TensorFlow one per height, width and channels, on JAX one per full shape, on PyTorch none.
    """
    kinds = {"tensorflow": _TensorFlowCall, "jax": _JaxCall}
    return kinds.get(keras.backend.backend(), _DirectCall)(model)


class _DirectCall:
    """Calls the model without gradients."""

    def __init__(self, model):
        self.model = model
        self.traces = 0

    def __call__(self, *arrays):
        return keras.tree.map_structure(ops.convert_to_numpy, self.run(*arrays))

    def run(self, *arrays):
        import torch

        with torch.no_grad():
            return self.model(_as_inputs(arrays), training=False)


def _as_inputs(arrays):
    return arrays[0] if len(arrays) == 1 else list(arrays)


class _TensorFlowCall(_DirectCall):
    """One graph per image shape, whatever the batch size."""

    def __init__(self, model):
        super().__init__(model)
        self._graphs = {}
        self._lock = threading.Lock()

    def run(self, *arrays):
        graph = self._graph(tuple(array.shape[1:] for array in arrays))
        return graph(*(ops.convert_to_tensor(array, dtype="float32") for array in arrays))

    def _graph(self, shapes):
        import tensorflow as tf

        with self._lock:
            if shapes not in self._graphs:
                specs = [tf.TensorSpec((None, *shape), tf.float32) for shape in shapes]
                function = tf.function(lambda *a: self.model(_as_inputs(a), training=False))
                self._graphs[shapes] = function.get_concrete_function(*specs)
                self.traces += 1
            return self._graphs[shapes]


class _JaxCall(_DirectCall):
    """A jitted stateless call; the current weights are passed in with every call."""

    def __init__(self, model):
        import jax

        super().__init__(model)
        self._function = jax.jit(self._stateless)

    def _stateless(self, trainable, non_trainable, arrays):
        self.traces += 1  # runs once per trace
        outputs, _ = self.model.stateless_call(
            trainable, non_trainable, _as_inputs(arrays), training=False
        )
        return outputs

    def run(self, *arrays):
        trainable = [variable.value for variable in self.model.trainable_variables]
        non_trainable = [variable.value for variable in self.model.non_trainable_variables]
        return self._function(trainable, non_trainable, arrays)
