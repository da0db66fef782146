"""Files of pictures: reading them upright, and telling damaged ones.

OpenCV returns a truncated picture half grey without a word, so files are looked at first.
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

_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_ENDS = {_PNG_SIGNATURE: b"IEND", _JPEG_SIGNATURE: b"\xff\xd9"}  # what the last bytes hold
_TAIL_BYTES = 2**16  # some writers add bytes behind the end of the picture
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")


def list_images(folder, what="image folder") -> list[Path]:
    """The picture files of a folder, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
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
        inputs: files, folders and globs.

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


def read_image(path) -> np.ndarray:
    """Reads a picture of any usual format, turned upright as its EXIF data say.

    Args:
        path: file name; letters outside ASCII are fine.

    Returns:
        [H, W, 3] RGB: uint8, uint16 or what else the file holds (TIFF: float32, ...). Grey is
        repeated, a palette looked up, alpha dropped. Of an animation the first picture.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, or a truncated one; naming the file.
    """
    data = _read_bytes(path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # unlike IMREAD_UNCHANGED this honours EXIF
    image = _decode(data, flags)
    if image is not None:
        return np.ascontiguousarray(image[..., ::-1])
    return to_channels(_read_otherwise(path), 3)


def read_label_image(path) -> np.ndarray:
    """Reads a picture whose pixel values are labels: [H, W], the dtype of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture, a truncated one, or one with different colour channels.
    """
    image = _decode(_read_bytes(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        image = _read_otherwise(path)
    if image.ndim == 3:
        if image.shape[2] in (2, 4):
            image = image[..., :-1]
        if (image != image[..., :1]).any():
            raise ValueError(
                f"{path}: a label image has one number a pixel, but this one has colours. "
                "Write it with one channel of 8 or 16 bits."
            )
        image = image[..., 0]
    return np.ascontiguousarray(image)


def check_image_file(path):
    """Finds a file that is no picture, or a truncated one, by its first and last bytes alone.

    Cheap enough for every file of a data set: only formats without a fixed end are decoded. A
    damaged middle shows only when it is read.

    Raises:
        FileNotFoundError, ValueError: as `read_image`.
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
                raise _damaged(path, "the data end too early")
            return
    read_image(path)  # of a rarer format


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
    """Formats that OpenCV does not read, through scikit-image."""
    import skimage.io

    try:
        image = np.asarray(skimage.io.imread(str(path)))
    except Exception as error:  # whatever a plugin raises, the user needs the file's name
        raise ValueError(
            f"{path}: cannot be read as an image ({type(error).__name__}: {error}). "
            "Expected PNG, JPEG, TIFF, BMP, GIF or WebP."
        ) from error
    if image.ndim == 4:  # the first picture of an animation
        image = image[0]
    if image.ndim not in (2, 3):
        raise ValueError(f"{path}: expected one picture, got an array of shape {image.shape}.")
    return image


def _truncated(data: bytes) -> str | None:
    """Why a file is incomplete, or None. OpenCV returns such a picture half grey, silently."""
    if not data:
        return "it is empty"
    if data.startswith(_PNG_SIGNATURE):
        return _truncated_png(data)
    if data.startswith(_JPEG_SIGNATURE):
        return _truncated_jpeg(data)
    return None


def _truncated_png(data):
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


def _truncated_jpeg(data):
    """Walks the segments to the start of the scan, then looks for the end-of-image marker.

    A thumbnail inside the header has an end marker of its own, so the whole file is not searched.
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
