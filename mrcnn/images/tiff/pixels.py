"""The pixels of a TIFF file, as stored and as a viewer shows them."""

from __future__ import annotations

import io
import math

import numpy as np

from mrcnn.images import pillow
from mrcnn.images.headers import MAX_BYTES_PILLOW, ImageError, check_size
from mrcnn.images.tiff.segments import read_segments
from mrcnn.images.tiff.tags import ADVICE, FAX, WHITE_IS_ZERO, Page

_BLOCK_BYTES = 2**20  # of packed bits that are unpacked at once


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
        inverted = page.compression in FAX and page.photometric == WHITE_IS_ZERO
        return ~pixels if inverted else pixels
    known = (1, 2, 3) if page.dtype.kind == "f" else (1, 2)
    if page.predictor not in known:
        raise ImageError(f"a TIFF file with the predictor {page.predictor} is not read. {ADVICE}")
    native = page.dtype.newbyteorder("=")
    out = np.empty((page.height, page.width, page.samples), native)
    down, across = page.grid
    for index, segment in enumerate(read_segments(data, page)):
        top, rows = page.rows(index)
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
        return np.ascontiguousarray(page.colors.T)[pixels.astype(page.dtype, copy=False)]
    inverted = page.photometric == WHITE_IS_ZERO and pixels.dtype.kind in "bui"
    if page.bits % 8 and page.bits < 16:
        # Spread over the whole range of the dtype, as 8-bit and 16-bit values are.
        most = 2**page.bits - 1
        full = np.iinfo(page.dtype).max
        table = np.rint(np.arange(most + 1) * (full / most)).astype(page.dtype)
        return (table[::-1] if inverted else table)[pixels.astype(page.dtype, copy=False)]
    return np.invert(pixels, out=pixels) if inverted else pixels


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
        raise ImageError(f"a TIFF file of {page.bits} bits with a predictor is not read. {ADVICE}")
    rows, width, samples = shape
    packed = np.frombuffer(segment, np.uint8, rows * page.row_bytes).reshape(rows, -1)
    values = np.zeros((rows, width * samples), page.dtype)
    step = max(1, _BLOCK_BYTES // page.row_bytes)
    for top in range(0, rows, step):  # in blocks, because the bits take eight times the memory
        block = values[top : top + step]
        bits = np.unpackbits(packed[top : top + step], axis=1)[:, : block.shape[1] * page.bits]
        bits = bits.reshape(*block.shape, page.bits)
        for number in range(page.bits):
            np.bitwise_or(block << 1, bits[..., number], out=block)
    return values.reshape(shape)


def _add_float_differences(raw, shape, size):
    """Undoes the predictor of floats: differences of bytes, the highest bytes of a row first."""
    rows, width, samples = shape
    raw = raw[: rows * width * samples * size].reshape(rows, width * size, samples)
    summed = np.cumsum(raw, axis=1, dtype=np.uint8).reshape(rows, size, width * samples)
    values = np.ascontiguousarray(summed.transpose(0, 2, 1)).view(f">f{size}")
    return values.reshape(shape)


def _read_with_pillow(data, page):
    check_size(
        page.height, page.width, page.dtype.itemsize, channels=page.samples, limit=MAX_BYTES_PILLOW
    )
    if page.bits > 8:
        raise ImageError(
            f"a TIFF file of {page.bits} bits with the photometric interpretation "
            f"{page.photometric} and the compression {page.compression} is not read. {ADVICE}"
        )
    try:
        image = pillow.open_image(io.BytesIO(data), "tiff")
        image.seek(page.number)
        return np.array(image) if image.mode in ("1", "L") else np.array(image.convert("RGB"))
    except Exception as error:  # Pillow raises anything
        raise ImageError(
            f"its TIFF data, of the photometric interpretation {page.photometric} and the "
            f"compression {page.compression}, are damaged or of a kind that is not read "
            f"({error}). {ADVICE}"
        ) from error
