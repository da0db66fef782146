"""The strips and tiles of a TIFF file, decompressed one by one to the size that its tags imply."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.images import pillow
from mrcnn.images.headers import ImageError, damaged
from mrcnn.images.tiff import tags
from mrcnn.images.tiff.tags import Page

# One call of Pillow decompresses this much, which is below the size that Pillow warns of.
MAX_GROUP_BYTES = 80 * 2**20
GROUP_BYTES = 2**23
_LZMA_MEMORY = 2**27  # twice what the strongest preset of xz needs
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)).reshape(256, 8)[:, ::-1])


def read_segments(data: bytes, page: Page) -> Iterator[Any]:
    """Yields the bytes of each strip or tile in turn, decompressed.

    Args:
        data: bytes. The whole file.
        page: Page. Of the file.

    Raises:
        ImageError: if a strip or tile ends too early.
        Exception: whatever a decoder raises for damaged data.
    """
    view = memoryview(data)
    group: list[bytes] = []
    # A strip that is shorter than the others must be the last of its group.
    run = page.segment_count if page.tiled else page.grid[0]
    for index in range(page.segment_count):
        size = page.segment_bytes(index)
        stored = size if page.compression == tags.NONE else int(page.counts[index])
        start = int(page.offsets[index])
        raw: Any = view[start : start + stored]
        if page.reversed_bits:
            raw = _REVERSED[np.frombuffer(raw, np.uint8)].tobytes()
        if page.compression in tags.LIBTIFF:
            group.append(raw)
            is_last = (index + 1) % run == 0
            if is_last or (len(group) + 1) * page.segment[0] * page.row_bytes > GROUP_BYTES:
                yield from _decompress_group(group, index, page)
                group = []
            continue
        pixels = _decompress(raw, size, page.compression)
        if len(pixels) < size:
            raise damaged("a strip or tile of the TIFF file ends too early")
        yield pixels


def _decompress(raw, size, compression):
    """Decompresses one strip or tile to at most `size` bytes."""
    if compression in tags.DEFLATE:
        decoder = zlib.decompressobj()
        pixels = decoder.decompress(raw, size)
        decoder.decompress(decoder.unconsumed_tail, 1)  # reads the checksum behind them
        return pixels
    if compression == tags.LZMA:
        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(raw, size)
    return raw


def _decompress_group(group, last, page):
    """Decompresses strips or tiles with the library in Pillow, as one gray image of their bytes.

    It takes a while to start, so it is given several at once.
    """
    first = last + 1 - len(group)
    sizes = [page.segment_bytes(index) for index in range(first, last + 1)]
    total = sum(sizes)
    if total > MAX_GROUP_BYTES:
        raise ImageError(
            f"a strip of {total / 2**20:.0f} MiB is more than is read at once. Save it with "
            "smaller strips or without compression."
        )
    file = _wrap(
        group,
        compression=page.compression,
        row_bytes=page.row_bytes,
        strip_rows=page.segment[0],
        rows=total // page.row_bytes,
    )
    pixels = np.asarray(pillow.open_image(io.BytesIO(file), "tiff")).reshape(-1)
    start = 0
    for size in sizes:
        yield pixels[start : start + size]
        start += size


def _wrap(strips, *, compression, row_bytes, strip_rows, rows):
    """Makes a TIFF file of compressed strips of bytes."""
    sizes = np.array([len(strip) for strip in strips], "<u4")
    entries = {
        tags.WIDTH: row_bytes,
        tags.HEIGHT: rows,
        tags.BITS: 8,
        tags.COMPRESSION: compression,
        tags.PHOTOMETRIC: tags.BLACK_IS_ZERO,
        tags.STRIP_OFFSETS: None,
        tags.SAMPLES: 1,
        tags.ROWS: strip_rows,
        tags.STRIP_COUNTS: None,
    }
    lists_at = 8 + 2 + 12 * len(entries) + 4
    starts = (lists_at + 8 * len(strips) + np.cumsum(sizes) - sizes).astype("<u4")
    header = b"II*\0" + struct.pack("<IH", 8, len(entries))
    lists = b""
    for code, value in entries.items():
        if value is not None:
            header += struct.pack("<HHII", code, 4, 1, value)
            continue
        values = starts if code == tags.STRIP_OFFSETS else sizes
        # A single value lies in its entry, several at an offset.
        place = int(values[0]) if len(values) == 1 else lists_at + len(lists)
        header += struct.pack("<HHII", code, 4, len(values), place)
        lists += values.tobytes()
    return b"".join([header, bytes(4), lists, *strips])
