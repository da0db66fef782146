"""Image files: reads them upright and recognizes damaged ones.

OpenCV silently returns a truncated image as half gray, so every file is checked first.
"""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from mrcnn.images.values import to_channels

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_ENDS = {_PNG_SIGNATURE: b"IEND", _JPEG_SIGNATURE: b"\xff\xd9"}  # found in the last bytes
_TAIL_BYTES = 2**16  # some programs append bytes after the end of the image
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


def list_images(folder: str | os.PathLike, what: str = "image folder") -> list[Path]:
    """Lists the image files of a folder, sorted by name. Hidden files are left out.

    Args:
        folder: str or path. The folder to list; its subfolders are not searched.
        what: str. What the folder is called in the error text. Defaults to "image folder".

    Returns:
        list of paths, those with a suffix in `IMAGE_SUFFIXES`.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such {what}. Check the path.")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def find_images(inputs: Iterable[str | os.PathLike]) -> list[Path]:
    """Finds the files that inputs stand for.

    A folder stands for the images directly in it. A file that is named is taken whatever its
    suffix, so that a wrong one is reported when it is read.

    Args:
        inputs: iterable of str or path. Files, folders and globs.

    Returns:
        The files, each once, in order.

    Raises:
        FileNotFoundError: an input that matches nothing.
    """
    found = {}
    for text in map(str, inputs):
        path = Path(text)
        if path.is_dir():
            matches = list_images(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(name) for name in sorted(glob.glob(text)) if Path(name).is_file()]
        if not matches:
            what = f"no images ({', '.join(IMAGE_SUFFIXES)})" if path.is_dir() else "no such file"
            raise FileNotFoundError(f"{text}: {what}; give images, folders of images, or globs")
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())


def read_image(path: str | os.PathLike, upright: bool = True) -> np.ndarray:
    """Reads an image of any common format.

    Args:
        path: str or path. The file to read; its name may hold non-ASCII letters.
        upright: bool. Whether the image is rotated according to its EXIF data. False reads it as
            stored. Defaults to True.

    Returns:
        [H, W, 3] RGB in the dtype of the file: uint8, uint16, or others such as float32 (TIFF).
        Gray is repeated, a palette is resolved and alpha is dropped. Of an animation, the first
        frame is read.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image or is truncated. The message names the file.
    """
    data = _read_bytes(path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # unlike IMREAD_UNCHANGED, this applies EXIF
    if not upright:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
    image = _decode(data, flags)
    if image is not None:
        return np.ascontiguousarray(image[..., ::-1])  # BGR to RGB
    return to_channels(_read_otherwise(path), 3)


def read_label_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image whose pixel values are labels.

    The image is read as stored, without an EXIF rotation. Several equal channels are read as one,
    and alpha is dropped.

    Args:
        path: str or path. The file to read.

    Returns:
        [H, W], in the dtype of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image, is truncated, or has color channels that differ.
    """
    image = _decode(_read_bytes(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        image = _read_otherwise(path)
    if image.ndim == 3:
        if image.shape[2] in (2, 4):  # the last channel is alpha
            image = image[..., :-1]
        if (image != image[..., :1]).any():
            raise ValueError(
                f"{path}: a label image needs one number per pixel, but this one has colors. "
                "Save it with one channel of 8 or 16 bits."
            )
        image = image[..., 0]
    return np.ascontiguousarray(image)


def check_image_file(path: str | os.PathLike) -> None:
    """Checks that a file is an image and not truncated, by its first and last bytes.

    This is fast enough for every file of a data set: only formats without a fixed end are decoded.
    Damage in the middle of a file is found only when it is read.

    Args:
        path: str or path. The file to check.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image or is truncated.
    """
    path = _existing(path)
    with path.open("rb") as file:
        head = file.read(16)
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    for signature, end in _ENDS.items():
        if head.startswith(signature):
            if end not in tail:
                raise _damaged(path, "its data end too early")
            return
    read_image(path)  # a format without a fixed end


def _existing(path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image file. Check the path and the folder.")
    return path


def _read_bytes(path):
    path = _existing(path)
    data = path.read_bytes()
    reason = _truncated(data)
    if reason:
        raise _damaged(path, reason)
    return data


def _damaged(path, reason):
    return ValueError(f"{path}: the image file is damaged: {reason}. Copy or download it again.")


def _decode(data, flags):
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _read_otherwise(path):
    """Reads formats that OpenCV does not know, with scikit-image."""
    import skimage.io

    try:
        image = np.asarray(skimage.io.imread(str(path)))
    except Exception as error:  # plugins raise anything, and advise to install video plugins
        raise ValueError(
            f"{path}: not an image that can be read. Expected PNG, JPEG, TIFF, BMP, GIF or WebP. "
            "If an image viewer opens the file, save it as PNG there; else copy or download it "
            "again."
        ) from error
    if image.ndim == 4:  # an animation: [frames, H, W, C]
        image = image[0]
    if image.ndim not in (2, 3):
        raise ValueError(
            f"{path}: expected one image, [height, width] or [height, width, channels], but the "
            f"file holds an array of shape {image.shape}. Save one image per file."
        )
    return image


def _truncated(data: bytes) -> str | None:
    """Returns why a file is incomplete, or None if it is not."""
    if not data:
        return "it is empty"
    if data.startswith(_PNG_SIGNATURE):
        return _truncated_png(data)
    if data.startswith(_JPEG_SIGNATURE):
        return _truncated_jpeg(data)
    return None


def _truncated_png(data: bytes) -> str | None:
    """Walks the chunks (length, kind, data, checksum) up to the end chunk."""
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            break
        if kind == b"IEND":
            return None
        if kind == b"IDAT":
            checksum = int.from_bytes(data[end : end + 4], "big")
            if zlib.crc32(memoryview(data)[position + 4 : end]) != checksum:
                return "a PNG checksum is wrong"
        position = end + 4
    return "the PNG data end too early"


def _truncated_jpeg(data: bytes) -> str | None:
    """Walks the segments to the start of the scan, then searches for the end-of-image marker.

    The header is not searched, because a thumbnail in it has an end marker of its own.
    """
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0xDA:  # start of scan
            return None if data.find(b"\xff\xd9", position) >= 0 else "the JPEG data end too early"
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return "the JPEG header is incomplete"
