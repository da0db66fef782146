"""Weight files of PyTorch, read without it: .pth and .pt (zip, or of before 2020), .safetensors.

Arrays are views of the file, mapped into memory: nothing is copied, and a size that a file claims
allocates nothing. Pickles in them are read by `pickles.py`.
"""

from __future__ import annotations

import json
import mmap
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrcnn.images.atomic import atomic_path
from mrcnn.weights.files import pickles

_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of before 2020
_PICKLE_BYTES = 64 * 2**20  # names and shapes; the numbers are elsewhere
_HEADER_BYTES = 100 * 2**20  # safetensors' own limit
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
    """A run of numbers in the file."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple
    strides: tuple  # in numbers


def read_torch(path):
    """What torch.save wrote: dicts, lists, text and numbers, with arrays for tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, compressed, or holding anything but weights; names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weight file {path}.")
    if zipfile.is_zipfile(path):
        content, where = _read_zip(path)
    else:
        content, where = _read_old(path)
    return pickles.mapped(content, lambda item: _view(item, where, path))


def read_safetensors(path) -> dict[str, np.ndarray]:
    """The arrays of a .safetensors file by name; errors as `read_torch`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No weight file {path}.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER_BYTES, size - 8):
            raise _damaged(path, f"a header of {length} bytes in a file of {size}")
        try:
            header = json.loads(file.read(length))
            entries = {name: (e["dtype"], tuple(e["shape"]), e["data_offsets"])
                       for name, e in header.items() if name != "__metadata__"}  # fmt: skip
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"its header: {error!r}") from error
    found = {}
    for name, (dtype, shape, offsets) in entries.items():
        if dtype not in _SAFE or not _whole((*shape, *offsets)) or len(offsets) != 2:
            raise _damaged(path, f"{name}: dtype {dtype}, shape {shape}, offsets {offsets}")
        storage = _Storage(_SAFE[dtype], name, _product(shape))
        start, stop = offsets
        if stop - start != storage.count * _itemsize(storage.dtype):
            raise _damaged(path, f"{name}: shape {shape} in {stop - start} bytes")
        found[name] = _numbers(8 + length + start, storage, path).reshape(shape)
    return found


def write_safetensors(path, arrays: dict):
    """Writes arrays by name as a .safetensors file, whole or not at all.

    Args:
        path: of the file; its folder is made when missing.
        arrays: float32 or int64 arrays of any layout; one is copied at a time.

    Raises:
        OSError: the file cannot be written; a file of that name stays whole.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        dtype = _SAFE_NAMES[array.dtype.newbyteorder("<").str]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def release(array):
    """Gives back the memory that a mapped array's numbers took; they are read again when needed."""
    while hasattr(array, "base"):  # views of views, and last what they are views of
        array = array.base
    if isinstance(array, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.madvise(mmap.MADV_DONTNEED)


# --- Where the numbers are -----------------------------------------------------------------------
def _read_zip(path):
    """The content of a zip checkpoint, and the place of every storage: key -> (start, bytes)."""
    try:
        with zipfile.ZipFile(path) as file, open(path, "rb") as raw:
            infos = {info.filename: info for info in file.infolist()}
            names = [name for name in infos if name.endswith("/data.pkl")]
            if not names or infos[names[0]].file_size > _PICKLE_BYTES:
                raise _damaged(path, "no data.pkl in it, or one of unlikely size")
            prefix, where = names[0].removesuffix("data.pkl") + "data/", {}
            for member, info in infos.items():
                if member.startswith(prefix):
                    if info.compress_type != zipfile.ZIP_STORED:
                        raise _damaged(path, f"{member} is compressed, which torch.save never does")
                    raw.seek(info.header_offset + 26)  # of the lengths of its name and extra field
                    lengths = np.frombuffer(raw.read(4), "<u2")
                    start = info.header_offset + 30 + int(lengths.sum())
                    where[member.removeprefix(prefix)] = (start, info.file_size)
            return _load(file.read(names[0]), path), where
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error


def _read_old(path):
    """The same of a file of before 2020: pickles one after another, then the storages."""
    with open(path, "rb") as file:
        if _load(file, path) != _MAGIC:
            raise _damaged(path, "it begins with another pickle")
        _load(file, path), _load(file, path)  # version, and what the machine was like
        storages = {}
        content = _load(file, path, storages)
        keys, where = _load(file, path), {}
        if not isinstance(keys, list):
            raise _damaged(path, "no list of storages")
        for key in keys:
            count = int.from_bytes(file.read(8), "little")
            if key not in storages or count != storages[key].count:
                raise _damaged(path, f"storage {key!r} of {count} numbers")
            size = count * _itemsize(storages[key].dtype)
            where[key] = (file.tell(), size)
            file.seek(size, 1)
        return content, where


def _load(data, path, storages=None):
    """A pickle with tensors; `storages` takes the storages that it names."""

    def storage(identifier):
        if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
            raise pickles.Refused(f"data outside of the pickle, {identifier!r}")
        _, dtype, key, _, count = identifier[:5]
        if not isinstance(dtype, str) or not _whole((count,)):
            raise pickles.Refused(f"a storage {identifier!r}")
        found = _Storage(dtype, str(key), count)
        if storages is not None:
            storages[found.key] = found
        return found

    names = {("torch", name): dtype for name, dtype in _STORAGES.items()}
    names |= {
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        ("torch", "Size"): tuple,
    }
    return pickles.load(data, path, names, storage)


def _rebuild(storage, offset, shape, strides, *_):
    sizes = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or not _whole(sizes) or len(shape) != len(strides):
        raise pickles.Refused("a tensor whose shape or storage is none")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


# --- The numbers ---------------------------------------------------------------------------------
def _view(value, where, path):
    """A tensor as a view of the mapped file; anything else as it is."""
    if isinstance(value, _Storage):
        raise _damaged(path, "a storage that is no tensor's")
    if not isinstance(value, _Tensor):
        return value
    storage, itemsize = value.storage, _itemsize(value.storage.dtype)
    start, size = where.get(storage.key, (0, -1))
    if size != storage.count * itemsize:
        raise _damaged(path, f"storage {storage.key!r} of {storage.count} numbers in {size} bytes")
    steps = [(n - 1) * step for n, step in zip(value.shape, value.strides, strict=True)]
    last = value.offset + sum(steps)
    if 0 not in value.shape and last >= storage.count:
        raise _damaged(path, f"a tensor of shape {value.shape} beyond its storage")
    numbers = _numbers(start, storage, path)
    if 0 in value.shape:
        return np.zeros(value.shape, numbers.dtype)
    strides = [step * numbers.itemsize for step in value.strides]
    return np.lib.stride_tricks.as_strided(
        numbers[value.offset :], value.shape, strides, writeable=False
    )


def _numbers(start, storage, path):
    """The numbers of a storage, 1-D; bfloat16 as float32.

    Each storage is mapped by itself, so that what is not used any more takes no memory.
    """
    count, bfloat = storage.count, storage.dtype == "bfloat16"
    stop = start + count * _itemsize(storage.dtype)
    if not 0 <= start <= stop <= path.stat().st_size:
        raise _damaged(path, f"{storage.key!r} lies behind its end")
    dtype = np.dtype("<u2" if bfloat else storage.dtype)
    if not count:
        return np.zeros(0, "<f4" if bfloat else dtype)
    raw = np.memmap(path, dtype, "r", start, (count,)).view(np.ndarray)
    return (raw.astype("<u4") << 16).view("<f4") if bfloat else raw  # the upper half of a float32


def _itemsize(dtype):
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _product(shape):
    count = 1
    for side in shape:
        count *= side
    return count


def _whole(numbers):
    return all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers)


def _damaged(path, what):
    return ValueError(f"{path} is damaged or no weight file: {what}. Copy or download it again.")
