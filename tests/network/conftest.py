"""Fixtures of the tests of the network."""

import keras
import pytest
from keras import ops


def _gradient(function, array):
    backend = keras.backend.backend()
    x = ops.convert_to_tensor(array)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = function(x)
        result = tape.gradient(loss, x)
    elif backend == "jax":
        import jax

        result = jax.grad(function)(x)
    else:
        import torch

        x = x.detach().requires_grad_(True)
        result = torch.autograd.grad(function(x), x)[0]
    return ops.convert_to_numpy(result).copy()


@pytest.fixture(scope="session")
def gradient():
    """Returns gradient(function, array) for scalar functions, on the current backend."""
    return _gradient
