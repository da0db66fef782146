"""Image files: finds them, reads them upright, and refuses damaged ones.

What a file holds is read from its header before anything is decoded. PNG, JPEG and PNM are decoded
by OpenCV, TIFF by `images.tiff`, the other formats by Pillow.
"""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np

from mrcnn.errors import printable, reading
from mrcnn.images import headers, pillow
from mrcnn.images.headers import ImageError, damaged
from mrcnn.images.tiff import pixels, tags
from mrcnn.images.values import to_channels

# The formats that `read_image` reads. The only list: folders are searched for these.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".bmp", ".dib", ".gif"),
    *(".webp", ".avif", ".jp2", ".j2k", ".jpx", ".pnm", ".ppm", ".pgm", ".pbm"),
)
_TAIL_BYTES = 2**16  # most files end with the end of their image, the others are read whole
_BUFFER_BYTES = 1024  # of an open file: the parts of a header are small and far apart
_BY_OPENCV = ("png", "jpeg", "pnm")  # Pillow decodes the others that are not TIFF
# A file of more bytes holds more pixels than are read, or something else behind them.
MAX_FILE_BYTES = 2 * headers.MAX_BYTES

logger = logging.getLogger("mrcnn")


# --- Finding files --------------------------------------------------------------------------------
def is_image_name(path: str | os.PathLike) -> bool:
    """Returns whether a file name has the suffix of an image and does not begin with a dot."""
    path = Path(path)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def list_images(folder: str | os.PathLike, what: str = "image folder") -> list[Path]:
    """Lists the image files of a folder, sorted by name. Hidden files are left out.

    A warning (logger "mrcnn") names the other files that are left out.

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
        raise FileNotFoundError(f"{printable(folder)}: no such {what}. Check the path.")
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path for path in visible if is_image_name(path)]
    left_out = [path.name for path in visible if not is_image_name(path) and path.is_file()]
    if left_out:
        logger.warning(
            "%s: %d of %d files are left out, because their names do not end like those of images "
            "(%s): %s",
            printable(folder),
            len(left_out),
            len(left_out) + len(found),
            " ".join(IMAGE_SUFFIXES),
            printable(", ".join(left_out[:5]) + ", ..." * (len(left_out) > 5)),
        )
    return found


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
    for entry in inputs:
        text = os.fspath(entry)
        path = Path(text)
        if path.is_dir():
            matches = list_images(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(name) for name in sorted(glob.glob(text)) if Path(name).is_file()]
        if not matches:
            what = f"no images ({', '.join(IMAGE_SUFFIXES)})" if path.is_dir() else "no such file"
            raise FileNotFoundError(
                f"{printable(text)}: {what}; give images, folders of images, or globs"
            )
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())


class NameIndex:
    """Finds files whose names are spelled otherwise than in an annotation file.

    Names are the same if they differ in upper and lower case (Windows), in composed and decomposed
    letters (macOS) or in percent codes such as %20 (web tools). Only files that a folder lists are
    found, so that no name leads out of the folder. A folder is listed once.
    """

    def __init__(self):
        self._names: dict[str, dict[str, list[str]]] = {}

    def find(self, folder: str | os.PathLike, parts: Sequence[str]) -> list[str]:
        """Returns the paths of all files that a name stands for.

        Args:
            folder: str or path. The folder to search.
            parts: sequence of str. The names of the subfolders and of the file.

        Returns:
            list of str, empty if there is none.
        """
        found = [os.fspath(folder)]
        for part in parts:
            key = same_name(part)
            found = [os.path.join(at, name) for at in found for name in self._list(at).get(key, ())]
        return [path for path in found if os.path.isfile(path)]

    def _list(self, folder):
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            with contextlib.suppress(OSError):  # not a folder, or one that may not be read
                for name in sorted(os.listdir(folder)):
                    names.setdefault(same_name(name), []).append(name)
            self._names[folder] = names
        return self._names[folder]


def same_name(name: str) -> str:
    """Returns what all spellings of a file name have in common; see `NameIndex`.

    Args:
        name: str. The name of a file or folder, without separators.
    """
    return unicodedata.normalize("NFC", unquote(name)).casefold()


# --- Reading files --------------------------------------------------------------------------------
def read_image(path: str | os.PathLike, upright: bool = True) -> np.ndarray:
    """Reads an image of any common format.

    Args:
        path: str or path. The file to read; its name may hold non-ASCII letters.
        upright: bool. Whether the image is rotated according to its EXIF data. False reads it as
            stored. Defaults to True.

    Returns:
        [H, W, 3] RGB in the dtype of the file: uint8, uint16, or others such as float32 (TIFF).
        Gray is repeated, a palette is resolved, alpha is dropped, and CMYK becomes RGB. Gray values
        that are stored inverted (MinIsWhite) are inverted back. Of an animation, the first frame is
        read.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image, is damaged or truncated, is a TIFF file of several
            images, or is too large (`headers.MAX_BYTES`). The message names the file.
        OSError: if the file cannot be read from the disk.
    """
    path = _existing(path)
    with _naming(path):
        data = _read_bytes(path)
        header, orientation = _read_header(data)
        image = _in_color(_decode(data, header))
        return np.ascontiguousarray(_turn(image, orientation) if upright else image)


def read_label_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image whose pixel values are labels.

    The labels are the stored values: of an image with a palette the numbers of the colors, of one
    that is stored inverted (MinIsWhite) what is stored. As an image is, a label image is rotated
    according to its EXIF data. Several equal channels are read as one, and alpha is dropped.

    Args:
        path: str or path. The file to read: PNG, TIFF, BMP, GIF, PNM or lossless WebP.

    Returns:
        [H, W], in the dtype of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file cannot be read as an image (see `read_image`), is compressed with
            losses, or has color channels that differ. The message names the file.
        OSError: if the file cannot be read from the disk.
    """
    path = _existing(path)
    with _naming(path):
        data = _read_bytes(path)
        header, orientation = _read_header(data)
        _check_label(header)
        labels = _decode_labels(data, header)
        if labels.ndim == 3:
            labels = _one_channel(labels)
        return np.ascontiguousarray(_turn(labels, orientation))


@contextlib.contextmanager
def open_label_image(path: str | os.PathLike) -> Iterator[Any]:
    """Opens an image whose colors, palette or transparency stand for labels.

    The file passes the checks of `read_label_image`; its pixels are not decoded yet.

    Args:
        path: str or path. The file to read: PNG, TIFF, BMP, GIF or lossless WebP.

    Yields:
        A `PIL.Image.Image`. Every error of the block names the file.

    Raises:
        FileNotFoundError, ValueError, OSError: as `read_label_image`.
    """
    path = _existing(path)
    with _naming(path):
        data = _read_bytes(path)
        header, _ = _read_header(data)
        _check_label(header)
        kind = "tiff" if isinstance(header, tags.Page) else header.kind
        with pillow.open_image(io.BytesIO(data), kind) as image:
            yield image


def read_size(path: str | os.PathLike, upright: bool = True) -> tuple[int, int]:
    """Reads the size of an image from its header, without decoding it.

    Args:
        path: str or path. The file.
        upright: bool. As in `read_image`. Defaults to True.

    Returns:
        (height, width) in pixels of what `read_image` returns.

    Raises:
        FileNotFoundError, ValueError, OSError: as `read_image`, but damaged pixels are not found.
    """
    path = _existing(path)
    with _naming(path):
        with _open(path) as file:
            header, orientation = _read_header(headers.FileBytes(file))
        size = header.height, header.width
        return size[::-1] if upright and orientation > 4 else size


def check_image_file(path: str | os.PathLike) -> None:
    """Checks that a file is an image and not truncated, by its first and last bytes.

    This is fast enough for every file of a data set: only formats without a fixed end are decoded.
    Damage in the middle of a file is found only when it is read.

    Args:
        path: str or path. The file to check.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is not an image or is truncated.
        OSError: if the file cannot be read from the disk.
    """
    path = _existing(path)
    with _naming(path):
        with _open(path) as file:
            data: Any = headers.FileBytes(file)
            head, tail = data[:16], data[-_TAIL_BYTES:]
            # In a small file the end may be that of the thumbnail in the header.
            for signature, end in headers.ENDS.items():
                if len(data) > _TAIL_BYTES and head.startswith(signature) and end in tail:
                    return
            if headers.kind_of(data) != "tiff":
                data = data[:]
            header, _ = _read_header(data)
        if not isinstance(header, tags.Page) and header.kind not in _BY_OPENCV:
            _decode(data, header)  # a format without a fixed end


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Names the file in every error that its reader raises."""
    with reading(path, "an image"):
        try:
            yield
        except ImageError as error:
            raise ValueError(f"{printable(path)}: {error}") from error


def _existing(path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{printable(path)}: no such image file. Check the path and the folder."
        )
    return path


def _open(path):
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ImageError(
            f"the file has {size / 2**20:.0f} MiB, more than an image that can be read "
            f"({MAX_FILE_BYTES // 2**20} MiB). Cut the image into tiles, or save one image per "
            "file."
        )
    return path.open("rb", buffering=_BUFFER_BYTES)


def _read_bytes(path):
    with _open(path) as file:
        return file.read()


def _read_header(data) -> tuple[tags.Page | headers.Header, int]:
    """Returns what a file says about its image, a `Page` if it is TIFF, and the orientation."""
    if headers.kind_of(data) == "tiff":
        page = tags.read_page(data)
        return page, page.orientation
    header = headers.read_header(data)
    return header, tags.orientation(header.exif)


def _decode(data, header):
    """Decodes an image as it is shown: [H, W, C], or [H, W] if it is gray."""
    if isinstance(header, tags.Page):
        return pixels.show(pixels.read_pixels(data, header), header)
    if header.kind in _BY_OPENCV:
        image = _decode_with_opencv(data, header, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return pillow.color_pixels(pillow.open_image(io.BytesIO(data), header.kind))


def _decode_labels(data, header):
    """Decodes the values that are stored in a file."""
    if isinstance(header, tags.Page):
        return pixels.read_pixels(data, header)
    if header.palette or header.kind not in ("png", "pnm"):
        return pillow.stored_pixels(pillow.open_image(io.BytesIO(data), header.kind))
    labels = _decode_with_opencv(data, header, cv2.IMREAD_UNCHANGED)
    if header.kind == "png" and header.bits < 8:
        labels = labels // np.uint8(255 // (2**header.bits - 1))  # OpenCV spreads them over 0..255
    return labels


def _decode_with_opencv(data, header, flags):
    # The rotation is left to `_turn`, so that images and labels of all formats follow one rule.
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None or image.shape[:2] != (header.height, header.width):
        raise damaged("its pixels cannot be decoded")
    return image


def _in_color(image):
    """Returns an image with three channels; gray is repeated and alpha is dropped."""
    if image.ndim == 3 and image.shape[2] > 4:
        raise ImageError(
            f"it has {image.shape[2]} channels, but an image is read in color. Override "
            "load_image to read it yourself, or save three of its channels."
        )
    return to_channels(image, 3)


def _check_label(header):
    if header.lossy:
        raise ImageError(
            "a label image must not be compressed with losses, as JPEG does, because its labels "
            "are no longer what was saved. Save it as PNG or TIFF from the original labels."
        )
    headers.check_size(header.height, header.width, headers.LABEL_SAMPLE_BYTES)


def _one_channel(labels):
    """Returns one of several equal channels; the last of 2 or 4 is alpha."""
    if labels.shape[2] in (2, 4):
        labels = labels[..., :-1]
    if (labels != labels[..., :1]).any():
        raise ImageError(
            "a label image needs one number per pixel, but this one has colors. Save it with one "
            "channel of 8 or 16 bits."
        )
    return labels[..., 0]


def _turn(image, orientation):
    """Rotates and mirrors an image as an EXIF orientation of 1 to 8 asks for."""
    if orientation > 4:
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image
