"""Labelbox: NDJSON export version 2; polygons, bounding boxes and masks."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import numpy as np

from mrcnn.data.annotations import Annotations, Image, Rle
from mrcnn.data.formats._folders import inside, size_of
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
from mrcnn.data.formats._values import NUMBER, decode_png, field, numbers, rectangle, sides
from mrcnn.data.formats._writing import class_names, file_names, outlines, target_file
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.files import open_label_image
from mrcnn.images.rle import decode_rle, mask_to_rle
from mrcnn.images.texts import read_json, read_text

NAME = "labelbox"
HOLDS_SCORES = True
WHAT = "a Labelbox export"
ONTOLOGY = ".ontology.json"  # the list of classes, which is written beside the rows
MASKS = "masks"  # the folder of downloaded masks, beside the file

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a Labelbox export, or a folder that holds one."""
    return bool(candidates(path, _fits))


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    rectangles: str = "auto",
) -> Annotations:
    """Reads an export.

    Labelbox stores masks on its servers. A mask is read from the file `masks/<feature_id>.png`
    beside the export, from the file that its address names inside that folder, or from a code in
    the export itself. Nothing is downloaded: other masks are left out, and a warning lists their
    addresses.

    Args:
        path: str or path. The file with one JSON object per line, or a folder that holds it.
        images: str or path. The folder of the images. Defaults to None: the folder `images` beside
            the file, or the folder of the file.
        rectangles: str. What a bounding box is: "boxes", only a box; "masks", a mask as well.
            Defaults to "auto": "masks" if there are also objects of other shapes.

    Returns:
        Annotations. Lines and points are left out with one warning, and so are rows that are not
        labeled. Of several labels of a row, the first is read.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if the file is not Labelbox's, or an object is damaged; naming the file.
    """
    file = one_file(path, _fits, "Labelbox export")
    folders = ImageFolders(file, images)
    with reading(file, WHAT):
        builder = Builder(NAME, file, rectangles)
        masks = _Masks(file)
        unlabeled = 0
        for number, row in _rows(file):
            labels = _labels(row, number)
            if not labels:
                unlabeled += 1
                continue
            image = builder.add_image(_image(row, number, folders))
            annotations = field(labels[0], "annotations", dict)
            if "frames" in annotations:
                raise ValueError(f"row {number} is a video, which cannot be read")
            for index, entry in enumerate(field(annotations, "objects", list, [])):
                with describing(image, f"object {index}"):
                    _add(builder, image, index, entry, masks)
        if unlabeled:
            logger.warning("%s: left out %d rows that are not labeled.", file, unlabeled)
        masks.warn()
        return builder.finish(_listed(file))


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes one row per image, and the classes beside, as the ontology `*.ontology.json`.

    An object of several parts, or with holes, is one polygon with slits. The images stay where they
    are.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The NDJSON file, or a folder for it.

    Raises:
        ValueError: if Labelbox cannot hold the annotations.
    """
    file = target_file(path, "export.ndjson", ".jsonl", ".json")
    names = class_names(annotations, NAME)
    rows = []
    for image, name in zip(annotations.images, file_names(annotations), strict=True):
        height, width = size_of(image)
        objects = [
            _object(outline, f"{len(rows)}-{number}")
            for number, outline in enumerate(outlines(annotations, image, polygons=True))
        ]
        label = {
            "label_kind": "Default",
            "version": "1.0.0",
            "id": f"label-{len(rows)}",
            "annotations": {"objects": objects, "classifications": [], "relationships": []},
        }
        row = {
            "data_row": {
                "id": str(image.id),
                "global_key": name,
                "external_id": name,
                "row_data": name,
            },
            "media_attributes": {"height": height, "width": width, "asset_type": "image"},
            "projects": {"mrcnn": {"name": "mrcnn", "labels": [label]}},
        }
        rows.append(json.dumps(row, ensure_ascii=False))
    write_text(file, "".join(f"{row}\n" for row in rows))
    tools = [{"tool": "polygon", "name": name, "required": False} for name in names]
    ontology = {"tools": tools, "classifications": []}
    write_text(file.with_suffix(ONTOLOGY), json.dumps(ontology, ensure_ascii=False))


# --- Reading the file ----------------------------------------------------------------------------
def _fits(path):
    is_json = path.suffix.lower() in (".ndjson", ".jsonl", ".json")
    return is_json and mentions(path, '"data_row"', '"projects"')


def _rows(file):
    """Yields the (number, row) of a file of lines; or of one list, which older exports are."""
    text = read_text(file, WHAT, max_bytes=None)
    if text.lstrip().startswith("["):
        yield from enumerate(json.loads(text))
        return
    # not splitlines: text values may hold other characters that end a line
    for number, line in enumerate(text.split("\n")):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number + 1}, column {error.colno}: {error.msg}") from error
            yield number, row


def _labels(row, number):
    """Returns the labels of a row, of all its projects."""
    try:
        projects = field(row, "projects", dict)
        return [
            label for project in projects.values() for label in field(project, "labels", list, [])
        ]
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from error


def _image(row, number, folders):
    """Returns the image of a row."""
    try:
        data = field(row, "data_row", dict)
        address = field(data, "row_data", str, "")
        keys = ("external_id", "global_key")
        names = [field(data, key, str, "") for key in keys]
        names += [PurePosixPath(unquote(_path_of(address))).name]
        names = [name for name in names if name]
        if not names:
            raise ValueError("its data_row has no external_id, global_key or row_data")
        path = folders.find(*names, loose=True)
        media = field(row, "media_attributes", dict, {})
        height, width = (field(media, key, int, None) for key in ("height", "width"))
        if height is None or width is None:
            height, width = header_size(path)
        else:
            height, width = sides(height, width)
    except ValueError as error:
        raise ValueError(f"{folders.file}: row {number}: {error}") from error
    image_id = data.get("id")
    image_id = image_id if isinstance(image_id, str) else number
    return Image(image_id, path, height, width, file=str(folders.file))


def _path_of(address):
    try:
        return urlsplit(address).path
    except ValueError:
        return ""


def _listed(file):
    """Returns the classes of the ontology that `write` puts beside its file."""
    ontology = file.with_suffix(ONTOLOGY)
    if not ontology.is_file():
        return []
    with reading(ontology, "a Labelbox ontology"):
        inside(ontology, file.parent)
        tools = field(read_json(ontology, "a Labelbox ontology"), "tools", list)
        names = [field(tool, "name", str) for tool in tools]
    return [(name, name) for name in names]


# --- Objects -------------------------------------------------------------------------------------
def _add(builder, image, index, entry, masks):
    title = f"object {index}"
    label = field(entry, "name", str)
    score = field(entry, "confidence", NUMBER, None)
    if "polygon" in entry:
        corners = field(entry, "polygon", list)
        values = [field(point, key, NUMBER) for point in corners for key in ("x", "y")]
        ring = numbers(values, "its polygon").reshape(-1, 2)
        builder.add(image, label, title, [Part(ring)], score)
    elif "bounding_box" in entry:
        box = field(entry, "bounding_box", dict)
        x, y, width, height = (
            field(box, key, NUMBER) for key in ("left", "top", "width", "height")
        )
        if min(width, height) < 0:
            raise ValueError(f"its width and height must be at least 0, got {width} and {height}")
        builder.add(image, label, title, [Part(rectangle(x, y, width, height), is_box=True)], score)
    elif "mask" in entry or "composite_mask" in entry:
        mask = masks.find(image, entry)
        if mask is None:
            builder.leave_out("masks that are not on this machine", image, title)
        else:
            builder.add(image, label, title, [Part(mask=mask)], score)
    else:
        kind = entry.get("annotation_kind", "without a shape")
        builder.leave_out(f"objects {shorten(kind)}", image, title)


class _Masks:
    """Finds the masks of an export, and remembers the addresses of those that are elsewhere."""

    def __init__(self, file):
        self._file = file
        folder = file.parent / MASKS
        found = inside(folder, file.parent) if folder.is_dir() else None
        self._downloaded = None if found is None else ImageFolders(file, found)
        self._beside = ImageFolders(file, file.parent)
        self._missing: list[str] = []

    def find(self, image, entry) -> Rle | None:
        """Returns the mask of an object as a code, or None if it is elsewhere."""
        if image.height is None:
            raise ValueError("the size of its image is missing: give height and width")
        size = (image.height, image.width)
        mask = field(entry, "mask", dict, {})
        composite = field(entry, "composite_mask", dict, {})
        code = mask.get("rle", mask)
        if isinstance(code, dict) and "counts" in code:
            if code.get("size") != [*size]:
                raise ValueError(
                    f"its code is of size {shorten(code.get('size'))}, but its image {[*size]}"
                )
            return self._checked(decode_rle({"size": size, "counts": code["counts"]}), size)
        data = mask.get("im_bytes", mask.get("imBytes"))
        if isinstance(data, str):
            return self._checked(decode_png(data, size), size)
        return self._from_files(entry, mask, composite, size)

    def _from_files(self, entry, mask, composite, size):
        name = PurePosixPath(field(entry, "feature_id", str, "")).name
        address = field(mask, "url", str, "")
        path = self._local(f"{name}.png" if name else "", address)
        if path is not None:
            return self._checked(_pixels(path, size).any(axis=-1), size)
        # one file for all objects of the image, each in a color of its own
        address = field(composite, "url", str, "") or address
        path = self._local("", address) if composite else None
        if path is None:
            self._missing.append(address)
            return None
        color = field(composite, "color_rgb", list, [])
        if len(color) != 3 or not all(type(value) is int and 0 <= value < 256 for value in color):
            raise ValueError(f"its color_rgb must be three numbers, got {shorten(color)}")
        return self._checked((_pixels(path, size) == color).all(axis=-1), size)

    def _local(self, name, address):
        """Returns the path of a mask that is on this machine, or None.

        Args:
            name: str. Its name in the folder of downloaded masks, or "".
            address: str. Its address, or the path of its file from the folder of the export.
        """
        try:
            is_remote = bool(urlsplit(address).scheme)
        except ValueError:
            is_remote = True
        paths = []
        if self._downloaded:
            names = [name, PurePosixPath(_path_of(address)).name]
            paths = [self._downloaded.find(name) for name in names if name]
        if address and not is_remote:
            paths.append(self._beside.find(address))
        return next((path for path in paths if os.path.isfile(path)), None)

    def _checked(self, mask, size):
        if mask.shape != size:
            raise ValueError(
                f"its mask is {mask.shape[0]}x{mask.shape[1]}, but its image {size[0]}x{size[1]}"
            )
        return Rle(**mask_to_rle(mask))

    def warn(self):
        """Lists the addresses of the masks that were not found."""
        if self._missing:
            logger.warning(
                "%s: %d masks are on the servers of Labelbox: download them as %s/<feature_id>.png "
                "beside the file. The first are %s.",
                self._file,
                len(self._missing),
                MASKS,
                ", ".join(shorten(address, 200) for address in self._missing[:5]),
            )


def _pixels(path, size):
    """Returns the colors of a mask file, uint8 [height, width, 3]."""
    with open_label_image(path) as image:
        if image.height > size[0] or image.width > size[1]:
            raise ValueError(f"it is {image.height}x{image.width}, larger than its image")
        return np.asarray(image.convert("RGB"))


# --- Writing -------------------------------------------------------------------------------------
def _object(outline, number):
    entry = {"feature_id": number, "name": outline.label, "value": _value(outline.label)}
    if outline.ring is not None:
        entry["annotation_kind"] = "ImagePolygon"
        entry["classifications"] = []
        entry["polygon"] = [{"x": x, "y": y} for x, y in outline.ring.tolist()]
    else:
        y1, x1, y2, x2 = (float(value) for value in outline.box)
        entry["annotation_kind"] = "ImageBoundingBox"
        entry["classifications"] = []
        entry["bounding_box"] = {"top": y1, "left": x1, "height": y2 - y1, "width": x2 - x1}
    if outline.score is not None:
        entry["confidence"] = float(outline.score)
    return entry


def _value(name):
    """Returns the name of a class as Labelbox uses it in addresses."""
    return "_".join(name.lower().split())
