"""A weight file in memory: one memory map per file, and views of it as arrays."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NumberType:
    """A type of numbers that a weight file may hold.

    Attributes:
        dtype: str. The NumPy dtype of the numbers in the file.
        is_bfloat16: bool. Whether they are the upper halves of float32. NumPy has no such dtype, so
            they are read as unsigned integers and widened. Defaults to False.
    """

    dtype: str
    is_bfloat16: bool = False

    @property
    def itemsize(self) -> int:
        """The size of one number in bytes."""
        return np.dtype(self.dtype).itemsize


def existing_file(path: str | os.PathLike) -> Path:
    """Returns the path of a weight file.

    Args:
        path: str or path.

    Raises:
        FileNotFoundError: no such file, or a folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"No weight file {path}" + (": it is a folder." if path.is_dir() else ".")
        )
    return path


class MappedFile:
    """A memory-mapped file.

    All arrays of a file are views of one map. With one map per array, a file of 307 tensors would
    need 307 of the file handles that a process may have: macOS allows 256.

    Args:
        path: str or path. The file.

    Attributes:
        memory: mmap. The bytes of the file, read-only.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is empty.
    """

    def __init__(self, path: str | os.PathLike):
        with open(path, "rb") as file:
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        self._widened: dict[tuple[int, int], np.ndarray] = {}

    def __len__(self):
        return len(self.memory)

    def read(self, start: int, count: int) -> bytes:
        """Returns a copy of some bytes.

        Args:
            start: int. The position of the first one.
            count: int. How many.

        Raises:
            ValueError: they lie beyond the end of the file.
        """
        self._check(start, count)
        return self.memory[start : start + count]

    def numbers(self, start: int, count: int, kind: NumberType) -> np.ndarray:
        """Returns numbers as a 1-D array, a view of the file. bfloat16 is widened to float32.

        Widening needs memory, so the same numbers are widened only once, however many tensors
        share them.

        Args:
            start: int. The position of the first byte.
            count: int. How many numbers.
            kind: NumberType. Their type.

        Raises:
            ValueError: they lie beyond the end of the file.
        """
        self._check(start, count * kind.itemsize)
        raw = self.bytes[start : start + count * kind.itemsize].view(kind.dtype)
        if not kind.is_bfloat16:
            return raw
        key = (start, count)
        if key not in self._widened:
            wide = raw.astype("<u4")
            wide <<= 16
            self._widened[key] = wide.view("<f4")
            self._widened[key].flags.writeable = False
        return self._widened[key]

    def _check(self, start, count):
        if not 0 <= start <= start + count <= len(self):
            raise ValueError(
                f"{count} bytes from byte {start} on lie beyond the end of the file, which has "
                f"{len(self)} bytes"
            )


def release(array: Any) -> None:
    """Frees the memory that reading an array of a mapped file took.

    The pages of the array are read again when they are needed.

    Args:
        array: array with strides of 0 and more. If it is no view of a mapped file, nothing is
            freed.
    """
    whole = memory = array
    while hasattr(memory, "base"):  # a view of a view, and so on, down to the mapped file
        whole, memory = (memory if isinstance(memory, np.ndarray) else whole), memory.base
    if isinstance(memory, memoryview):  # what np.frombuffer makes of the map
        memory = memory.obj
    if not array.size or not isinstance(memory, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = array.ctypes.data - whole.ctypes.data
    steps = zip(array.shape, array.strides, strict=True)
    stop = start + array.itemsize + sum((side - 1) * step for side, step in steps)
    # Only whole pages: those at both ends belong to other arrays, too.
    first, last = -(-start // mmap.PAGESIZE), stop // mmap.PAGESIZE
    if last > first:
        length = (last - first) * mmap.PAGESIZE
        memory.madvise(mmap.MADV_DONTNEED, first * mmap.PAGESIZE, length)
