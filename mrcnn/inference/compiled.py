"""Compiled inference graphs: fast functions of NumPy arrays."""

from __future__ import annotations

import collections
import gc
import threading
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from mrcnn import runtime

# On TensorFlow a graph of even a tiny network takes 35 MB, whatever the size of its images, and
# 1.4 seconds to build: enough for images of any aspect ratio, which have about a dozen padded
# shapes, and less than 600 MB.
MAX_GRAPHS = 16


def compiled(model: keras.Model) -> Callable[..., Any]:
    """Returns a fast function of NumPy arrays for an inference model.

    The function keeps the graphs of the last `MAX_GRAPHS` shapes that it was called with and frees
    the others, so its memory does not grow with the number of different shapes.

    Args:
        model: keras.Model. Its inputs are images `[batch, height, width, channels]`, and perhaps
            further arrays.

    Returns:
        A callable that takes one array per input and returns the outputs of the model as NumPy
        arrays, in their structure. It raises RuntimeError in a process that was forked; see
        `runtime.refuse_fork`. Its attribute `traces` counts the graphs that were built: on
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
        runtime.refuse_fork()
        return keras.tree.map_structure(ops.convert_to_numpy, self.run(*arrays))

    def run(self, *arrays):
        import torch

        with torch.no_grad():
            return self.model(_as_inputs(arrays), training=False)


def _as_inputs(arrays):
    return arrays[0] if len(arrays) == 1 else list(arrays)


class _GraphPerShape(_DirectCall):
    """Builds one graph per shape, and keeps those that were used last."""

    def __init__(self, model):
        super().__init__(model)
        self._graphs = collections.OrderedDict()  # the graph that was used last is at the end
        self._lock = threading.Lock()

    def _graph(self, shapes):
        """Returns the graph of a tuple of shapes. Threads wait while one of them builds a graph."""
        with self._lock:
            if shapes not in self._graphs:
                self._make_room()
                self._graphs[shapes] = self._build(shapes)
            self._graphs.move_to_end(shapes)
            return self._graphs[shapes]

    def _make_room(self):
        """Frees the graph that was not used for the longest time, if there are `MAX_GRAPHS`."""
        if len(self._graphs) < MAX_GRAPHS:
            return
        while len(self._graphs) >= MAX_GRAPHS:
            self._graphs.popitem(last=False)
        # A graph holds references to itself. Left to Python, it would outlive several new ones.
        gc.collect()

    def _build(self, shapes):
        raise NotImplementedError


class _TensorFlowCall(_GraphPerShape):
    """One graph per image shape, whatever the batch size."""

    def run(self, *arrays):
        graph = self._graph(tuple(array.shape[1:] for array in arrays))
        return graph(*(ops.convert_to_tensor(array, dtype="float32") for array in arrays))

    def _build(self, shapes):
        import tensorflow as tf

        specs = [tf.TensorSpec((None, *shape), tf.float32) for shape in shapes]
        function = tf.function(lambda *a: self.model(_as_inputs(a), training=False))
        self.traces += 1
        return function.get_concrete_function(*specs)


class _JaxCall(_GraphPerShape):
    """A jitted stateless call; the current weights are passed in with every call."""

    def run(self, *arrays):
        trainable = [variable.value for variable in self.model.trainable_variables]
        non_trainable = [variable.value for variable in self.model.non_trainable_variables]
        graph = self._graph(tuple(array.shape for array in arrays))
        return graph(trainable, non_trainable, arrays)

    def _build(self, shapes):
        import jax

        def stateless(trainable, non_trainable, arrays):
            self.traces += 1  # runs once per trace
            outputs, _ = self.model.stateless_call(
                trainable, non_trainable, _as_inputs(arrays), training=False
            )
            return outputs

        return jax.jit(stateless)
