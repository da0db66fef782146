"""The run-length code of Label Studio's brush, packed into bits.

The code holds the bytes of an RGBA image, row by row; the mask is where alpha is not zero. It
begins with the number of bytes (32 bits), the bits of a word minus one (5), and four possible bits
of a length minus one (4 each). Then runs follow: one bit, 1 for a repeated word and 0 for different
words; the number of one of the four lengths (2 bits); the length minus one; the word or words.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

LENGTH_BITS = (3, 4, 8, 16)  # what Label Studio itself writes
# Larger images are refused: a run of 65,536 bytes takes 27 bits of the code, so that a small file
# could use up the memory. Four bytes per pixel are decoded: at most 256 MB.
MAX_BRUSH_PIXELS = 2**26


def encode_brush(mask: np.ndarray) -> list[int]:
    """Encodes a mask.

    Args:
        mask: bool [height, width].

    Returns:
        list of int, the bytes of the code.
    """
    flat = np.asarray(mask, bool).ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    starts = np.concatenate([[0], edges])
    lengths = 4 * np.diff(starts, append=flat.size)
    values = flat[starts] * 255
    # A length has at most 16 bits: cut longer runs.
    longest = 2 ** LENGTH_BITS[-1]
    pieces = np.maximum(-(-lengths // longest), 1)
    values = np.repeat(values, pieces)
    last = np.cumsum(pieces) - 1
    cut = np.full(len(values), longest)
    cut[last] = lengths - (pieces - 1) * longest
    chosen = np.searchsorted(2 ** np.array(LENGTH_BITS), cut)
    bits = np.array(LENGTH_BITS)[chosen]
    # one row per run: 1, number of the length, length - 1, word; with 3 + bits + 8 bits
    codes = (1 << (bits + 10)) | (chosen << (bits + 8)) | ((cut - 1) << 8) | values
    sizes = bits + 11
    shifts = sizes[:, None] - 1 - np.arange(LENGTH_BITS[-1] + 11)
    rows = (codes[:, None] >> np.maximum(shifts, 0)) & 1
    header = f"{4 * flat.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in LENGTH_BITS)
    stream = np.concatenate([np.array(list(header), np.uint8), rows[shifts >= 0].astype(np.uint8)])
    return np.packbits(stream).tolist()


def decode_brush(code: Any, height: int, width: int) -> np.ndarray:
    """Decodes a mask.

    Args:
        code: list of int, the bytes of the code.
        height, width: ints, the size of the image.

    Returns:
        bool [height, width].

    Raises:
        ValueError: if the code is damaged, of another size, or too large.
    """
    if height * width > MAX_BRUSH_PIXELS:
        raise ValueError(f"a brush mask of {height}x{width}: at most {MAX_BRUSH_PIXELS} pixels")
    if not isinstance(code, list) or not all(isinstance(byte, int) for byte in code):
        raise ValueError("its rle must be a list of bytes")
    stream = _Bits(bytes(code))
    count, word_bits = stream.take(32), stream.take(5) + 1
    length_bits = [stream.take(4) + 1 for _ in range(4)]
    if count != 4 * height * width or word_bits != 8:
        raise ValueError(
            f"its rle holds {count} words of {word_bits} bits, expected 4 * {height} * {width} of 8"
        )
    values: list[int] = []
    lengths: list[int] = []
    found = 0
    while found < count:
        repeated = stream.take(1)
        length = 1 + stream.take(length_bits[stream.take(2)])
        found += length
        if repeated:
            values.append(stream.take(8))
            lengths.append(length)
        else:
            values += stream.words(length)
            lengths += itertools.repeat(1, length)
    # the last run may end after the image
    pixels = np.repeat(np.array(values, np.uint8), lengths)[:count]
    return pixels[3::4].reshape(height, width) > 0


class _Bits:
    """Reads whole numbers of any number of bits, the highest bit first."""

    def __init__(self, data: bytes):
        self._data = data
        self._position = 0

    def take(self, count: int) -> int:
        """Returns the next number of `count` bits."""
        end = self._position + count
        if end > 8 * len(self._data):
            raise ValueError("its rle ends too early")
        number = int.from_bytes(self._data[self._position // 8 : (end + 7) // 8], "big")
        self._position = end
        return (number >> (-end % 8)) & ((1 << count) - 1)

    def words(self, count: int) -> bytes:
        """Returns the next `count` words of 8 bits."""
        return self.take(8 * count).to_bytes(count, "big")
