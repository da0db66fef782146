"""Shared by the formats of color masks: PNG files whose colors stand for instances or classes."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np

from mrcnn.errors import reading, shorten
from mrcnn.images.files import open_label_image
from mrcnn.images.texts import read_text

# Decoding takes about 12 bytes per pixel, and a PNG of one color has a thousand pixels per byte.
MAX_PIXELS = 2**26
_LABEL = re.compile(r"(?P<name>[^:\n]+):(?P<rgb>\d+,\d+,\d+):[^:]*:[^:]*$")  # CVAT: labelmap.txt
_CAMVID = re.compile(r"(?P<rgb>\d+\s+\d+\s+\d+)\s+(?P<name>\S.*)$")  # CamVid: label_colors.txt


def read_colors(path: Path) -> np.ndarray:
    """Reads a mask of colors.

    Args:
        path: Path.

    Returns:
        uint32 [height, width], red * 65536 + green * 256 + blue; 0 where it is transparent.

    Raises:
        ValueError: if it is no image of 8 bits, is compressed with loss, or is half transparent.
    """
    with _open(path) as image:
        if image.mode not in ("P", "1", "L", "LA", "RGB", "RGBA"):
            raise ValueError(f"{path}: a color mask has 8 bits per channel, got {image.mode}.")
        has_alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
        pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    colors = pixels[..., 0].astype(np.uint32)
    for channel in (1, 2):
        colors <<= 8
        colors |= pixels[..., channel]
    if has_alpha:
        alpha = pixels[..., 3]
        if ((alpha > 0) & (alpha < 255)).any():
            raise ValueError(
                f"{path}: its edges are half transparent, so that they belong to no object. Export "
                "the masks without smoothing (anti-aliasing)."
            )
        colors[alpha == 0] = 0
    return colors


def read_numbers(path: Path) -> np.ndarray:
    """Reads a mask of numbers that are shown in the colors of Pascal VOC.

    Args:
        path: Path. A PNG with a palette, or one of the same colors without (CVAT).

    Returns:
        uint8 or int32 [height, width]. The positions in the palette.

    Raises:
        ValueError: as `read_colors`.
    """
    with _open(path) as image:
        if image.mode in ("P", "L"):
            return np.asarray(image)
    colors = read_colors(path)
    numbers = np.zeros(colors.shape, np.int32)
    for bit in range(8):  # bits 0, 1, 2 of the number are the highest of red, green and blue
        for channel, shift in enumerate((16, 8, 0)):
            numbers |= ((colors >> (shift + 7 - bit)) & 1).astype(np.int32) << (3 * bit + channel)
    return numbers


def voc_color(number: int) -> tuple[int, int, int]:
    """Returns the color that Pascal VOC shows a number in, as (red, green, blue).

    Args:
        number: int, from 0, black, up to 2**24 - 1. Different numbers have different colors.
    """
    channels = [0, 0, 0]
    for bit in range(24):
        channels[bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]


def read_labelmap(path: Path) -> dict[str, tuple[int, int, int]]:
    """Reads the colors of classes, as CVAT writes them to labelmap.txt or label_colors.txt.

    Args:
        path: Path. A file of rows `name:red,green,blue::` or `red green blue name`.

    Returns:
        dict of name to (red, green, blue), in the order of the file.

    Raises:
        ValueError: if a row is something else, or two classes have the same name or color.
    """
    expected = "a list of the colors of classes"
    text = read_text(path, expected)
    colors: dict[str, tuple[int, int, int]] = {}
    used = set()
    with reading(path, expected):
        for number, line in enumerate(text.splitlines(), 1):
            row = line.strip()
            if not row or row.startswith("#"):
                continue
            match = _LABEL.match(row) or _CAMVID.match(row)
            rgb = [int(part) for part in re.split(r"[\s,]+", match["rgb"])] if match else [256]
            if match is None or max(rgb) > 255:
                raise ValueError(f"line {number}: expected name:r,g,b::, got {shorten(line)}")
            color = (rgb[0], rgb[1], rgb[2])
            if match["name"] in colors or color in used:
                raise ValueError(f"line {number}: its name or color is there twice: {row}")
            colors[match["name"]] = color
            used.add(color)
    return colors


def labelmap(names: list[str]) -> str:
    """Returns the text of a labelmap.txt: class i has the color `voc_color(i)`.

    Args:
        names: list of str. Class 1 is the first.

    Raises:
        ValueError: if a name is there twice, is "background", or holds a colon or a line break.
    """
    rows = ["# label:color_rgb:parts:actions"]
    for number, name in enumerate(["background", *names]):
        row = f"{name}:{','.join(map(str, voc_color(number)))}::"
        if not _LABEL.fullmatch(row) or name in names[: max(number - 1, 0)]:
            raise ValueError(f"labelmap.txt cannot hold the class {shorten(name)}: rename it.")
        rows.append(row)
    if "background" in names:
        raise ValueError("labelmap.txt cannot hold a class 'background': rename it.")
    return "\n".join(rows) + "\n"


@contextlib.contextmanager
def _open(path):
    """Opens a mask image of a limited size. Every error of the block names the file."""
    with open_label_image(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has more than {MAX_PIXELS} pixels: cut it into tiles")
        yield image
