"""Shared by the formats: text files of strangers, opened with care, and sizes of images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image as PillowImage

from mrcnn.errors import reading

MAX_DEPTH = 100  # levels of nesting; no annotation tool writes more than a dozen
ORIENTATION = 0x0112  # EXIF tag; values from 5 turn the image by 90 degrees


def read_text(path: str | os.PathLike, expected: str) -> str:
    """Reads a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Args:
        path: str or path. The file.
        expected: str. What the file should be, for the error.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not text.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file. Check the path.")
    with reading(path, expected):
        data = path.read_bytes()
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return data.decode("utf-16" if utf16 else "utf-8-sig")


def read_json(path: str | os.PathLike, expected: str) -> Any:
    """Reads a JSON file.

    Args:
        path: str or path. The file.
        expected: str. What the file should be, for the error, such as "a LabelMe file".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not JSON, naming the line.
    """
    text = read_text(path, expected)
    with reading(path, expected):
        return json.loads(text)


def read_xml(path: str | os.PathLike, expected: str) -> ElementTree.Element:
    """Reads an XML file without entities of its own, which could expand to any size.

    Args:
        path: str or path. The file.
        expected: str. What the file should be, for the error.

    Returns:
        The root element.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not XML, naming the line; or holds a DOCTYPE or more than 100 levels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file. Check the path.")
    with reading(path, expected):
        parser = ElementTree.XMLParser(target=_PlainTree())
        return ElementTree.parse(path, parser).getroot()


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns the (height, width) of an image file as it is shown, from its header alone.

    Args:
        path: str or path. The image file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such image file. Check the path.")
    with reading(path, "an image"), PillowImage.open(path) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION, 1) >= 5
        return (width, height) if turned else (height, width)


class _PlainTree(ElementTree.TreeBuilder):
    """Builds the tree of an XML file, and refuses what annotation files do not need."""

    def __init__(self):
        super().__init__()
        self._depth = 0

    def doctype(self, name, pubid, system):
        raise ValueError("it holds a DOCTYPE, which no annotation tool writes")

    def start(self, tag, attrs):
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        return super().start(tag, attrs)

    def end(self, tag):
        self._depth -= 1
        return super().end(tag)
