"""CreateML: one JSON file of boxes, given by their centers."""

from __future__ import annotations

import json
import os
from pathlib import Path

from mrcnn.data.annotations import Annotations, Image
from mrcnn.data.formats._tools import (
    Builder,
    ImageFolders,
    Part,
    candidates,
    describing,
    header_size,
    mentions,
    one_file,
)
from mrcnn.data.formats._values import NUMBER, field, rectangle
from mrcnn.data.formats._writing import class_names, file_names, outlines, target_file
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.texts import read_json

NAME = "createml"
WHAT = "a CreateML file"
IMAGE_KEYS = ("image", "imagefilename")  # the second is Apple's, the first that of most tools
LIST_KEYS = ("annotations", "annotation")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a CreateML file, or a folder that holds one."""
    return bool(candidates(path, _fits))


def read(path: str | os.PathLike, images: str | os.PathLike | None = None) -> Annotations:
    """Reads a file of boxes in pixels; there are no masks.

    Args:
        path: str or path. The JSON file, or a folder that holds it.
        images: str or path. The folder of the images. Defaults to None: the folder `images` beside
            the file, or the folder of the file.

    Returns:
        Annotations. The classes are sorted by name.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if the file is not CreateML's, or a box is damaged; naming the file.
    """
    file = one_file(path, _fits, "CreateML file")
    folders = ImageFolders(file, images)
    with reading(file, WHAT):
        entries = read_json(file, WHAT, max_bytes=None)
        if not isinstance(entries, list):
            raise ValueError("expected a list with one entry per image")
        builder = Builder(NAME, file, "boxes")
        for number, entry in enumerate(entries):
            try:
                name = field(entry, _key(entry, IMAGE_KEYS), str)
                boxes = field(entry, _key(entry, LIST_KEYS), list, [])
            except ValueError as error:
                raise ValueError(f"entry {number}: {error}") from error
            found = folders.find(name)
            height, width = header_size(found)
            image = builder.add_image(Image(name, found, height, width, file=str(file)))
            for index, box in enumerate(boxes):
                title = f"annotation {index}"
                with describing(image, title):
                    _add(builder, image, title, box)
        return builder.finish()


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a file of boxes; the images stay where they are.

    Args:
        annotations: Annotations without masks and crowds, with image files.
        path: str or path. The JSON file, or a folder for it.

    Raises:
        ValueError: if CreateML cannot hold the annotations.
    """
    file = target_file(path, "annotations.json")
    class_names(annotations, NAME)
    entries = []
    for image, name in zip(annotations.images, file_names(annotations), strict=True):
        boxes = []
        for outline in outlines(annotations, image, polygons=False):
            if outline.box is None:
                raise ValueError(
                    f"The format {NAME!r} holds boxes alone, but {image.path} has masks. Choose a "
                    "format with masks, such as 'coco'."
                )
            y1, x1, y2, x2 = (float(value) for value in outline.box)
            center = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1}
            boxes.append({"label": outline.label, "coordinates": center})
        entries.append({"image": name, "annotations": boxes})
    write_text(file, json.dumps(entries, ensure_ascii=False))


def _fits(path):
    return path.suffix.lower() == ".json" and (
        mentions(path, '"coordinates"', '"label"', '"image"', '"annotations"', start="[")
        or mentions(path, '"coordinates"', '"label"', '"imagefilename"', start="[")
    )


def _key(entry, keys):
    """Returns the key that an entry has."""
    return next((key for key in keys if isinstance(entry, dict) and key in entry), keys[0])


def _add(builder, image, title, box):
    label = field(box, "label", str)
    place = field(box, "coordinates", dict)
    x, y, width, height = (field(place, key, NUMBER) for key in ("x", "y", "width", "height"))
    if min(width, height) < 0:
        raise ValueError(f"its width and height must be at least 0, got {shorten(place)}")
    corners = rectangle(x - width / 2, y - height / 2, width, height)
    builder.add(image, label, title, [Part(corners, is_box=True)])
