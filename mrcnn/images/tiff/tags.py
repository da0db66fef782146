"""The tags of a TIFF file: where its pixels are, and what they mean.

The names of the tags and their numbers are those of the TIFF 6.0 specification.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mrcnn.images.headers import MAX_BYTES, FileBytes, ImageError, check_size, damaged

MAX_PAGES = 100  # a file may hold smaller copies of its image; more are not looked for
MAX_SEGMENTS = 2**17  # strips and tiles of one image: one row each still makes 131,072 rows
MAX_VALUES = 3 * 2**16 + 1  # of a tag; the palette of 16 bits is the longest list that is needed
ADVICE = "Save it as TIFF with 8 or 16 bits per sample in gray or RGB, or as PNG."

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS, STRIP_COUNTS = 266, 273, 274, 277, 278, 279
PLANAR, PREDICTOR, COLORS, TILE_WIDTH, TILE_HEIGHT = 284, 317, 320, 322, 323
TILE_OFFSETS, TILE_COUNTS, FORMAT, DEPTH = 324, 325, 339, 32997
_NEEDED = {
    *(SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS),
    *(ORIENTATION, SAMPLES, ROWS, STRIP_COUNTS, PLANAR, PREDICTOR, COLORS, TILE_WIDTH),
    *(TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, FORMAT, DEPTH),
}
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of tag values
NONE, LZW, PACKBITS, LZMA, ZSTD = 1, 5, 32773, 34925, 50000  # values of COMPRESSION
DEFLATE = (8, 32946)
LIBTIFF = (LZW, PACKBITS, ZSTD)  # decompressed by the library in Pillow
FAX = (2, 3, 4)  # images of one bit, which are left to Pillow as a whole
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK = 0, 1, 2, 3, 4  # values of PHOTOMETRIC
_REDUCED_OR_MASK = 1 | 4  # bits of SUBFILE


class Page(NamedTuple):
    """The image of a TIFF file, as its tags describe it.

    Attributes:
        number: int. Of the page in the file.
        height: int. In pixels, as stored.
        width: int. In pixels, as stored.
        samples: int. Samples per pixel.
        bits: int. Bits per sample.
        dtype: np.dtype. Holds a sample, in the byte order of the file.
        photometric: int. What the values mean; see the specification.
        compression: int.
        predictor: int. 1 none, 2 differences, 3 differences of the bytes of floats.
        planes: int. 1, or the number of samples if each has strips or tiles of its own.
        segment: tuple of int. Height and width of a strip or tile.
        tiled: bool. Whether the segments are tiles.
        offsets: uint64 array. Where each segment starts in the file.
        counts: uint64 array. Bytes of each segment.
        reversed_bits: bool. Whether the bits of each byte are stored in reverse.
        colors: array [3, 2**bits] or None. The palette.
        orientation: int. How the image is to be turned, 1 to 8 as in EXIF data.
    """

    number: int
    height: int
    width: int
    samples: int
    bits: int
    dtype: np.dtype
    photometric: int
    compression: int
    predictor: int
    planes: int
    segment: tuple[int, int]
    tiled: bool
    offsets: np.ndarray
    counts: np.ndarray
    reversed_bits: bool
    colors: np.ndarray | None
    orientation: int

    @property
    def in_segment(self) -> int:
        """Samples per pixel in one strip or tile."""
        return self.samples // self.planes

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of a strip or tile, decompressed."""
        return -(-self.segment[1] * self.in_segment * self.bits // 8)

    @property
    def grid(self) -> tuple[int, int]:
        """How many strips or tiles of one plane lie below and beside each other."""
        height, width = self.segment
        return math.ceil(self.height / height), math.ceil(self.width / width)

    @property
    def segment_count(self) -> int:
        """Strips or tiles in all planes."""
        return self.planes * math.prod(self.grid)

    def rows(self, index: int) -> tuple[int, int]:
        """Returns the first row of a strip or tile and how many it has; the last strip has fewer.

        Args:
            index: int. Number of the strip or tile.
        """
        down, across = self.grid
        height = self.segment[0]
        top = index // across % down * height
        return top, height if self.tiled else min(height, self.height - top)

    def segment_bytes(self, index: int) -> int:
        """Returns the bytes of a strip or tile, decompressed.

        Args:
            index: int. Number of the strip or tile.
        """
        return self.rows(index)[1] * self.row_bytes

    @property
    def lossy(self) -> bool:
        """Whether the compression may change pixel values."""
        return self.compression not in (NONE, *DEFLATE, LZMA, *LIBTIFF, *FAX)

    @property
    def by_pillow(self) -> bool:
        """Whether the compression or the meaning of the values is left to Pillow."""
        known = self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK)
        return self.lossy or self.compression in FAX or not known


def read_page(data: bytes | FileBytes) -> Page:
    """Reads the tags of the one image in a TIFF file, and checks that its data are in the file.

    Smaller copies of the image and masks, which are marked as such, are passed over.

    Args:
        data: bytes or FileBytes. The whole file. Of `FileBytes`, only the tags are read.

    Returns:
        A `Page`.

    Raises:
        ImageError: if the file holds no image or several, is truncated or too large, or is of a
            kind that is not read.
    """
    found = None
    for number, tags in enumerate(_directories(data)):
        if _first(tags, SUBFILE, 0) & _REDUCED_OR_MASK:
            continue
        if found is not None:
            raise ImageError(
                "the TIFF file holds several images (a stack, a time series or channels), but one "
                "is expected. Save one image per file, or combine them first, for example by a "
                "maximum projection."
            )
        found = number, tags
    if found is None:
        raise damaged("the TIFF file holds no image")
    page = _page(*found, byte_order=_byte_order(data))
    _check_segments(page, len(data))
    return page


def orientation(exif: bytes) -> int:
    """Returns how an image is to be turned, 1 to 8, from its EXIF data; 1 if they do not say.

    Args:
        exif: bytes. The EXIF data, which have the form of a TIFF file.
    """
    if exif[:2] not in (b"II", b"MM"):
        return 1
    try:
        return _orientation(next(_directories(exif), {}))
    except (ImageError, struct.error):
        return 1  # damaged EXIF data are no reason to refuse the image


def _orientation(tags):
    value = _first(tags, ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def _byte_order(data):
    return "<" if data[:2] == b"II" else ">"


def _directories(data: bytes | FileBytes) -> Iterator[dict[int, np.ndarray]]:
    """Yields the tags of each page: integer arrays by tag number."""
    order = _byte_order(data)
    if data[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        (offset,) = _unpack(f"{order}Q", data, 8)
        count_format, entry_format, next_format = "Q", "HHQ", "Q"
    else:
        (offset,) = _unpack(f"{order}I", data, 4)
        count_format, entry_format, next_format = "H", "HHI", "I"
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        try:
            (entries,) = _unpack(order + count_format, data, offset)
            start = offset + struct.calcsize(order + count_format)
            size = struct.calcsize(order + entry_format + next_format)
            end = start + entries * size
            (offset,) = _unpack(order + next_format, data, end)
        except struct.error as error:
            raise damaged("its TIFF tags lie behind the end of the file") from error
        tags = {}
        for position in range(start, end, size):
            code, kind, count = _unpack(order + entry_format, data, position)
            if code in _NEEDED and code not in tags and kind in _INTEGERS:
                at = position + struct.calcsize(order + entry_format)
                tags[code] = _values(data, at, kind, count, order, next_format)
        yield tags


def _unpack(form, data, at):
    return struct.unpack(form, data[at : at + struct.calcsize(form)])


def _values(data, at, kind, count, order, offset_format):
    """Reads the values of a tag, which lie in its entry if they fit, else at an offset."""
    dtype = np.dtype(order + _INTEGERS[kind])
    if count * dtype.itemsize > struct.calcsize(order + offset_format):
        (at,) = _unpack(order + offset_format, data, at)
    if at + count * dtype.itemsize > len(data):
        raise damaged("its TIFF tags lie behind the end of the file")
    return np.frombuffer(data[at : at + min(count, MAX_VALUES) * dtype.itemsize], dtype)


def _first(tags, code, default):
    values = tags.get(code, ())
    return int(values[0]) if len(values) else default


def _page(number, tags, byte_order):
    """Makes a `Page` of tags; refuses what is not read."""
    height, width = _first(tags, HEIGHT, 0), _first(tags, WIDTH, 0)
    samples, bits = _first(tags, SAMPLES, 1), _first(tags, BITS, 1)
    for code, what in ((BITS, "bits per sample"), (FORMAT, "sample formats")):
        if len(set(tags.get(code, ())[:samples])) > 1:
            raise ImageError(f"a TIFF file of different {what} is not read. {ADVICE}")
    if samples < 1 or _first(tags, DEPTH, 1) != 1:
        raise ImageError(f"a TIFF file of volumes, not images, is not read. {ADVICE}")
    dtype = _sample_dtype(_first(tags, FORMAT, 1), bits, byte_order)
    check_size(height, width, dtype.itemsize, samples)
    tiled = TILE_WIDTH in tags
    segment = (min(_first(tags, ROWS, height), height), width)
    if tiled:
        segment = (_first(tags, TILE_HEIGHT, 0), _first(tags, TILE_WIDTH, 0))
    if min(segment) < 1:
        raise damaged("its strips or tiles have no pixels")
    planes = samples if _first(tags, PLANAR, 1) == 2 else 1
    photometric = _first(tags, PHOTOMETRIC, RGB if samples > 2 else BLACK_IS_ZERO)
    return Page(
        number=number,
        height=height,
        width=width,
        samples=samples,
        bits=bits,
        dtype=dtype,
        photometric=photometric,
        compression=_first(tags, COMPRESSION, NONE),
        predictor=_first(tags, PREDICTOR, 1),
        planes=planes,
        segment=segment,
        tiled=tiled,
        offsets=tags.get(TILE_OFFSETS if tiled else STRIP_OFFSETS, np.zeros(0, np.uint64)),
        counts=tags.get(TILE_COUNTS if tiled else STRIP_COUNTS, np.zeros(0, np.uint64)),
        reversed_bits=_first(tags, FILL_ORDER, 1) == 2,
        colors=_palette(tags, bits) if photometric == PALETTE else None,
        orientation=_orientation(tags),
    )


def _sample_dtype(sample_format, bits, byte_order):
    """Returns the dtype of a sample; unsigned numbers may have any bits up to 32."""
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(sample_format, "")
    whole = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}.get(kind, ())
    if bits in whole:
        return np.dtype(f"{byte_order}{kind}{bits // 8}")
    if kind == "u" and 1 <= bits <= 32:
        return np.dtype(np.uint8 if bits < 8 else np.uint16 if bits < 16 else np.uint32)
    raise ImageError(
        f"a TIFF file with samples of {bits} bits in format {sample_format} is not read. {ADVICE}"
    )


def _palette(tags, bits):
    colors = tags.get(COLORS, np.zeros(0))
    if bits > 16 or len(colors) != 3 * 2**bits:
        raise damaged(f"its palette has {len(colors)} values instead of 3 x 2^{bits}")
    # Some programs write 8-bit values instead of 16-bit ones; libtiff takes these so as well.
    return (colors if colors.max() < 256 else colors >> 8).astype(np.uint8).reshape(3, -1)


def _check_segments(page, file_size):
    """Checks that all strips or tiles lie in the file, and that there are not too many."""
    count = page.segment_count
    if count > MAX_SEGMENTS or count * page.segment[0] * page.row_bytes > 4 * MAX_BYTES:
        raise ImageError(
            f"its TIFF tags claim {count} strips or tiles of {page.segment[0]}x{page.segment[1]} "
            "pixels, more than are read. Save it with larger strips, or cut the image into tiles."
        )
    if len(page.offsets) < count or len(page.counts) < count:
        # A single uncompressed strip does not need its size.
        if not (count == 1 == len(page.offsets) and page.compression == NONE):
            raise damaged(f"the places of {count} strips or tiles are missing")
    stored = page.counts[:count].astype(np.float64)
    sizes = stored
    if page.compression == NONE:
        sizes = np.array([page.segment_bytes(index) for index in range(count)], np.float64)
        if ((0 < stored) & (stored < sizes[: len(stored)])).any():
            raise damaged("its strips or tiles hold fewer pixels than the image")
    offsets = page.offsets[:count].astype(np.float64)
    if (offsets < 8).any() or (sizes < 1).any() or (offsets + sizes > file_size).any():
        raise damaged("its pixels lie behind the end of the file")
