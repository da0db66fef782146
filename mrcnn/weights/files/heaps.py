"""Checks a part of HDF5 files that the HDF5 library reads without care.

Text of variable length lies in "global heaps" (HDF5 file format specification, section III.E). The
library walks through the objects of a heap by their sizes, and never ends if one has the size 0.
"""

from __future__ import annotations

import os
import struct

from mrcnn.weights.files.mapping import MappedFile

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01"  # the signature and the version of a heap
_HEADER = 16  # bytes of the header of a heap, and of each object in it
_OBJECT = struct.Struct("<HH4xQ")  # index, references, size


def check_heaps(path: str | os.PathLike) -> int:
    """Raises an error if the HDF5 library would hang in a global heap.

    Args:
        path: str or path. The file.

    Returns:
        The size in bytes of the longest text of variable length.

    Raises:
        ValueError: a damaged heap, or not an HDF5 file with addresses of 8 bytes.
    """
    file = MappedFile(path)
    start = file.read(0, min(16, len(file)))
    # Where the sizes of addresses and lengths stand depends on the version of the superblock.
    place = 13 if start[8:9] in (b"\x00", b"\x01") else 9
    if start[:8] != _SIGNATURE or start[place : place + 2] != b"\x08\x08":
        raise ValueError("it does not start as an HDF5 file")
    longest = count = 0
    heap = file.memory.find(_HEAP)
    while heap >= 0:
        size = int.from_bytes(file.memory[heap + 8 : heap + 16], "little")
        if heap + size <= len(file):  # otherwise the library refuses it, or these are numbers
            sizes = _object_sizes(file.memory, heap, heap + size)
            longest = max([longest, *sizes])
            # Heaps inside of each other would take quadratic time.
            count += len(sizes)
            if count * _HEADER > len(file):
                raise ValueError(f"its heaps overlap at byte {heap}")
        heap = file.memory.find(_HEAP, heap + 1)
    return longest


def _object_sizes(memory, start, stop):
    """Returns the sizes of the objects of a heap (0: free space), which must fill it."""
    sizes = []
    position = start + _HEADER
    while position + _HEADER <= stop:
        index, _, size = _OBJECT.unpack_from(memory, position)
        # The free space at the end has index 0, and its size includes the header.
        step = size if index == 0 else _HEADER + size + -size % 8
        if step < _HEADER or position + step > stop:
            raise ValueError(f"its heap at byte {start} is damaged at byte {position}")
        sizes.append(size if index else 0)
        position += step
    return sizes
