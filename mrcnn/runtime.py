"""What a process sets up: seeds, determinism and devices."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import keras
import numpy as np

logger = logging.getLogger("mrcnn")


# Held while a model is built: threads share the global generators, and must not exchange them.
building = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seeds the global generators of Python and NumPy for a while, then restores them.

    Keras' layers and initializers without a seed draw one from Python's generator. Inside this
    context they draw it from `seed`, whatever the user has drawn before, and outside of it the
    user's random numbers are what they would have been.

    Args:
        seed: int or None. None: a random one.
    """
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def compute_serially() -> None:
    """Makes TensorFlow run one operation after another, each still on all cores, without a GPU.

    `repeatable` needs this, but it only takes effect if TensorFlow has not computed anything yet.
    So it is called before the first model for training is built.
    """
    tf = _tensorflow_on_cpu()
    if tf is not None:
        with contextlib.suppress(RuntimeError):  # TensorFlow has already started its threads
            tf.config.threading.set_inter_op_parallelism_threads(1)


@contextlib.contextmanager
def repeatable(seed: int | None) -> Iterator[None]:
    """Makes what is computed inside repeatable, where the backend can be.

    The global generators of Python and NumPy are seeded, since augmentations of the user draw from
    them, and restored afterwards. The global seed of TensorFlow or PyTorch stays set. On TensorFlow
    without a GPU, graphs are not rewritten any more, and the gradient of crop_and_resize runs on
    one thread, because its threads would otherwise add to one array in random order; these two
    settings stay for the whole process. With a GPU nothing but the seed is set, because that
    gradient has no deterministic kernel there.

    Args:
        seed: int or None. None: nothing is done.
    """
    if seed is None:
        yield
        return
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow

        tensorflow.random.set_seed(seed)
    elif backend == "torch":
        import torch

        torch.manual_seed(seed)
    tf = _tensorflow_on_cpu()
    if tf is not None:
        tf.config.experimental.enable_op_determinism()
        # Grappler rewrites a graph in an order that changes from process to process, and with it
        # the order of sums. Without it, four of four runs agreed to the last bit, and a step took
        # as long.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    with seeded(seed):
        yield


def _tensorflow_on_cpu():
    """The module TensorFlow if it is the backend and has no GPU, otherwise None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return None if tf.config.list_physical_devices("GPU") else tf


def devices() -> list[str]:
    """Returns the names of the devices that the backend computes on: its GPUs, else its CPUs."""
    for kind in ("gpu", "cpu"):
        # JAX raises where there is no GPU; Keras cannot tell PyTorch's devices.
        with contextlib.suppress(RuntimeError, AttributeError, ValueError, NotImplementedError):
            found = keras.distribution.list_devices(kind)
            if found:
                return [str(device) for device in found]
    if keras.backend.backend() == "torch":
        import torch

        return [f"gpu:{i}" for i in range(torch.cuda.device_count())] or ["cpu"]
    return ["cpu"]


def devices_scope(count: int) -> Callable[[], AbstractContextManager]:
    """Returns a function that opens the scope for training on several devices at once.

    The model and its optimizer must be created inside the scope. Each device computes its part of
    a batch, and the gradients are summed: MirroredStrategy on TensorFlow, DataParallel on JAX. If
    there are fewer devices, a warning is logged and one device computes the whole batch.

    Args:
        count: int. Number of devices: GPUs or, if there are none, the logical CPUs that TensorFlow
            was configured with.

    Returns:
        A callable without arguments that returns a context manager.

    Raises:
        RuntimeError: as `refuse_fork`.
    """
    refuse_fork()
    if count == 1:
        return contextlib.nullcontext
    backend = keras.backend.backend()
    found: list[str] = []
    if backend == "tensorflow":
        import tensorflow as tf

        kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
        found = [device.name for device in tf.config.list_logical_devices(kind)]
        if len(found) >= count:
            return tf.distribute.MirroredStrategy(found[:count]).scope
    elif backend == "jax":
        found = keras.distribution.list_devices()
        if len(found) >= count:
            return keras.distribution.DataParallel(devices=found[:count]).scope
    logger.warning(
        "GPU_COUNT = %d, but %s found %d device(s) for it. One device computes the whole batch; "
        "set GPU_COUNT = 1 to silence this warning.",
        count,
        backend,
        len(found),
    )
    return contextlib.nullcontext


def replicas() -> int:
    """Returns the number of devices that share the current training step.

    Gradients are summed over the devices, so a mean loss must be divided by this number.

    Returns:
        int, 1 unless TensorFlow traces inside a distribution strategy.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


_process: int | None = None  # the process that the backend computes in


def refuse_fork() -> None:
    """Marks this process as the one that computes, and refuses a process that was forked from it.

    A forked process has none of the threads of its parent. TensorFlow, JAX and PyTorch would wait
    for theirs forever, so everything that computes calls this function first.

    Raises:
        RuntimeError: the process was forked from one that has built a model.
    """
    global _process
    if _process is None:
        _process = os.getpid()
    if _process != os.getpid():
        backend = keras.backend.backend()
        raise RuntimeError(
            f"This process was forked from one that has already built a model. {backend} does not "
            "work after a fork: the computation would wait forever. Start the process with the "
            'method "spawn", as in multiprocessing.get_context("spawn").Pool(), or build the first '
            "model in the new process. Threads need neither."
        )


@contextlib.contextmanager
def gradients_forgotten() -> Iterator[None]:
    """Forgets the gradient functions that TensorFlow registers while it traces a training step.

    Keras sums the gradients over the devices by an operation with a gradient of its own. TensorFlow
    registers such a gradient by name and keeps it, and with it the traced step and all weights,
    until the process ends: each training would take its memory for good. Nothing asks for the
    gradient of that sum, and a step that is traced again registers it anew.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    from tensorflow.python.framework import ops  # has no public name

    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    known = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - known:
            if name.startswith("CustomGradient-"):
                del registry[name]
