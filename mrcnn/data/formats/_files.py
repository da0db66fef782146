"""Shared by the formats: XML files of strangers, and the images that annotation files name."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from xml.etree import ElementTree

from mrcnn.errors import printable, reading, shorten
from mrcnn.images.files import NameIndex

MAX_DEPTH = 100  # levels of nesting; no annotation tool writes more than a dozen
MAX_NAME = 4096  # characters of a file name: the longest path of Linux


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


# --- The images that annotations name ------------------------------------------------------------
class ImageFinder:
    """Finds the files that an annotation file names, inside one folder.

    A name as given comes first. Where there is no such file, the name is read with backslashes as
    separators, without a first part that repeats the name of the folder, and last without its
    folders. Last come files whose names are spelled otherwise; see `NameIndex`.

    Args:
        file: str or path. The annotation file, for errors.
        folder: Path. The image folder.
    """

    def __init__(self, file: str | os.PathLike, folder: Path):
        self.file = file
        self.folder = folder
        self._folder_name = folder.resolve().name
        self._names: dict[str, str] = {}  # which name was found where
        self._index = NameIndex()

    def find(self, name: str) -> str:
        """Returns the path of an image; the one as given if there is no file at all.

        Args:
            name: str. As in the annotation file.

        Raises:
            ValueError: if the name leaves the folder, fits several files, or fits the file of
                another name.
        """
        _check_inside(name, self.file)
        path = str(self.folder / name)
        if not os.path.isfile(path):
            path = self._guess(name) or path
        other = self._names.setdefault(path, name)
        if other != name:
            raise ValueError(
                f"{self.file}: file_name {other!r} and {name!r} both fit {path}: keep the folders "
                "that the names have in the file."
            )
        return path

    def _guess(self, name):
        parts = PureWindowsPath(name).parts  # splits at both kinds of slash
        inner = parts[1:] if parts[0] == self._folder_name else parts
        guesses = dict.fromkeys(guess for guess in (parts, inner, parts[-1:]) if guess)
        found = [os.path.join(self.folder, *guess) for guess in guesses]
        found = [path for path in found if os.path.isfile(path)]
        if not found:
            lists = (self._index.find(self.folder, guess) for guess in guesses)
            found = list(dict.fromkeys(path for paths in lists for path in paths))
        if len(found) > 1:
            raise ValueError(
                f"{self.file}: file_name {name!r} fits {' and '.join(found)}: correct the name, "
                "or remove the file that is not meant."
            )
        return found[0] if found else None


def _check_inside(name, file):
    """Refuses a name that is not a relative path inside its folder, on every system."""
    if not isinstance(name, str):
        raise ValueError(f"{file}: file_name must be text, got {shorten(name)}.")
    if "\0" in name or len(name) > MAX_NAME or printable(name) != name:
        raise ValueError(f"{file}: file_name {shorten(name)} cannot be the name of a file.")
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    outside = windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts
    if outside or not windows.parts:
        raise ValueError(
            f"{file}: file_name {shorten(name)} leaves the image folder. Give names relative to it."
        )
