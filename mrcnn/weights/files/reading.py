"""Reading HDF5 weight files in the layout of Keras 2, trusting nothing in them.

A file holds numbers only: nothing in it is executed, links and data in other files are refused,
and shapes are known before anything is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

# In Matterport's files the region proposal network is a model of its own, in one group.
NESTED = dict.fromkeys(("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"), "rpn_model")
METADATA = "mrcnn_metadata"


class LayerWeights(Mapping):
    """The weights of one layer in an open file: name -> array, in the file's order.

    An array is read when it is asked for; `shape` reads nothing.
    """

    def __init__(self, datasets: dict):
        self._datasets = datasets

    def __getitem__(self, name) -> np.ndarray:
        return self._datasets[name][()]

    def __iter__(self):
        return iter(self._datasets)

    def __len__(self):
        return len(self._datasets)

    def shape(self, name) -> tuple:
        """Shape of a weight, without reading it."""
        return self._datasets[name].shape

    def release(self):
        """Gives back memory that reading took, where a file is mapped into it."""
        for dataset in self._datasets.values():
            if hasattr(dataset, "release"):
                dataset.release()


@contextmanager
def open_weights(path):
    """Opens a weight file for reading.

    Yields:
        dict of layer name -> `LayerWeights`, for the layers that have weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, truncated, or not in this layout; names the file.
    """
    with open_file(path) as file:
        layers, root = {}, file
        if "model_weights" in file and not any(key.startswith("layer_names") for key in file.attrs):
            root = own(file, "model_weights", path)  # a whole model: Keras' save()
        for name in _read_names(root, "layer_names", path):
            if name in root:
                layers |= _layers_of(name, _layer(root, name, path))
        yield {name: LayerWeights(datasets) for name, datasets in layers.items() if datasets}


def read_weights(path) -> dict[str, dict[str, np.ndarray]]:
    """All weights of a file: layer name -> weight name -> array, in the file's order.

    Raises:
        FileNotFoundError, ValueError: as `open_weights`.
    """
    with open_weights(path) as layers:
        return {name: dict(weights) for name, weights in layers.items()}


def read_metadata(path) -> dict:
    """What `write_weights` was given as metadata; empty when the file carries none."""
    with open_file(path) as file:
        text = file.attrs.get(METADATA)
        if text is None:
            return {}
        try:
            found = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: the attribute {METADATA} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise ValueError(f"{path}: the attribute {METADATA} holds no JSON object.")
        return found


@contextmanager
def open_file(path):
    """Opens an HDF5 file; damage found at any time inside the block is a ValueError naming it."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No weight file {path}" + (": that is a folder." if path.is_dir() else ".")
        )
    remedy = "It is no HDF5 file, or only a part of one: copy or download it again."
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path} cannot be read ({error}). {remedy}") from error
    with file:
        try:
            yield file
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"{path} cannot be read ({error}). {remedy}") from error


def _read_names(item, name, path) -> list[str]:
    """A list attribute, joined from `name0`, `name1` ... where it was split; bytes or text."""
    keys = [name] if name in item.attrs else []
    while name not in item.attrs and f"{name}{len(keys)}" in item.attrs:
        keys.append(f"{name}{len(keys)}")
    if not keys:
        raise ValueError(
            f"{path}: no attribute {name!r} at {item.name!r}. Expected weights in the layout that "
            "Keras 2 and Matterport's Mask_RCNN write, as save() does."
        )
    values = [value for key in keys for value in np.ravel(item.attrs[key])]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _layers_of(group: str, datasets: dict) -> dict:
    """Splits a nested group ("rpn_model") by the first part of its weights' names."""
    if group not in NESTED.values():
        return {group: datasets}
    layers = {}
    for name, dataset in datasets.items():
        layers.setdefault(name.split("/")[0], {})[name] = dataset
    return layers


def _layer(file, name, path) -> dict:
    """The datasets of a group by name, in order, nothing read yet."""
    group = own(file, name, path)
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{path}: {name!r} should be a group of weights.")
    datasets = {}
    for weight in _read_names(group, "weight_names", path):
        datasets[weight] = numbers(group, weight, path)
    return datasets


def numbers(group, name, path) -> h5py.Dataset:
    """A dataset below a group that holds numbers inside this file, or a ValueError."""
    dataset = own(group, name, path)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {group.name}/{name} is not an array of numbers.")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{path}: {group.name}/{name} keeps its data in another file.")
    return dataset


def own(group, name, path):
    """The item at a path below a group, every step of which must be a hard link."""
    item = group
    for step in name.split("/"):
        link = item.get(step, getlink=True) if isinstance(item, h5py.Group) and step else None
        if link is None:
            raise ValueError(f"{path}: {group.name}/{name} is named in the file but missing.")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{path}: {item.name}/{step} is a link, which is refused.")
        item = item[step]
    return item


def finite(path, name, value):
    """The array, or a ValueError where it holds anything that is no number."""
    # The sum first: it takes no memory, and is no number itself where one is not.
    if not np.isfinite(np.sum(value, dtype=np.float64)) and not np.isfinite(value).all():
        raise ValueError(f"{path}: layer {name} holds NaN or infinite weights; use another file.")
    return value
