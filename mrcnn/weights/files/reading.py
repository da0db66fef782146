"""Reads HDF5 weight files in the layout of Keras 2, without trusting their content.

Nothing in a file is executed. Links and data in other files are refused, and shapes are known
before data are read.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import h5py
import numpy as np

from mrcnn.errors import reading, shorten
from mrcnn.weights.files.heaps import check_heaps
from mrcnn.weights.files.mapping import existing_file

# Weights in a file, and layers in it. ResNet-101 with all heads has 690 in 240 layers.
MAX_WEIGHTS = 4_000
# HDF5 need not store what is constant, and can compress the rest. The arrays of a file may be
# larger than the file by this much: enough for all weights of a ResNet-101.
MAX_UNSTORED_BYTES = 2**28
# Groups beside those of the layers, in files of ours and of Keras.
_NO_LAYERS = {"optimizer_weights", "top_level_model_weights"}
_EXPECTED = "an HDF5 file of weights"
# In Matterport's files, the layers of the RPN are a nested model and share one group.
NESTED = dict.fromkeys(("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"), "rpn_model")
METADATA = "mrcnn_metadata"


class LayerWeights(Mapping):
    """The weights of one layer in an open file by name, in the order of the file.

    An array is read when it is accessed; `shape` reads nothing.

    Args:
        datasets: dict. Objects with `shape` whose `[()]` is the array, by name.
        path: str or path. The file, named in errors.
    """

    def __init__(self, datasets: dict[str, Any], path: str | os.PathLike):
        self._datasets = datasets
        self._path = path

    def __getitem__(self, name) -> np.ndarray:
        dataset = self._datasets[name]  # a KeyError is no fault of the file
        with reading(self._path, "a file of weights"):
            return dataset[()]

    def __iter__(self):
        return iter(self._datasets)

    def __len__(self):
        return len(self._datasets)

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a weight, without reading the weight.

        Args:
            name: str.
        """
        return self._datasets[name].shape

    def release(self) -> None:
        """Frees the memory that reading a memory-mapped file took."""
        for dataset in self._datasets.values():
            if hasattr(dataset, "release"):
                dataset.release()


@contextmanager
def open_weights(path: str | os.PathLike) -> Iterator[dict[str, LayerWeights]]:
    """Opens a weight file for reading.

    Args:
        path: str or path.

    Yields:
        Dict of `LayerWeights` by name of the layer, for the layers that have weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, truncated, or in another layout. The message names the file.
    """
    path = existing_file(path)
    with ExitStack() as stack:
        with reading(path, _EXPECTED):
            longest = check_heaps(path)
            layers = _layers(stack.enter_context(h5py.File(path, "r")), path, longest)
        yield layers


def read_weights(path: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Returns all weights of a file, by name of the layer and of the weight.

    Args:
        path: str or path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, truncated, or in another layout.
    """
    with open_weights(path) as layers:
        return {name: dict(weights) for name, weights in layers.items()}


def read_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the metadata that `h5.write_weights` wrote, or an empty dict if there are none.

    Args:
        path: str or path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, or damaged metadata.
    """
    with open_file(path) as file:
        if METADATA not in file.attrs:
            return {}
        try:
            # One text is no longer than the file, and a list is refused below.
            found = json.loads(_attribute(file, METADATA, path, os.path.getsize(path)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path}: the attribute {METADATA} is not valid JSON: {error}."
            ) from error
        if not isinstance(found, dict):
            raise ValueError(f"{path}: the attribute {METADATA} is not a JSON object.")
        return found


@contextmanager
def open_file(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Opens an HDF5 file. Damage that is found inside the block raises a ValueError, too.

    Args:
        path: str or path.

    Yields:
        h5py.File.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not HDF5, or damaged. The message names the file.
    """
    path = existing_file(path)
    with reading(path, _EXPECTED):
        check_heaps(path)
        with h5py.File(path, "r") as file:
            yield file


def _layers(file, path, longest) -> dict[str, LayerWeights]:
    """Returns the layers of a file that have weights, by name, without reading them."""
    layers: dict[str, dict[str, h5py.Dataset]] = {}
    root = file
    if "model_weights" in file and not any(key.startswith("layer_names") for key in file.attrs):
        root = own(file, "model_weights", path)  # a complete model, saved by Keras
    count = size = 0
    names = _read_names(root, "layer_names", path, longest)
    lost = [name for name in names if name not in root]
    unlisted = sorted(set(root) - set(names) - _NO_LAYERS)
    if lost and unlisted:
        raise ValueError(
            f"{path} is damaged: it lists the layer {shorten(lost[0])}, which it does not have, "
            f"and has {shorten(unlisted[0])}, which it does not list. Copy or download it again."
        )
    for name in names:
        datasets = _layer(root, name, path, longest) if name in root else {}
        for weight, dataset in datasets.items():
            count += 1
            size += dataset.nbytes
            if count > MAX_WEIGHTS or size > os.path.getsize(path) + MAX_UNSTORED_BYTES:
                raise ValueError(
                    f"{path}: with {shorten(weight)} of shape {dataset.shape}, its {count} weights "
                    f"claim {size:,} bytes, much more than the file holds. Do not use this file."
                )
        layers |= _layers_of(name, datasets)
    return {name: LayerWeights(datasets, path) for name, datasets in layers.items() if datasets}


def _read_names(item, name, path, longest) -> list[str]:
    """Returns a list of names from an attribute, which may be split into `name0`, `name1` ..."""
    keys = [name] if name in item.attrs else []
    while name not in item.attrs and f"{name}{len(keys)}" in item.attrs:
        keys.append(f"{name}{len(keys)}")
    if not keys:
        raise ValueError(
            f"{path}: {shorten(item.name)} has no attribute {name!r}. Expected weights in the "
            "layout of Keras 2 and of Matterport's Mask_RCNN, which save() writes too."
        )
    names: list[str] = []
    for key in keys:
        values = np.ravel(_attribute(item, key, path, longest))
        names += [value.decode() if isinstance(value, bytes) else str(value) for value in values]
        if len(names) > MAX_WEIGHTS or len(set(names)) < len(names):
            raise ValueError(
                f"{path}: {shorten(item.name)} lists {len(names)} names in {name!r}, expected each "
                f"once and at most {MAX_WEIGHTS}."
            )
    return names


def _attribute(item, key, path, longest) -> Any:
    """Returns an attribute of text, unless it claims to be larger than the file.

    The texts of variable length have up to `longest` bytes each.
    """
    attribute = item.attrs.get_id(key)
    kind = attribute.get_type()
    # The HDF5 library can crash in sequences of variable length that are no text.
    if not isinstance(kind, h5py.h5t.TypeStringID):
        raise ValueError(f"{path}: the attribute {shorten(key)} is not text.")
    count, size = math.prod(attribute.shape), os.path.getsize(path)
    claimed, limit = count * attribute.dtype.itemsize, size
    if kind.is_variable_str() and claimed <= size:
        # Many of them can stand for the same text, which is copied for each.
        claimed, limit = count * longest, size + MAX_UNSTORED_BYTES
    if claimed > limit:
        raise ValueError(f"{path}: the attribute {shorten(key)} claims {claimed:,} bytes.")
    return item.attrs[key]


def _layers_of(group: str, datasets: dict) -> dict:
    """Splits the nested group "rpn_model" into its layers, the first part of the names."""
    if group not in NESTED.values():
        return {group: datasets}
    layers: dict[str, dict] = {}
    for name, dataset in datasets.items():
        layers.setdefault(name.split("/")[0], {})[name] = dataset
    return layers


def _layer(file, name, path, longest) -> dict:
    """Returns the datasets of a group by name, in order, without reading them."""
    group = own(file, name, path)
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{path}: {shorten(name)} is not a group of weights.")
    datasets = {}
    for weight in _read_names(group, "weight_names", path, longest):
        datasets[weight] = numbers(group, weight, path)
    return datasets


def numbers(group: h5py.Group, name: str, path: str | os.PathLike) -> h5py.Dataset:
    """Returns a dataset that holds numbers, stored in this file.

    Args:
        group: h5py.Group. Where to look for it.
        name: str. Its path below the group.
        path: str or path. The file, named in errors.

    Raises:
        ValueError: no such item, a link, not numbers, or stored in another file.
    """
    dataset = own(group, name, path)
    place = shorten(f"{group.name}/{name}")
    is_array = isinstance(dataset, h5py.Dataset) and dataset.shape is not None
    if not is_array or dataset.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {place} is not an array of numbers.")
    # A chunk is read as a whole, whatever part of it belongs to the array.
    chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
    if chunk > os.path.getsize(path) + MAX_UNSTORED_BYTES:
        raise ValueError(f"{path}: {place} claims chunks of {chunk:,} bytes. Do not use this file.")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{path}: {place} has its data in another file, which is refused.")
    return dataset


def own(group: h5py.Group, name: str, path: str | os.PathLike) -> Any:
    """Returns an item of the file itself: every step of its path must be a hard link.

    Args:
        group: h5py.Group. Where to look for it.
        name: str. Its path below the group.
        path: str or path. The file, named in errors.

    Raises:
        ValueError: no such item, or a link.
    """
    item = group
    place = shorten(f"{group.name}/{name}")
    for step in name.split("/"):
        is_name = isinstance(item, h5py.Group) and step not in ("", ".", "..")
        link = item.get(step, getlink=True) if is_name else None
        if link is None:
            raise ValueError(f"{path}: {place} is listed in the file but missing.")
        if not isinstance(link, h5py.HardLink):
            raise ValueError(f"{path}: {place} is a link, which is refused.")
        item = item[step]
    return item


def finite(path: str | os.PathLike, name: str, value: np.ndarray) -> np.ndarray:
    """Returns an array unchanged if all its values are finite.

    Args:
        path: str or path. The file, named in errors.
        name: str. The layer, named in errors.
        value: array.

    Raises:
        ValueError: NaN or infinity.
    """
    # The sum comes first. It needs no memory, and it is not finite if one of the values is not.
    with np.errstate(all="ignore"):
        total = np.sum(value, dtype=np.float64)
        if value.dtype.itemsize > 4:  # weights are float32, so that large numbers become infinite
            total = total + np.float32(np.max(np.abs(value), initial=0))
        if not np.isfinite(total) and not np.isfinite(value.astype(np.float32)).all():
            raise ValueError(f"{path}: layer {name} has NaN or infinite weights. Use another file.")
    return value
