"""Headers of image files: what a file claims to hold, before a decoder believes it.

A file of a few kilobytes can claim an image of many gigabytes, and OpenCV silently returns a
truncated one as half gray. So the size and the end of every file are checked first.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import BinaryIO, NamedTuple

from mrcnn.images import pillow

# The pixels of one image, counted in color, may take this much memory: 10,240 x 10,240 pixels of
# 16 bits, 14,480 x 14,480 of 8 bits. Decoding takes up to twice as much for a moment.
MAX_BYTES = 600 * 2**20
# Pillow holds four bytes per pixel and copies them twice, and WebP keeps two more canvases.
MAX_BYTES_PILLOW = MAX_BYTES // 3
# A progressive JPEG visits all its pixels once per scan. Ten scans are common; a small file can
# hold thousands of empty ones.
MAX_SCANNED_PIXELS = 2**31
# Parts of a PNG or JPEG file: a PNG of a gigabyte in parts of 8 KiB has 131,072.
MAX_PARTS = 2**18
_BLOCK_BYTES = 512  # that are read at once where a marker is likely to be the next byte
LABEL_SAMPLE_BYTES = 2  # a label image becomes int32: it counts as 16 bits in color

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_SIGNATURES = {
    "png": re.compile(re.escape(_PNG)),
    "jpeg": re.compile(re.escape(_JPEG)),
    "tiff": re.compile(rb"II[*+]\0|MM\0[*+]"),
    "bmp": re.compile(rb"BM"),
    "gif": re.compile(rb"GIF8[79]a"),
    "webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "jpeg2000": re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "avif": re.compile(rb"....ftyp(avi[fs]|mif1|msf1)", re.DOTALL),
    "pnm": re.compile(rb"P[1-6][\s#]"),
}
ENDS = {_PNG: b"IEND", _JPEG: b"\xff\xd9"}  # found in the last bytes of most files
# Width, height and largest value (not of P1 and P4), with comments between them.
_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P([1-6])%b(\d{1,9})%b(\d{1,9})%b(\d{1,5})?" % (_SPACE, _SPACE, _SPACE))
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of JPEG; restarts inside a scan are none
_ALONE = {0x01, 0xD8}  # the JPEG markers without a body
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # the JPEG markers that hold the size
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}


class ImageError(ValueError):
    """An image that cannot be used. The text says what to do, but not which file it is."""


class FileBytes:
    """The bytes of an open file, read slice by slice when they are asked for.

    Args:
        file: binary file that can seek.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = file.seek(0, io.SEEK_END)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        return self._file.read(max(stop - start, 0))


class Header(NamedTuple):
    """What an image file says about itself.

    Attributes:
        kind: str. "png", "jpeg", "pnm", "bmp", "gif", "webp", "jpeg2000" or "avif".
        height: int. In pixels, as stored.
        width: int. In pixels, as stored.
        bits: int. Bits per sample.
        exif: bytes. The EXIF data, a small TIFF file; empty if there are none.
        palette: bool. Whether the pixels are numbers of colors. Defaults to False.
        lossy: bool. Whether the compression changes pixel values. Defaults to False.
    """

    kind: str
    height: int
    width: int
    bits: int
    exif: bytes = b""
    palette: bool = False
    lossy: bool = False


def kind_of(data: bytes | FileBytes) -> str:
    """Returns the kind of an image file by its first bytes.

    Args:
        data: bytes or FileBytes. The file, or its first 16 bytes.

    Raises:
        ImageError: if the file is empty or of no known kind.
    """
    start = data[:16]
    for kind, signature in _SIGNATURES.items():
        if signature.match(start):
            return kind
    if not start:
        raise ImageError("the image file is empty. Copy or download it again.")
    raise ImageError(
        "not an image that can be read. Expected PNG, JPEG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000 "
        "or PNM. If an image viewer opens the file, save it as PNG there; else copy or download "
        "it again."
    )


def read_header(data: bytes | FileBytes) -> Header:
    """Reads the header of an image file other than TIFF.

    Args:
        data: bytes or FileBytes. The whole file. Of bytes, it is checked that the image is
            complete. Of `FileBytes`, the pixels are passed over where the format allows it.

    Returns:
        A `Header`.

    Raises:
        ImageError: if the file is not an image, is truncated, or too large.
    """
    kind = kind_of(data)
    readers = {"png": _read_png, "jpeg": _read_jpeg, "pnm": _read_pnm}
    return readers[kind](data) if kind in readers else _read_with_pillow(data[:], kind)


def check_size(
    height: int, width: int, sample_bytes: int, channels: int = 3, limit: int = MAX_BYTES
) -> None:
    """Refuses an image whose pixels would take too much memory.

    Args:
        height: int. In pixels.
        width: int. In pixels.
        sample_bytes: int. Bytes per sample.
        channels: int. Samples per pixel; fewer than 3 count as 3. Defaults to 3.
        limit: int. The most bytes. Defaults to `MAX_BYTES`.

    Raises:
        ImageError: if the image is too large or has no pixel.
    """
    if height < 1 or width < 1:
        raise damaged(f"its header claims {height}x{width} pixels (height x width)")
    size = height * width * max(channels, 3) * sample_bytes
    if size > limit:
        raise ImageError(
            f"its header claims {height}x{width} pixels (height x width), which take "
            f"{size / 2**20:.0f} MiB in memory; at most {limit // 2**20} MiB are read. Cut the "
            "image into tiles, or scale it down."
        )


def damaged(reason: str) -> ImageError:
    """Returns the error for a damaged file.

    Args:
        reason: str. What is wrong.
    """
    return ImageError(f"the image file is damaged: {reason}. Copy or download it again.")


def _read_png(data: bytes | FileBytes) -> Header:
    """Walks the chunks (length, kind, data, checksum) up to the end; EXIF data may come last."""
    position = len(_PNG)
    header, exif = None, b""
    parts = 0
    has_palette = False
    while position + 12 <= len(data) and parts < MAX_PARTS:
        parts += 1
        start = data[position : position + 8]
        kind = start[4:]
        end = position + 8 + int.from_bytes(start[:4], "big")
        if end + 4 > len(data):
            break
        # A chunk that the pixels depend on has a capital letter. The size depends on IHDR alone.
        if kind == b"IHDR" or (kind[:1].isupper() and isinstance(data, bytes)):
            checksum = int.from_bytes(data[end : end + 4], "big")
            whole = memoryview(data) if isinstance(data, bytes) else data
            if zlib.crc32(whole[position + 4 : end]) != checksum:
                raise damaged("a PNG checksum is wrong")
        body = position + 8
        if kind == b"IHDR" and header is None:
            width, height, bits, color = struct.unpack(">IIBB", data[body : body + 10])
            header = Header("png", height, width, bits, palette=color == 3)
            check_size(height, width, 2 if bits == 16 else 1, 4 if color == 6 else 3)
        elif header is None:
            raise damaged("the PNG header is missing")
        elif kind == b"PLTE":
            has_palette = True
        elif kind == b"eXIf":
            exif = data[body:end]
        elif kind == b"IEND":
            if header.palette and not has_palette:
                raise damaged("its palette is missing")
            return header._replace(exif=exif)
        position = end + 4
    raise damaged("the PNG data end too early")


def _read_jpeg(data: bytes | FileBytes) -> Header:
    """Walks the segments and scans to the end-of-image marker, of `FileBytes` to the first scan.

    The segments are skipped, not searched, because a thumbnail in one has an end marker of its own.
    What follows the end, such as the video of a motion photo, is ignored.
    """
    header, exif = None, b""
    parts = scans = 0
    position = _next_marker(data, 2)
    while position is not None and parts < MAX_PARTS:
        parts += 1
        start = data[position + 1 : position + 4]
        marker = start[0]
        if marker == 0xD9:
            if header is None or not scans:
                break
            return header._replace(exif=exif)
        if marker in _ALONE:
            position = _next_marker(data, position + 2)
            continue
        body = position + 4
        end = position + 2 + int.from_bytes(start[1:], "big")
        if marker in _FRAMES and header is None:
            header = _jpeg_frame(data[body:end], marker)
        elif marker == 0xE1 and not exif and not scans and data[body : body + 6] == b"Exif\0\0":
            exif = data[body + 6 : end]
        elif marker == 0xDA and header is not None:  # start of scan
            if not isinstance(data, bytes):
                return header._replace(exif=exif)
            scans += 1
            _check_scans(header, scans)
        position = _next_marker(data, end)
    raise damaged("the JPEG data end too early" if scans else "the JPEG header is incomplete")


def _next_marker(data, position):
    """Returns the position of the next JPEG marker, or None."""
    if isinstance(data, bytes):
        found = _MARKER.search(data, position)
        return found and found.start()
    while position + 2 <= len(data):
        found = _MARKER.search(data[position : position + _BLOCK_BYTES])
        if found:
            return position + found.start()
        position += _BLOCK_BYTES - 1  # a marker has two bytes
    return None


def _jpeg_frame(body, marker):
    if len(body) < 6:
        raise damaged("the JPEG header is incomplete")
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    # All coefficients of a progressive JPEG are held, two bytes each.
    check_size(height, width, 2 if marker in _PROGRESSIVE else 1)
    return Header("jpeg", height, width, body[0], lossy=True)


def _check_scans(header, scans):
    if scans > 4 and scans * header.height * header.width > MAX_SCANNED_PIXELS:
        raise ImageError(
            f"a JPEG file of {header.height}x{header.width} pixels in {scans} or more scans takes "
            "too long to read. Save it as a baseline JPEG or as PNG."
        )


def _read_pnm(data: bytes | FileBytes) -> Header:
    found = _PNM.match(data[:4096])
    if found is None:
        raise damaged("the PNM header is incomplete")
    kind, width, height = (int(found[number]) for number in (1, 2, 3))
    bits = 1 if kind in (1, 4) else int(found[4] or 255).bit_length()
    check_size(height, width, 2 if bits > 8 else 1)
    samples = height * width * (3 if kind in (3, 6) else 1)
    # As text, a sample takes at least one digit.
    stored = samples // 8 if kind == 4 else samples * (2 if bits > 8 else 1)
    if len(data) < stored + 7:
        raise damaged("the PNM data end too early")
    return Header("pnm", height, width, bits)


def _read_with_pillow(data: bytes, kind: str) -> Header:
    image = pillow.open_image(io.BytesIO(data), kind)
    wide = image.mode.startswith(("I", "F"))
    check_size(image.height, image.width, 2 if wide else 1, limit=MAX_BYTES_PILLOW)
    return Header(
        kind,
        image.height,
        image.width,
        16 if wide else 8,
        exif=image.info.get("exif", b"").removeprefix(b"Exif\0\0"),
        palette=image.mode == "P",
        lossy=kind in ("avif", "jpeg2000") or (kind == "webp" and not _is_lossless_webp(data)),
    )


def _is_lossless_webp(data):
    """Walks the chunks of a WebP file, up to the first one that holds pixels."""
    position = 12
    while position + 8 <= len(data):
        kind = data[position : position + 4]
        if kind in (b"VP8 ", b"VP8L", b"ANMF"):
            return kind == b"VP8L"
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return False
