"""TIFF files: whatever microscopes, scanners and GIS programs write, read as stored.

OpenCV and Pillow read some kinds wrongly without a word, such as planar images of 16 bits and
images of two channels. tifffile is right, but it trusts the sizes in the file: a strip of 4 MB may
decompress to gigabytes. So the tags are read here, each strip or tile is decompressed to the size
that the tags imply and no further, and the tests compare all kinds with tifffile.

The names of the tags and their numbers are those of the TIFF 6.0 specification.
"""

from __future__ import annotations

import io
import lzma
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mrcnn.images import pillow
from mrcnn.images.headers import MAX_BYTES, MAX_BYTES_PILLOW, ImageError, check_size, damaged

MAX_PAGES = 100  # a file may hold smaller copies of its image; more are not looked for
MAX_SEGMENTS = 2**18  # strips and tiles of one image: one row each still makes 262,144 rows
# One call of Pillow decompresses this much, which is below the size that Pillow warns of.
MAX_GROUP_BYTES = 80 * 2**20
GROUP_BYTES = 2**23
_LZMA_MEMORY = 2**27  # twice what the strongest preset of xz needs

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 256, 257, 258, 259, 262
_FILL_ORDER, _STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS, _STRIP_COUNTS = (
    *(266, 273, 274, 277, 278, 279),
)
_PLANAR, _PREDICTOR, _COLORS, _TILE_WIDTH, _TILE_HEIGHT = 284, 317, 320, 322, 323
_TILE_OFFSETS, _TILE_COUNTS, _FORMAT, _DEPTH = 324, 325, 339, 32997
_INTEGERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}  # types of tag values
_NEEDED = {
    *(_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS),
    *(_ORIENTATION, _SAMPLES, _ROWS, _STRIP_COUNTS, _PLANAR, _PREDICTOR, _COLORS, _TILE_WIDTH),
    *(_TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _FORMAT, _DEPTH),
}
_NONE, _LZW, _PACKBITS, _LZMA, _ZSTD = 1, 5, 32773, 34925, 50000
_DEFLATE = (8, 32946)
_LIBTIFF = (_LZW, _PACKBITS, _ZSTD)  # decompressed by the library in Pillow
_FAX = (2, 3, 4)  # whole files of one bit are left to Pillow
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK = 0, 1, 2, 3, 4
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)).reshape(256, 8)[:, ::-1])


class Page(NamedTuple):
    """The image of a TIFF file, as its tags describe it.

    Attributes:
        index: int. Number of the page in the file.
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

    index: int
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
    def lossy(self) -> bool:
        """Whether the compression may change pixel values."""
        return self.compression not in (_NONE, *_DEFLATE, _LZMA, *_LIBTIFF, *_FAX)

    @property
    def by_pillow(self) -> bool:
        """Whether the compression or the meaning of the values is left to Pillow."""
        known = self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK)
        return self.lossy or self.compression in _FAX or not known


# --- Tags -----------------------------------------------------------------------------------------
def read_page(data: bytes) -> Page:
    """Reads the tags of the one image in a TIFF file, and checks that its data are in the file.

    Smaller copies of the image and masks, which are marked as such, are passed over.

    Args:
        data: bytes. The whole file.

    Returns:
        A `Page`.

    Raises:
        ImageError: if the file holds no image or several, is truncated or too large, or is of a
            kind that is not read.
    """
    found = None
    for index, tags in enumerate(_directories(data)):
        if _first(tags, _SUBFILE, 0) & _REDUCED_OR_MASK:
            continue
        if found is not None:
            raise ImageError(
                "the TIFF file holds several images (a stack, a time series or channels), but one "
                "is expected. Save one image per file, or combine them first, for example by a "
                "maximum projection."
            )
        found = index, tags
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
    try:
        return _orientation(next(_directories(exif), {}))
    except (ImageError, struct.error):
        return 1  # damaged EXIF data are no reason to refuse the image


def _orientation(tags):
    value = _first(tags, _ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def _byte_order(data):
    return "<" if data[:2] == b"II" else ">"


def _directories(data: bytes) -> Iterator[dict[int, np.ndarray]]:
    """Yields the tags of each page: integer arrays by tag number."""
    order = _byte_order(data)
    if data[2:4] in (b"+\0", b"\0+"):  # BigTIFF
        (offset,) = struct.unpack_from(f"{order}Q", data, 8)
        count_format, entry_format, next_format = "Q", "HHQ", "Q"
    else:
        (offset,) = struct.unpack_from(f"{order}I", data, 4)
        count_format, entry_format, next_format = "H", "HHI", "I"
    seen: set[int] = set()
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        try:
            (entries,) = struct.unpack_from(order + count_format, data, offset)
            start = offset + struct.calcsize(order + count_format)
            size = struct.calcsize(order + entry_format + next_format)
            end = start + entries * size
            (offset,) = struct.unpack_from(order + next_format, data, end)
        except struct.error as error:
            raise damaged("its TIFF tags lie behind the end of the file") from error
        tags = {}
        for position in range(start, end, size):
            code, kind, count = struct.unpack_from(order + entry_format, data, position)
            if code in _NEEDED and kind in _INTEGERS:
                at = position + struct.calcsize(order + entry_format)
                tags.setdefault(code, _values(data, at, kind, count, order, next_format))
        yield tags


def _values(data, at, kind, count, order, offset_format):
    """Reads the values of a tag, which lie in its entry if they fit, else at an offset."""
    dtype = np.dtype(order + _INTEGERS[kind])
    if count * dtype.itemsize > struct.calcsize(order + offset_format):
        (at,) = struct.unpack_from(order + offset_format, data, at)
    if at + count * dtype.itemsize > len(data):
        raise damaged("its TIFF tags lie behind the end of the file")
    return np.frombuffer(data, dtype, count, at)


def _first(tags, code, default):
    values = tags.get(code, ())
    return int(values[0]) if len(values) else default


def _page(index, tags, byte_order):
    """Makes a `Page` of tags; refuses what is not read."""
    height, width = _first(tags, _HEIGHT, 0), _first(tags, _WIDTH, 0)
    samples, bits = _first(tags, _SAMPLES, 1), _first(tags, _BITS, 1)
    for code, what in ((_BITS, "bits per sample"), (_FORMAT, "sample formats")):
        if len(set(tags.get(code, ())[:samples])) > 1:
            raise ImageError(f"a TIFF file of different {what} is not read. {_ADVICE}")
    if samples < 1 or _first(tags, _DEPTH, 1) != 1:
        raise ImageError(f"a TIFF file of volumes, not images, is not read. {_ADVICE}")
    dtype = _sample_dtype(_first(tags, _FORMAT, 1), bits, byte_order)
    check_size(height, width, dtype.itemsize, samples)
    tiled = _TILE_WIDTH in tags
    segment = (min(_first(tags, _ROWS, height), height), width)
    if tiled:
        segment = (_first(tags, _TILE_HEIGHT, 0), _first(tags, _TILE_WIDTH, 0))
    if min(segment) < 1:
        raise damaged("its strips or tiles have no pixels")
    planes = samples if _first(tags, _PLANAR, 1) == 2 else 1
    photometric = _first(tags, _PHOTOMETRIC, _RGB if samples > 2 else _BLACK_IS_ZERO)
    return Page(
        index=index,
        height=height,
        width=width,
        samples=samples,
        bits=bits,
        dtype=dtype,
        photometric=photometric,
        compression=_first(tags, _COMPRESSION, _NONE),
        predictor=_first(tags, _PREDICTOR, 1),
        planes=planes,
        segment=segment,
        tiled=tiled,
        offsets=tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS, np.zeros(0, np.uint64)),
        counts=tags.get(_TILE_COUNTS if tiled else _STRIP_COUNTS, np.zeros(0, np.uint64)),
        reversed_bits=_first(tags, _FILL_ORDER, 1) == 2,
        colors=_palette(tags, bits) if photometric == _PALETTE else None,
        orientation=_orientation(tags),
    )


_ADVICE = "Save it as TIFF with 8 or 16 bits per sample in one of gray or RGB, or as PNG."


def _sample_dtype(sample_format, bits, byte_order):
    """Returns the dtype of a sample; unsigned numbers may have any bits up to 32."""
    kind = {1: "u", 2: "i", 3: "f", 4: "u"}.get(sample_format)
    whole = {"u": (8, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}.get(kind, ())
    if bits in whole:
        return np.dtype(f"{byte_order}{kind}{bits // 8}")
    if kind == "u" and 1 <= bits <= 32:
        return np.dtype(np.uint8 if bits < 8 else np.uint16 if bits < 16 else np.uint32)
    raise ImageError(
        f"a TIFF file with samples of {bits} bits in format {sample_format} is not read. {_ADVICE}"
    )


def _palette(tags, bits):
    colors = tags.get(_COLORS, np.zeros(0))
    if bits > 16 or len(colors) != 3 * 2**bits:
        raise damaged(f"its palette has {len(colors)} values instead of 3 x 2^{bits}")
    # Some programs write 8-bit values instead of 16-bit ones; libtiff takes these so as well.
    return (colors if colors.max() < 256 else colors >> 8).astype(np.uint8).reshape(3, -1)


def _check_segments(page, file_size):
    """Checks that all strips or tiles lie in the file, and that there are not too many."""
    down, across = _grid(page)
    count = page.planes * down * across
    if count > MAX_SEGMENTS or count * page.segment[0] * page.row_bytes > 4 * MAX_BYTES:
        raise ImageError(
            f"its TIFF tags claim {count} strips or tiles of {page.segment[0]}x{page.segment[1]} "
            "pixels, more than are read. Save it with larger strips, or cut the image into tiles."
        )
    if len(page.offsets) < count or len(page.counts) < count:
        # A single uncompressed strip does not need its size.
        if not (count == 1 == len(page.offsets) and page.compression == _NONE):
            raise damaged(f"the places of {count} strips or tiles are missing")
    stored = page.counts[:count].astype(np.float64)
    sizes = stored
    if page.compression == _NONE:
        sizes = np.array([_segment_size(page, index) for index in range(count)], np.float64)
        if ((0 < stored) & (stored < sizes[: len(stored)])).any():
            raise damaged("its strips or tiles hold fewer pixels than the image")
    offsets = page.offsets[:count].astype(np.float64)
    if (offsets < 8).any() or (sizes < 1).any() or (offsets + sizes > file_size).any():
        raise damaged("its pixels lie behind the end of the file")


def _grid(page):
    """Returns how many strips or tiles lie on top of and beside each other in one plane."""
    return math.ceil(page.height / page.segment[0]), math.ceil(page.width / page.segment[1])


def _segment_rows(page, index):
    """Returns the first row of a strip or tile, and how many it has; the last strip is shorter."""
    down, across = _grid(page)
    top = index // across % down * page.segment[0]
    return top, page.segment[0] if page.tiled else min(page.segment[0], page.height - top)


def _segment_size(page, index):
    return _segment_rows(page, index)[1] * page.row_bytes


# --- Pixels ---------------------------------------------------------------------------------------
def read_pixels(data: bytes, page: Page) -> np.ndarray:
    """Decodes the values as they are stored: nothing is inverted, colored, scaled or turned.

    Args:
        data: bytes. The whole file.
        page: Page. Of the file.

    Returns:
        [H, W] or [H, W, C] in native byte order; bool if there is one bit per sample.

    Raises:
        ImageError: if the data are damaged or compressed in a way that is not read.
        Exception: whatever a decoder raises for damaged data.
    """
    if page.by_pillow:
        pixels = _read_with_pillow(data, page)
        # Pillow shows an inverted file as it looks.
        inverted = page.compression in _FAX and page.photometric == _WHITE_IS_ZERO
        return ~pixels if inverted else pixels
    known = (1, 2, 3) if page.dtype.kind == "f" else (1, 2)
    if page.predictor not in known:
        raise ImageError(f"a TIFF file with the predictor {page.predictor} is not read. {_ADVICE}")
    native = page.dtype.newbyteorder("=")
    out = np.empty((page.height, page.width, page.samples), native)
    down, across = _grid(page)
    for index, segment in enumerate(_segments(data, page)):
        top, rows = _segment_rows(page, index)
        left = index % across * page.segment[1]
        first = index // (down * across)  # sample of a planar image
        target = out[top : top + rows, left : left + page.segment[1], first:]
        target = target[..., : page.in_segment]
        # Tiles at the right and bottom reach beyond the image.
        target[...] = _unpack(segment, rows, page)[: target.shape[0], : target.shape[1]]
    if page.bits == 1:
        out = out.astype(bool)
    return out[..., 0] if page.samples == 1 else out


def show(pixels: np.ndarray, page: Page) -> np.ndarray:
    """Converts stored values to what a viewer shows: colors, or gray values with black at 0.

    Args:
        pixels: array. Of `read_pixels`.
        page: Page. Of the same file.

    Returns:
        [H, W] or [H, W, C]: uint8 up to 8 bits per sample, uint16 up to 16 bits, else unchanged.
    """
    if page.by_pillow:
        return pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype == bool else pixels
    if page.colors is not None:
        return np.ascontiguousarray(page.colors.T)[pixels.astype(np.uint8, copy=False)]
    inverted = page.photometric == _WHITE_IS_ZERO and pixels.dtype.kind in "bui"
    if page.bits % 8 and page.bits < 16:
        # Spread over the whole range of the dtype, as 8-bit and 16-bit values are.
        most = 2**page.bits - 1
        full = np.iinfo(page.dtype).max
        table = np.rint(np.arange(most + 1) * (full / most)).astype(page.dtype)
        return (table[::-1] if inverted else table)[pixels.astype(page.dtype, copy=False)]
    return np.invert(pixels, out=pixels) if inverted else pixels


def _segments(data: bytes, page: Page) -> Iterator[Any]:
    """Yields the bytes of each strip or tile in turn, decompressed."""
    down, across = _grid(page)
    view = memoryview(data)
    group: list[bytes] = []
    for index in range(page.planes * down * across):
        size = _segment_size(page, index)
        stored = size if page.compression == _NONE else int(page.counts[index])
        start = int(page.offsets[index])
        raw: Any = view[start : start + stored]
        if page.reversed_bits:
            raw = _REVERSED[np.frombuffer(raw, np.uint8)].tobytes()
        if page.compression in _LIBTIFF:
            # Pillow takes a while to start, so it is given several at once.
            group.append(bytes(raw))
            is_last = (index + 1) % (down if not page.tiled else page.planes * down * across) == 0
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
    if compression in _DEFLATE:
        decoder = zlib.decompressobj()
        pixels = decoder.decompress(raw, size)
        decoder.decompress(decoder.unconsumed_tail, 1)  # reads the checksum behind them
        return pixels
    if compression == _LZMA:
        return lzma.LZMADecompressor(memlimit=_LZMA_MEMORY).decompress(raw, size)
    return raw


def _decompress_group(group, last, page):
    """Decompresses strips or tiles with the library in Pillow, as one gray image of their bytes."""
    first = last + 1 - len(group)
    sizes = [_segment_size(page, index) for index in range(first, last + 1)]
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
    pixels = memoryview(np.asarray(pillow.open_image(io.BytesIO(file), "tiff"))).cast("B")
    start = 0
    for size in sizes:
        yield pixels[start : start + size]
        start += size


def _wrap(strips, *, compression, row_bytes, strip_rows, rows):
    """Makes a TIFF file of compressed strips of bytes."""
    counts = np.array([len(strip) for strip in strips], "<u4")
    tags = {
        _WIDTH: [row_bytes],
        _HEIGHT: [rows],
        _BITS: [8],
        _COMPRESSION: [compression],
        _PHOTOMETRIC: [_BLACK_IS_ZERO],
        _STRIP_OFFSETS: counts,  # replaced below, where it is known how long the header is
        _SAMPLES: [1],
        _ROWS: [strip_rows],
        _STRIP_COUNTS: counts,
    }
    lists_at = 8 + 2 + 12 * len(tags) + 4
    starts = lists_at + 8 * len(strips) + np.concatenate([[0], np.cumsum(counts[:-1])])
    tags[_STRIP_OFFSETS] = starts.astype("<u4")
    places = {_STRIP_OFFSETS: lists_at, _STRIP_COUNTS: lists_at + 4 * len(strips)}
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for code, values in tags.items():
        value = int(values[0]) if len(values) == 1 else places[code]
        header += struct.pack("<HHII", code, 4, len(values), value)
    lists = tags[_STRIP_OFFSETS].tobytes() + counts.tobytes()
    return b"".join([header, bytes(4), lists, *strips])


def _unpack(segment, rows, page):
    """Returns the values of a strip or tile, [rows, width, samples]."""
    shape = (rows, page.segment[1], page.in_segment)
    if page.bits != 8 * page.dtype.itemsize:
        return _unpack_bits(segment, shape, page)
    if page.predictor == 3:
        return _add_float_differences(np.frombuffer(segment, np.uint8), shape, page.dtype.itemsize)
    if page.predictor == 1:
        return np.frombuffer(segment, page.dtype, math.prod(shape)).reshape(shape)
    # Differences wrap around; those of floats are taken of their bits.
    whole = np.dtype(f"u{page.dtype.itemsize}")
    stored = whole.newbyteorder(page.dtype.byteorder)
    differences = np.frombuffer(segment, stored, math.prod(shape)).reshape(shape)
    return np.cumsum(differences, axis=1, dtype=whole).view(page.dtype.newbyteorder("="))


def _unpack_bits(segment, shape, page):
    """Unpacks samples that are no whole bytes; each row starts at a byte."""
    if page.predictor != 1:
        raise ImageError(f"a TIFF file of {page.bits} bits with a predictor is not read. {_ADVICE}")
    rows, width, samples = shape
    packed = np.frombuffer(segment, np.uint8, rows * page.row_bytes).reshape(rows, -1)
    values = np.zeros((rows, width * samples), page.dtype)
    for row in range(rows):  # row by row, because the bits take eight times the memory
        bits = np.unpackbits(packed[row])[: width * samples * page.bits].reshape(-1, page.bits)
        for column in range(page.bits):
            values[row] = values[row] << 1 | bits[:, column]
    return values.reshape(shape)


def _add_float_differences(raw, shape, size):
    """Undoes the predictor of floats: differences of bytes, the highest bytes of a row first."""
    rows, width, samples = shape
    raw = raw[: rows * width * samples * size].reshape(rows, width * size, samples)
    summed = np.cumsum(raw, axis=1, dtype=np.uint8).reshape(rows, size, width * samples)
    values = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(f">f{size}")
    return values.reshape(shape)


def _read_with_pillow(data, page):
    size = page.height * page.width * max(page.samples, 3)
    if size * page.dtype.itemsize > MAX_BYTES_PILLOW:
        check_size(page.height, page.width, page.dtype.itemsize, limit=MAX_BYTES_PILLOW)
    if page.bits > 8:
        raise ImageError(
            f"a TIFF file of {page.bits} bits with the photometric interpretation "
            f"{page.photometric} and the compression {page.compression} is not read. {_ADVICE}"
        )
    try:
        image = pillow.open_image(io.BytesIO(data), "tiff")
        image.seek(page.index)
        return np.array(image) if image.mode in ("1", "L") else np.array(image.convert("RGB"))
    except Exception as error:  # Pillow raises anything
        raise ImageError(
            f"its TIFF data, of the photometric interpretation {page.photometric} and the "
            f"compression {page.compression}, are damaged or of a kind that is not read "
            f"({error}). {_ADVICE}"
        ) from error
