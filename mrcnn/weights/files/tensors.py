"""Reads PyTorch's weight files without PyTorch: .pth, .pt and .safetensors.

Both formats of torch.save are read: the zip file, and the one it wrote before 2020. Arrays are
views of the memory-mapped file. Nothing is copied, and no memory is allocated for a size that a
file only claims. The pickles inside are read by `pickles.py`, the zip file by `zips.py`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import atomic_path
from mrcnn.weights.files import pickles, zips
from mrcnn.weights.files.mapping import MappedFile, NumberType, existing_file
from mrcnn.weights.files.pickles import Refused, are_sizes

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before 2020
_PROTOCOL = 1001  # the second one
# Limit for names and shapes of a zip file; the numbers are elsewhere. A checkpoint of 1,000 tensors
# has 200 KB.
MAX_PICKLE_BYTES = 64 * 2**20
# The header of 1,000 tensors has 100 KB. JSON takes up to 30 times its size while it is read.
MAX_HEADER_BYTES = 4 * 2**20
_MAX_DIGITS = 19  # of a number in that header
_BFLOAT16 = NumberType("<u2", is_bfloat16=True)
_STORAGES = {
    "FloatStorage": NumberType("<f4"),
    "DoubleStorage": NumberType("<f8"),
    "HalfStorage": NumberType("<f2"),
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": NumberType("<i8"),
    "IntStorage": NumberType("<i4"),
    "ShortStorage": NumberType("<i2"),
    "CharStorage": NumberType("i1"),
    "ByteStorage": NumberType("u1"),
    "BoolStorage": NumberType("?"),
}
_SAFE = {
    "F64": NumberType("<f8"),
    "F32": NumberType("<f4"),
    "F16": NumberType("<f2"),
    "BF16": _BFLOAT16,
    "I64": NumberType("<i8"),
    "I32": NumberType("<i4"),
    "I16": NumberType("<i2"),
    "I8": NumberType("i1"),
    "U8": NumberType("u1"),
    "BOOL": NumberType("?"),
}
_SAFE_NAMES = {"<f4": "F32", "<i8": "I64"}  # what `write_safetensors` writes


@dataclass(frozen=True)
class _Storage:
    """Consecutive numbers in the file."""

    kind: NumberType
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # counted in numbers, not bytes


def read_torch(path: str | os.PathLike) -> Any:
    """Reads a file of torch.save: dicts, lists, text and numbers, with arrays instead of tensors.

    Args:
        path: str or path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, compressed, or with anything but weights. The message names the file.
    """
    path = existing_file(path)
    with reading(path, "a PyTorch checkpoint"):
        file = MappedFile(path)
        read = _read_zip if zips.starts_zip(file) else _read_old
        content, where = read(file, path)
        return pickles.mapped(content, lambda item: _view(item, where, file))


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a .safetensors file by name.

    Args:
        path: str or path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or with bytes that belong to no array. The message names the file.
    """
    path = existing_file(path)
    with reading(path, "a safetensors file"):
        file = MappedFile(path)
        length = int.from_bytes(file.read(0, 8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, len(file) - 8):
            raise ValueError(
                f"its header has {length} bytes, the file {len(file)} (the limit is "
                f"{MAX_HEADER_BYTES})"
            )
        entries = _header(file.read(8, length))
        _check_cover(entries, len(file) - 8 - length)
        return {
            name: file.numbers(8 + length + start, math.prod(shape), kind).reshape(shape)
            for name, (kind, shape, start, _) in entries.items()
        }


def write_safetensors(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name as a .safetensors file, atomically.

    Args:
        path: str or path. The file. A missing folder is created.
        arrays: mapping of str to array, float32 or int64 with any strides. They are copied one at a
            time.

    Raises:
        OSError: the file cannot be written. A previous file is unchanged.
    """
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        dtype = _SAFE_NAMES[array.dtype.newbyteorder("<").str]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # aligns the numbers
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


# --- safetensors ---------------------------------------------------------------------------------
def _header(text: bytes) -> dict[str, tuple[NumberType, tuple[int, ...], int, int]]:
    """Returns type, shape, start and stop of each array by name."""
    header = json.loads(
        text.decode("utf-8"), object_pairs_hook=_without_repeats, parse_int=_parse_int
    )
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    entries = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
            raise ValueError(f"its header has no dtype, shape and offsets for {shorten(name)}")
        kind, shape, offsets = (entry[key] for key in ("dtype", "shape", "data_offsets"))
        if not (isinstance(shape, list) and isinstance(offsets, list) and isinstance(kind, str)):
            raise ValueError(f"its header is damaged at {shorten(name)}")
        if kind not in _SAFE or not are_sizes(shape) or not are_sizes(offsets):
            raise ValueError(
                f"{shorten(name)} has dtype {shorten(kind)}, shape {shorten(shape)}, offsets "
                f"{shorten(offsets)}"
            )
        start, stop = offsets
        if stop - start != math.prod(shape) * _SAFE[kind].itemsize:
            raise ValueError(f"{shorten(name)} has shape {shape}, but {stop - start} bytes")
        entries[name] = _SAFE[kind], tuple(shape), start, stop
    return entries


def _check_cover(entries, size) -> None:
    """Raises an error unless the arrays cover their part of the file without hole or overlap."""
    reached = 0
    for start, stop, name in sorted(
        (start, stop, name) for name, (*_, start, stop) in entries.items()
    ):
        if start != reached:
            raise ValueError(
                f"{shorten(name)} starts at byte {start} of the numbers, expected {reached}: bytes "
                "are missing, left over or used twice"
            )
        reached = stop
    if reached != size:
        raise ValueError(f"its arrays end at byte {reached} of the numbers, the file at {size}")


def _without_repeats(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _parse_int(digits):
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"its header has a number of {len(digits)} digits")
    return int(digits)


# --- The two formats of torch.save ---------------------------------------------------------------
def _read_zip(file, path):
    """Returns the content of a zip checkpoint, and start and size in bytes of every storage."""
    members = zips.members(file)
    names = [name for name in members if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError(f"it has {len(names)} members data.pkl, expected one")
    folder = names[0].removesuffix("data.pkl")
    start, size = members[names[0]]
    if size > MAX_PICKLE_BYTES:
        raise ValueError(f"its data.pkl has {size} bytes, the limit is {MAX_PICKLE_BYTES}")
    order = members.get(f"{folder}byteorder")  # not there before PyTorch 2.1
    if order is not None and file.read(order[0], min(order[1], 10)) != b"little":
        raise ValueError("it was written on a machine with another byte order")
    data = folder + "data/"
    where = {
        name.removeprefix(data): span for name, span in members.items() if name.startswith(data)
    }
    names, storage = _torch_names({})
    return pickles.load(file.read(start, size), path, names, storage), where


def _read_old(file, path):
    """Does the same for a file from before 2020: several pickles, and then the storages."""
    magic, position = pickles.load_part(file.memory, path)
    if magic != _MAGIC:
        raise ValueError("it does not start with the magic number of torch.save")
    protocol, position = pickles.load_part(file.memory, path, position)
    machine, position = pickles.load_part(file.memory, path, position)
    if protocol != _PROTOCOL or not isinstance(machine, dict) or not machine.get("little_endian"):
        raise ValueError("it was written on a machine with another byte order")
    storages: dict[str, _Storage] = {}
    names, storage = _torch_names(storages)
    content, position = pickles.load_part(
        file.memory, path, position, names=names, storages=storage
    )
    keys, position = pickles.load_part(file.memory, path, position)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is missing")
    if sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    where = {}
    for key in keys:
        count = int.from_bytes(file.read(position, 8), "little")
        position += 8
        if count != storages[key].count:
            raise ValueError(f"storage {shorten(key)} has {count} numbers")
        where[key] = (position, count * storages[key].kind.itemsize)
        position += where[key][1]
    if position != len(file):
        raise ValueError(f"its storages end at byte {position}, the file at {len(file)}")
    return content, where


def _torch_names(storages):
    """Returns the names of torch that a pickle may use, and the function of its persistent ids.

    Args:
        storages: dict. The storages that the pickle names are added to it by key.
    """

    def storage(identifier):
        if not isinstance(identifier, tuple) or not 5 <= len(identifier) <= 6:
            raise Refused(f"data outside of the pickle: {shorten(identifier)}")
        what, kind, key, _, count, *view = identifier
        if what != "storage" or not isinstance(kind, NumberType) or not isinstance(key, str):
            raise Refused(f"data outside of the pickle: {shorten(identifier)}")
        if not are_sizes((count,)) or view not in ([], [None]):
            raise Refused(f"a storage {shorten(identifier)}")
        found = _Storage(kind, key, count)
        if storages.setdefault(key, found) != found:
            raise Refused(f"the storage {shorten(key)} in two types or sizes")
        return found

    names: dict[tuple[str, str], Any] = {("torch", name): kind for name, kind in _STORAGES.items()}
    names |= {
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        ("torch", "Size"): _size,
    }
    return names, storage


def _size(sides=()):
    """Replaces `torch.Size`. A tuple is not copied, however often it is passed."""
    if not isinstance(sides, (list, tuple)) or not are_sizes(sides):
        raise Refused(f"the size {shorten(sides)}")
    return tuple(sides)


def _rebuild(storage, offset, shape, strides, *_):
    if not isinstance(storage, _Storage) or not are_sizes((offset,)):
        raise Refused("a tensor without a valid shape and storage")
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise Refused("a tensor without a valid shape and storage")
    if not are_sizes(shape) or not are_sizes(strides) or len(shape) != len(strides):
        raise Refused("a tensor without a valid shape and storage")
    # Tensors that repeat numbers, by a stride of 0, can claim any size.
    if math.prod(shape) > storage.count:
        raise Refused(f"a tensor of shape {shape}, which exceeds its storage of {storage.count}")
    return _Tensor(storage, offset, shape, strides)


# --- The numbers ---------------------------------------------------------------------------------
def _view(value, where, file):
    """Returns a tensor as a view of the mapped file, and anything else unchanged."""
    if isinstance(value, _Storage | NumberType):
        raise ValueError("a storage without a tensor")
    if not isinstance(value, _Tensor):
        return value
    storage = value.storage
    start, size = where.get(storage.key, (0, -1))
    if size != storage.count * storage.kind.itemsize:
        raise ValueError(
            f"storage {shorten(storage.key)} of {storage.count} numbers has {size} bytes"
        )
    steps = [(n - 1) * step for n, step in zip(value.shape, value.strides, strict=True)]
    if 0 not in value.shape and value.offset + sum(steps) >= storage.count:
        raise ValueError(f"a tensor of shape {value.shape} exceeds its storage")
    numbers = file.numbers(start, storage.count, storage.kind)
    if 0 in value.shape:
        return np.zeros(value.shape, numbers.dtype)
    strides = [step * numbers.itemsize for step in value.strides]
    return np.lib.stride_tricks.as_strided(
        numbers[value.offset :], value.shape, strides, writeable=False
    )
