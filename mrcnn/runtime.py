"""What a process sets up once: seeds, determinism and devices."""

from __future__ import annotations

import contextlib
import logging

import keras

logger = logging.getLogger("mrcnn")


def make_repeatable(seed: int):
    """Seeds Python, NumPy and the backend, and asks the backend to repeat itself.

    On TensorFlow without a GPU, graphs are left as traced, operations run one after another (each
    still on all cores), and the gradient of crop_and_resize runs on one thread: its threads
    otherwise add to one array in any order. All hold for the process, one operation at a time
    only if TensorFlow has not computed anything yet. With a GPU none is done, since that gradient
    has no repeatable kernel there.
    """
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return
    with contextlib.suppress(RuntimeError):  # TensorFlow has already started its threads
        tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    # Grappler rewrites a graph in an order that changes from process to process, and the sums in it
    # too: without it, four of four runs agree to the last bit, and a step takes as long.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


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


def devices_scope(count: int):
    """A function that gives the context in which a model and its optimizer must be made
    to train on several devices at once.

    Each device takes its share of a batch, and the gradients are summed: MirroredStrategy on
    TensorFlow, DataParallel on JAX. Where there are fewer devices a warning says so, and the whole
    batch is computed on one.

    Args:
        count: devices; GPUs, or without any the logical CPUs that TensorFlow was told to have.
    """
    if count == 1:
        return contextlib.nullcontext
    backend, found = keras.backend.backend(), []
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
        "GPU_COUNT = %d, but %d can be used: the batch is computed on one.", count, len(found)
    )
    return contextlib.nullcontext


def replicas() -> int:
    """Devices over which the step being traced is split: a loss must be divided by them."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync
