"""Shared by the formats of annotation tools: finding files, building the record."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    Polygons,
    Rle,
    broken,
    iterate_masks,
)
from mrcnn.data.formats._files import MAX_NAME, ImageFinder
from mrcnn.data.formats._folders import inside, natural
from mrcnn.data.formats._values import rectangle
from mrcnn.errors import shorten
from mrcnn.images.files import read_size
from mrcnn.images.rle import mask_to_rle

# A folder with more files than this is not searched for the one annotation file of a tool: it
# holds one file per image. So a folder of 100,000 files is recognized in no time.
MAX_CANDIDATES = 20
SEARCHED_BYTES = 2**20  # at both ends of a file, to recognize it
RECTANGLES = ("auto", "boxes", "masks")

logger = logging.getLogger("mrcnn")


# --- Files ---------------------------------------------------------------------------------------
def mentions(path: Path, *texts: str, start: str = "") -> bool:
    """Returns whether the beginning or the end of a file holds all of the texts.

    The file is not parsed, so that a file of gigabytes is recognized in no time. The end is needed
    for keys that come after a long list.

    Args:
        path: Path.
        *texts: str. What to search, such as '"shapes"'.
        start: str. What the file must begin with, after white space. Defaults to "": anything.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(SEARCHED_BYTES)
        file.seek(max(path.stat().st_size - SEARCHED_BYTES, len(head)))
        tail = file.read(SEARCHED_BYTES)
    marks = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
    encoding = marks.get(head[:2], "utf-8")
    if not head[:256].decode(encoding, "replace").lstrip("\ufeff \t\r\n").startswith(start):
        return False
    return all(text.encode(encoding) in head or text.encode(encoding) in tail for text in texts)


def candidates(path: Path, fits: Callable[[Path], bool]) -> list[Path]:
    """Returns the annotation files of a tool that writes one file for all images.

    Args:
        path: Path. The file, or a folder that holds it.
        fits: function of a path. Whether a file is one.

    Returns:
        list of Path: `path` itself, or the files of the folder that fit. None if the folder holds
        more than 20 text files: then there is one for each image.
    """
    if not path.is_dir():
        return [path] if fits(path) else []
    suffixes = (".json", ".csv", ".xml", ".ndjson", ".jsonl")
    files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in suffixes)
    files = [file for file in files if not file.name.startswith(".")]
    return [file for file in files if fits(file)] if len(files) <= MAX_CANDIDATES else []


def one_file(path: str | os.PathLike, fits: Callable[[Path], bool], what: str) -> Path:
    """Returns the annotation file: the path itself, or the only one that fits in a folder.

    Args:
        path: str or path. A file or a folder.
        fits: function of a path. Whether a file is one.
        what: str. What the file is, for the error, such as "VIA file".

    Raises:
        FileNotFoundError: if there is no such path.
        ValueError: if the folder does not hold exactly one.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such annotation file. Check the path.")
    if not path.is_dir():
        return path
    found = candidates(path, fits)
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        raise ValueError(f"{path}: expected one {what}, found {names}. Name the file itself.")
    return inside(found[0], path)


class ImageFolders:
    """Finds the files that an annotation file names, and never one outside their folders.

    Args:
        file: path. The annotation file.
        images: str, path or None. The folder of the images. None: the folder `images` beside the
            annotation file if there is one, then the folder of the annotation file.

    Raises:
        FileNotFoundError: if `images` is not a folder.
    """

    def __init__(self, file: Path, images: str | os.PathLike | None):
        if images is not None and not Path(images).is_dir():
            raise FileNotFoundError(f"{images}: no such image folder. Check the path.")
        folders = [file.parent] if images is None else [Path(images)]
        beside = file.parent / "images"
        if images is None and beside.is_dir():
            folders.insert(0, inside(beside, file.parent))
        self.file = file
        self._finders = [ImageFinder(file, folder) for folder in folders]

    def find(self, name: Any, *others: str, loose: bool = False) -> str:
        """Returns the path of an image; the one that its name says if there is no such file.

        Args:
            name: str. The name in the annotation file.
            *others: str. Further names that it may have.
            loose: bool. Whether a name that leads outside the folder is looked up without its
                folders, for tools that write where the image was on their machine. Defaults to
                False: it is refused.

        Raises:
            ValueError: if `name` is not text, leads outside the folder, also by a link, or fits
                several files.
        """
        if isinstance(name, str) and (len(name) > MAX_NAME or "\0" in name):
            raise ValueError(f"{self.file}: the file name {shorten(name)} is not valid.")
        refused = None
        first = None
        bare = [PureWindowsPath(name).name] if loose and isinstance(name, str) else []
        for guess in dict.fromkeys([name, *filter(None, bare), *others]):
            for finder in self._finders:
                try:
                    path = finder.find(guess)
                except ValueError as error:
                    refused = refused or error
                    break
                if os.path.isfile(path):
                    return str(inside(Path(path), finder.folder))
                first = first or path
            if refused and not loose:
                break
        if refused:
            raise refused
        return str(first)


def header_size(path: str) -> tuple[int | None, int | None]:
    """Returns the (height, width) of an image file, or (None, None) if it cannot be read.

    A missing or damaged image is reported when it is loaded, and by the check of the data set.
    """
    try:
        return read_size(path)
    except (OSError, ValueError):
        return None, None


# --- Building the record --------------------------------------------------------------------------
@contextlib.contextmanager
def describing(image: Image, name: str) -> Iterator[None]:
    """Names the file, the object and the image in every error about an object."""
    try:
        yield
    except Exception as error:
        text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        if text.startswith(f"{image.file}: {name} of image"):
            raise
        text = text.removeprefix(f"{image.file}: ")
        raise broken(image, name, text[:400].removesuffix(".")) from error


@dataclass(slots=True)
class Part:
    """What an object is made of: a polygon, a mask or an upright rectangle.

    Attributes:
        ring: array [num_points, 2], x, y; or None if it is a mask.
        mask: Rle or None.
        is_box: bool. Whether the ring is an upright rectangle.
    """

    ring: np.ndarray | None = None
    mask: Rle | None = None
    is_box: bool = False


class Builder:
    """Builds the record of a file whose objects carry the names of their classes.

    Args:
        source: str. The name of the format.
        file: path. What holds the annotations, for warnings.
        rectangles: str. What an upright rectangle is: "boxes", only a box; "masks", a mask as
            well; "auto", a mask if some object of the file has another shape than a rectangle.
    """

    def __init__(self, source: str, file: str | os.PathLike, rectangles: str = "auto"):
        if rectangles not in RECTANGLES:
            raise ValueError(f"rectangles must be one of {RECTANGLES}, got {rectangles!r}.")
        self.source = source
        self.file = file
        self.images: list[Image] = []
        self._rectangles = rectangles
        self._labels: list[tuple[Instance, str]] = []
        self._left_out: Counter = Counter()
        self._first_left_out = ""

    def add_image(self, image: Image) -> Image:
        """Adds an image; its instances are added afterwards."""
        image.instances = []
        self.images.append(image)
        return image

    def add(
        self,
        image: Image,
        label: str,
        name: str,
        parts: Sequence[Part],
        score: float | None = None,
    ) -> None:
        """Adds an object to an image; one without a usable part is left out.

        Args:
            image: Image. One that was added.
            label: str. The name of its class.
            name: str. What errors call it.
            parts: list of Part. What it is the union of.
            score: float. Defaults to None.
        """
        usable = [part for part in parts if part.ring is None or len(part.ring) > 2]
        for _ in range(len(parts) - len(usable)):
            self.leave_out("polygons of fewer than 3 points", image, name)
        if usable and not label:
            self.leave_out("objects without a class", image, name)
        if not usable or not label:
            return
        box = shape = None
        if len(usable) == 1 and usable[0].ring is not None and usable[0].is_box:
            x1, y1 = usable[0].ring.min(axis=0).tolist()
            x2, y2 = usable[0].ring.max(axis=0).tolist()
            box = (y1, x1, y2, x2)
        else:
            shape = _union(image, usable)
        instance = Instance(class_id=0, shape=shape, box=box, name=name, score=score)
        image.instances.append(instance)  # type: ignore[attr-defined]
        self._labels.append((instance, label))

    def leave_out(self, kind: str, image: Image, name: str) -> None:
        """Counts an object that cannot be used, for the one warning about all of them."""
        self._first_left_out = self._first_left_out or f"{name} of {image.path}"
        self._left_out[kind] += 1

    def labels(self) -> set[str]:
        """Returns the names of the classes of the objects so far."""
        return {label for _, label in self._labels}

    def finish(self, listed: Iterable[tuple[Any, str]] = ()) -> Annotations:
        """Numbers the classes and returns the record.

        Args:
            listed: pairs of (id in the source, name), the classes that the file lists, in its
                order. Classes of objects that are not in the list follow, sorted by name.

        Returns:
            Annotations.
        """
        classes = list({name: (number, name) for number, name in listed}.values())
        known = {name for _, name in classes}
        found = self.labels() - known
        classes += [(name, name) for name in sorted(found, key=natural)]
        class_ids = {name: index for index, (_, name) in enumerate(classes, 1)}
        has_shapes = any(instance.shape is not None for instance, _ in self._labels)
        as_masks = self._rectangles == "masks" or (self._rectangles == "auto" and has_shapes)
        drawn = 0
        for instance, label in self._labels:
            instance.class_id = class_ids[label]
            if as_masks and instance.shape is None and instance.box is not None:
                y1, x1, y2, x2 = instance.box
                instance.shape = Polygons([rectangle(x1, y1, x2 - x1, y2 - y1).ravel()])
                drawn += 1
        if drawn and self._rectangles == "auto":
            logger.info(
                "%s: %d rectangles among other shapes are masks. If they are only boxes, read with "
                'rectangles="boxes".',
                self.file,
                drawn,
            )
        if self._left_out:
            counts = ", ".join(f"{count} {kind}" for kind, count in self._left_out.most_common(10))
            logger.warning(
                "%s: left out %s. The first is %s.",
                self.file,
                counts,
                self._first_left_out,
            )
        return Annotations(self.source, classes, self.images)


def _union(image, parts):
    """Returns the shape of an object of several parts."""
    if len(parts) == 1 and parts[0].mask is not None:
        return parts[0].mask
    polygons = Polygons([part.ring.ravel() for part in parts if part.ring is not None])
    masks = [part.mask for part in parts if part.mask is not None]
    if not masks:
        return polygons
    shapes = [*masks, polygons] if polygons.points else masks
    instances = [Instance(1, shape=shape) for shape in shapes]
    drawn = iterate_masks(replace(image, instances=instances))
    union = next(drawn)[1].copy()
    for _, mask in drawn:
        union |= mask
    return Rle(**mask_to_rle(union))
