"""Reads PyTorch's weight files without PyTorch: .pth, .pt and .safetensors.

Both formats of torch.save are read: the zip file, and the one it wrote before 2020. Arrays are
views of the memory-mapped file. Nothing is copied, and no memory is allocated for a size that a
file only claims. The pickles inside are read by `pickles.py`.
"""

from __future__ import annotations

import json
import mmap
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.images.atomic import atomic_path
from mrcnn.weights.files import pickles

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file from before 2020
_PICKLE_BYTES = 64 * 2**20  # limit for names and shapes; the numbers are elsewhere
_HEADER_BYTES = 100 * 2**20  # the limit of the safetensors library
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?", "BFloat16Storage": "bfloat16",
}  # fmt: skip
_SAFE = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16", "I64": "<i8", "I32": "<i4",
    "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_SAFE_NAMES = {dtype: name for name, dtype in _SAFE.items() if dtype in ("<f4", "<i8")}


@dataclass(frozen=True)
class _Storage:
    """Consecutive numbers in the file."""

    dtype: str
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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weight file {path}.")
    if zipfile.is_zipfile(path):
        content, where = _read_zip(path)
    else:
        content, where = _read_old(path)
    return pickles.mapped(content, lambda item: _view(item, where, path))


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays of a .safetensors file by name.

    Args:
        path: str or path.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged. The message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weight file {path}.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER_BYTES, size - 8):
            raise _damaged(path, f"its header has {length} bytes, the file {size}")
        try:
            header = json.loads(file.read(length))
            entries = {
                name: (entry["dtype"], tuple(entry["shape"]), entry["data_offsets"])
                for name, entry in header.items()
                if name != "__metadata__"
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"its header is not valid: {error!r}") from error
    found = {}
    for name, (dtype, shape, offsets) in entries.items():
        if dtype not in _SAFE or not _are_sizes((*shape, *offsets)) or len(offsets) != 2:
            raise _damaged(path, f"{name} has dtype {dtype}, shape {shape}, offsets {offsets}")
        storage = _Storage(_SAFE[dtype], name, _product(shape))
        start, stop = offsets
        if stop - start != storage.count * _itemsize(storage.dtype):
            raise _damaged(path, f"{name} has shape {shape}, but {stop - start} bytes")
        found[name] = _numbers(8 + length + start, storage, path).reshape(shape)
    return found


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


def release(array: Any) -> None:
    """Frees the memory of a memory-mapped array. It is read again when it is needed.

    Args:
        array: array, a view of a memory-mapped file. Of other arrays, nothing is freed.
    """
    while hasattr(array, "base"):  # a view of a view, and so on, down to the mapped file
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


# --- The two formats of torch.save ---------------------------------------------------------------
def _read_zip(path):
    """Returns the content of a zip checkpoint, and start and size in bytes of every storage."""
    try:
        with zipfile.ZipFile(path) as file, open(path, "rb") as raw:
            infos = {info.filename: info for info in file.infolist()}
            names = [name for name in infos if name.endswith("/data.pkl")]
            if not names or infos[names[0]].file_size > _PICKLE_BYTES:
                raise _damaged(path, "its data.pkl is missing or too large")
            prefix = names[0].removesuffix("data.pkl") + "data/"
            where = {}
            for member, info in infos.items():
                if member.startswith(prefix):
                    if info.compress_type != zipfile.ZIP_STORED:
                        raise _damaged(path, f"{member} is compressed, which torch.save never does")
                    raw.seek(info.header_offset + 26)  # the lengths of its name and extra field
                    lengths = np.frombuffer(raw.read(4), "<u2")
                    start = info.header_offset + 30 + int(lengths.sum())
                    where[member.removeprefix(prefix)] = (start, info.file_size)
            return _load(file.read(names[0]), path), where
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


def _read_old(path):
    """Does the same for a file from before 2020: several pickles, and then the storages."""
    with open(path, "rb") as file:
        if _load(file, path) != _MAGIC:
            raise _damaged(path, "it does not start with the magic number of torch.save")
        _load(file, path)  # the version
        _load(file, path)  # properties of the machine
        storages: dict[str, _Storage] = {}
        content = _load(file, path, storages)
        keys, where = _load(file, path), {}
        if not isinstance(keys, list):
            raise _damaged(path, "its list of storages is missing")
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            if key not in storages or count != storages[key].count:
                raise _damaged(path, f"storage {key!r} has {count} numbers")
            size = count * _itemsize(storages[key].dtype)
            where[key] = (file.tell(), size)
            file.seek(size, 1)
        return content, where


def _load(data, path, storages=None):
    """Reads a pickle with tensors, and adds the storages that they use to `storages`."""

    def storage(identifier):
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise pickles.Refused(f"data outside of the pickle: {identifier!r}")
        _, dtype, key, _, count = identifier[:5]
        if not isinstance(dtype, str) or not _are_sizes((count,)):
            raise pickles.Refused(f"a storage {identifier!r}")
        found = _Storage(dtype, str(key), count)
        if storages is not None:
            storages[found.key] = found
        return found

    names: dict[tuple[str, str], Any] = {
        ("torch", name): dtype for name, dtype in _STORAGES.items()
    }
    names |= {
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        ("torch", "Size"): tuple,
    }
    return pickles.load(data, path, names, storage)


def _rebuild(storage, offset, shape, strides, *_):
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not _are_sizes(sizes) or len(shape) != len(strides):
        raise pickles.Refused("a tensor without a valid shape and storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


# --- The numbers ---------------------------------------------------------------------------------
def _view(value, where, path):
    """Returns a tensor as a view of the mapped file, and anything else unchanged."""
    if isinstance(value, _Storage):
        raise _damaged(path, "a storage without a tensor")
    if not isinstance(value, _Tensor):
        return value
    storage, itemsize = value.storage, _itemsize(value.storage.dtype)
    start, size = where.get(storage.key, (0, -1))
    if size != storage.count * itemsize:
        raise _damaged(path, f"storage {storage.key!r} of {storage.count} numbers has {size} bytes")
    steps = [(n - 1) * step for n, step in zip(value.shape, value.strides, strict=True)]
    last = value.offset + sum(steps)
    if 0 not in value.shape and last >= storage.count:
        raise _damaged(path, f"a tensor of shape {value.shape} exceeds its storage")
    numbers = _numbers(start, storage, path)
    if 0 in value.shape:
        return np.zeros(value.shape, numbers.dtype)
    strides = [step * numbers.itemsize for step in value.strides]
    return np.lib.stride_tricks.as_strided(
        numbers[value.offset :], value.shape, strides, writeable=False
    )


def _numbers(start, storage, path):
    """Returns the numbers of a storage as a 1-D array. bfloat16 becomes float32.

    Each storage is mapped on its own, so that one that is no longer used takes no memory.
    """
    count, bfloat = storage.count, storage.dtype == "bfloat16"
    stop = start + count * _itemsize(storage.dtype)
    if not 0 <= start <= stop <= path.stat().st_size:
        raise _damaged(path, f"{storage.key!r} is beyond the end of the file")
    dtype = np.dtype("<u2" if bfloat else storage.dtype)
    if not count:
        return np.zeros(0, "<f4" if bfloat else dtype)
    raw = np.memmap(path, dtype, "r", start, (count,)).view(np.ndarray)
    return (
        (raw.astype("<u4") << 16).view("<f4") if bfloat else raw
    )  # bfloat16 is the upper half of a float32


def _itemsize(dtype):
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _product(shape):
    count = 1
    for side in shape:
        count *= side
    return count


def _are_sizes(values):
    return all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in values)


def _damaged(path, what):
    return ValueError(f"{path} is damaged or not a weight file: {what}. Copy or download it again.")
