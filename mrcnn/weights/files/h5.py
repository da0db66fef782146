"""Checkpoints are written: one HDF5 file in Matterport's (Keras 2) layout.

Root attributes `layer_names`, `backend` and `keras_version`; one group a layer with the attribute
`weight_names`; datasets such as `conv1/conv1/kernel:0`. Old tools read these files by name. Two
things are added, which they ignore: the attribute `mrcnn_metadata` (JSON) and the group
`optimizer_weights`.

`reading.py` and `loading.py` read them.
"""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager

import h5py
import keras
import numpy as np

from mrcnn.images.atomic import atomic_path
from mrcnn.network.layers.basic import layer_weights
from mrcnn.weights.files.reading import METADATA, NESTED, finite, numbers, open_file, own

logger = logging.getLogger("mrcnn")

_OPTIMIZER = "optimizer_weights"
# HDF5 keeps the attributes of an object in 64 KB; longer lists are split as Keras 2 splits them.
_ATTRIBUTE_BYTES = 64000


# --- Writing -------------------------------------------------------------------------------------
def write_weights(path, layers, optimizer=None, metadata: dict | None = None):
    """Writes a checkpoint whole or not at all.

    Args:
        path: of the file; its folder is made when missing.
        layers: keras layers; those without weights are named in the file and no more.
        optimizer: a built keras optimizer whose state is kept too; None: none.
        metadata: anything JSON can hold, such as epoch, name and class names.

    Raises:
        OSError: the file cannot be written, as on a full disk; a file of that name stays whole.
        ValueError: two layers with weights of one name.
    """
    layers = list(layers)
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"layers must have names of their own, repeated: {', '.join(repeated)}.")
    with _written_whole(path) as file:
        _write_layers(file, layers)
        if metadata is not None:
            file.attrs[METADATA] = json.dumps(metadata)
        if optimizer is not None:
            group = file.create_group(_OPTIMIZER)
            for name, variable in optimizer_state(optimizer).items():
                group.create_dataset(name, data=keras.ops.convert_to_numpy(variable.value))


@contextmanager
def _written_whole(path):
    """An HDF5 file made in memory and written by Python when the block ends.

    HDF5 itself crashes the process on a full disk.
    """
    with h5py.File("memory", "w", driver="core", block_size=2**20, backing_store=False) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)


def drop_optimizer(path):
    """Rewrites a checkpoint without the state of its optimizer, which takes as much again.

    Raises:
        OSError: the file cannot be written; it stays as it was.
    """
    with open_file(path) as old:
        if _OPTIMIZER not in old:
            return
        with _written_whole(path) as new:
            for name in old:
                if name != _OPTIMIZER:
                    old.copy(name, new)
            for name, value in old.attrs.items():
                new.attrs[name] = value


def _write_layers(file, layers):
    groups = {}  # of the file: name -> the layers in it
    for layer in layers:
        groups.setdefault(NESTED.get(layer.name, layer.name), []).append(layer)
    _write_names(file, "layer_names", list(groups))
    file.attrs["backend"] = "tensorflow"
    # Keras 2 takes a file without this, or with 1, for one of Keras 1 and swaps kernel axes.
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


def weight_names(layer) -> list[str]:
    """Names of a layer's weights, each once: "kernel", or a longer path where that repeats."""
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
def optimizer_state(optimizer) -> dict:
    """Variables of an optimizer by a name that no process numbers.

    Keras puts the optimizer's own name first ("sgd_1/..."), counted up in each process: it is
    dropped. Equal names get their count of occurrence.
    """
    state = {}
    for variable in optimizer.variables:
        path = getattr(variable, "path", variable.name)
        name = path.split("/", 1)[-1] or path
        unique, count = name, 1
        while unique in state:
            count += 1
            unique = f"{name}__{count}"
        state[unique] = variable
    return state


def load_optimizer(path, optimizer, learning_rate=False) -> int:
    """Restores the state of a built optimizer from a checkpoint, by name.

    Args:
        path: a checkpoint.
        optimizer: a built keras optimizer.
        learning_rate: also take the rate of the file, as a callback may have left it; otherwise
            the rate that the optimizer was made with holds.

    Returns:
        Number of variables restored; 0 when the file holds no state. Variables that the file does
        not have, or has in another shape, stay as they are, and a warning counts them.

    Raises:
        FileNotFoundError, ValueError: as `reading.open_weights`.
    """
    state, values = optimizer_state(optimizer), {}
    if not learning_rate:
        state.pop("learning_rate", None)
    with open_file(path) as file:
        if _OPTIMIZER not in file:
            logger.warning("%s holds no optimizer state; the optimizer starts anew.", path)
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
