"""Writes checkpoints: HDF5 files in the layout of Keras 2, as Matterport's Mask_RCNN does.

The root has the attributes `layer_names`, `backend` and `keras_version`. There is one group per
layer with the attribute `weight_names`, and datasets such as `conv1/conv1/kernel:0`. Old tools read
these files by name. They ignore two additions: the attribute `mrcnn_metadata` (JSON) and the group
`optimizer_weights`.

`reading.py` and `loading.py` read these files.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import h5py
import keras
import numpy as np

from mrcnn.errors import shorten
from mrcnn.images.atomic import atomic_path
from mrcnn.network.layers.basic import layer_weights
from mrcnn.weights.files.reading import (
    MAX_UNSTORED_BYTES,
    METADATA,
    NESTED,
    finite,
    numbers,
    open_file,
    own,
)

logger = logging.getLogger("mrcnn")

_OPTIMIZER = "optimizer_weights"
# HDF5 limits an attribute to 64 KB. Longer lists are split as Keras 2 splits them.
_ATTRIBUTE_BYTES = 64000


# --- Writing -------------------------------------------------------------------------------------
def write_weights(
    path: str | os.PathLike,
    layers: Iterable[keras.layers.Layer],
    optimizer: keras.optimizers.Optimizer | None = None,
    metadata: dict[str, Any] | None = None,
) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: str or path. The file. A missing folder is created.
        layers: iterable of keras.layers.Layer. Of layers without weights, only the name is written.
        optimizer: keras.optimizers.Optimizer or None. A built optimizer whose state is written too.
            Defaults to None.
        metadata: dict or None. Anything that JSON can hold, such as epoch, name and class names.
            Defaults to None.

    Raises:
        OSError: the file cannot be written, for example because the disk is full. A previous file
            is unchanged.
        ValueError: two layers have the same name.
    """
    layers = list(layers)
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"layers must have unique names, repeated: {', '.join(repeated)}.")
    with _memory_file(path) as file:
        _write_layers(file, layers)
        if metadata is not None:
            file.attrs[METADATA] = json.dumps(metadata)
        if optimizer is not None:
            group = file.create_group(_OPTIMIZER)
            for name, variable in optimizer_state(optimizer).items():
                group.create_dataset(name, data=keras.ops.convert_to_numpy(variable.value))


@contextmanager
def _memory_file(path):
    """Yields an HDF5 file in memory, which Python writes when the block ends.

    HDF5 itself crashes the process if the disk is full.
    """
    with h5py.File("memory", "w", driver="core", block_size=2**20, backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)


def drop_optimizer(path: str | os.PathLike) -> None:
    """Rewrites a checkpoint without the state of the optimizer, as large as the weights or larger.

    Args:
        path: str or path. The checkpoint.

    Raises:
        OSError: the file cannot be written. It is unchanged.
        FileNotFoundError: no such file.
        ValueError: not HDF5, or damaged.
    """
    with open_file(path) as old:
        if _OPTIMIZER not in old:
            return
        with _memory_file(path) as new:
            for name in old:
                if name != _OPTIMIZER:
                    old.copy(name, new)
            for name, value in old.attrs.items():
                new.attrs[name] = value


def _write_layers(file, layers):
    groups: dict[str, list] = {}  # name in the file -> its layers
    for layer in layers:
        groups.setdefault(NESTED.get(layer.name, layer.name), []).append(layer)
    _write_names(file, "layer_names", list(groups))
    file.attrs["backend"] = "tensorflow"
    # Without this, Keras 2 would assume a file of Keras 1 and swap the axes of the kernels.
    file.attrs["keras_version"] = "2.15.0"
    for name, members in groups.items():
        weights = {
            f"{layer.name}/{weight_name}:0": weight
            for layer in members
            for weight_name, weight in zip(weight_names(layer), layer_weights(layer), strict=True)
        }
        group = file.create_group(name)
        _write_names(group, "weight_names", list(weights))
        for key, weight in weights.items():
            group.create_dataset(key, data=keras.ops.convert_to_numpy(weight.value))


def weight_names(layer: keras.layers.Layer) -> list[str]:
    """Returns unique names of the weights of a layer: "kernel", or paths if names repeat.

    Args:
        layer: keras.layers.Layer.
    """
    names = [weight.name for weight in layer_weights(layer)]
    if len(set(names)) < len(names):
        names = [weight.path.removeprefix(f"{layer.name}/") for weight in layer_weights(layer)]
    return names


def _write_names(item, name, values):
    encoded = [value.encode() for value in values]
    width = max(map(len, encoded), default=1)
    if len(encoded) * width <= _ATTRIBUTE_BYTES:
        item.attrs[name] = np.array(encoded, dtype=f"S{max(width, 1)}")
        return
    rows = _ATTRIBUTE_BYTES // width
    for part, start in enumerate(range(0, len(encoded), rows)):
        item.attrs[f"{name}{part}"] = np.array(encoded[start : start + rows], dtype=f"S{width}")


# --- Optimizer state -----------------------------------------------------------------------------
def optimizer_state(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """Returns the variables of an optimizer, by names that are the same in every process.

    Keras starts each path with the name of the optimizer ("sgd_1/..."), whose number depends on how
    many optimizers a process has made. It is dropped. Names that repeat are numbered.

    Args:
        optimizer: keras.optimizers.Optimizer.
    """
    state: dict[str, Any] = {}
    for variable in optimizer.variables:
        path = getattr(variable, "path", variable.name)
        name = path.split("/", 1)[-1] or path
        unique, count = name, 1
        while unique in state:
            count += 1
            unique = f"{name}__{count}"
        state[unique] = variable
    return state


def load_optimizer(
    path: str | os.PathLike,
    optimizer: keras.optimizers.Optimizer,
    learning_rate: bool = False,
) -> int:
    """Restores the state of a built optimizer from a checkpoint, by name.

    Variables that the file lacks or has in another shape keep their values, and a warning says how
    many were restored.

    Args:
        path: str or path. The checkpoint.
        optimizer: keras.optimizers.Optimizer. It must be built.
        learning_rate: bool. Whether to restore the learning rate too, which a callback may have
            changed. Defaults to False: the optimizer keeps its own.

    Returns:
        The number of restored variables. 0 if the file has no state of an optimizer.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, damaged, or with values that are not finite.
    """
    state, values = optimizer_state(optimizer), {}
    if not learning_rate:
        state.pop("learning_rate", None)
    with open_file(path) as file:
        if _OPTIMIZER not in file:
            logger.warning("%s has no optimizer state. The optimizer starts from scratch.", path)
            return 0
        group = own(file, _OPTIMIZER, path)
        for name, variable in state.items():
            if name in group:
                dataset = numbers(group, name, path)
                if dataset.shape == tuple(variable.shape):
                    values[name] = finite(path, f"{_OPTIMIZER}/{name}", dataset[()])
    for name, value in values.items():
        state[name].assign(value)
    if len(values) < len(state):
        logger.warning("%s: %d of %d optimizer variables restored.", path, len(values), len(state))
    return len(values)


def check_optimizer(path: str | os.PathLike) -> None:
    """Reads the state of the optimizer in a checkpoint, if it has one, and forgets it.

    Args:
        path: str or path. The checkpoint.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, damaged, with values that are not finite, or with arrays much larger
            than the file.
    """
    with open_file(path) as file:
        if _OPTIMIZER not in file:
            return
        group, names, size = own(file, _OPTIMIZER, path), [], 0
        group.visititems(lambda name, item: names.append((name, isinstance(item, h5py.Dataset))))
        for name, is_array in names:
            if is_array:
                dataset = numbers(group, name, path)
                size += dataset.nbytes
                if size > os.path.getsize(path) + MAX_UNSTORED_BYTES:
                    raise ValueError(
                        f"{path}: with {shorten(name)} of shape {dataset.shape}, its optimizer "
                        f"claims {size:,} bytes, much more than the file holds."
                    )
                finite(path, f"{_OPTIMIZER}/{name}", dataset[()])
