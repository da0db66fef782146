"""LabelMe: one JSON file per image, beside it; polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import os
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from mrcnn.data.annotations import Annotations, Image
from mrcnn.data.formats import _folders
from mrcnn.data.formats._tools import (
    MAX_CANDIDATES,
    Builder,
    ImageFolders,
    Part,
    describing,
    header_size,
    mentions,
)
from mrcnn.data.formats._values import (
    NUMBER,
    decode_png,
    ellipse,
    field,
    place,
    points,
    rectangle,
    sides,
)
from mrcnn.data.formats._writing import class_names, outlines
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.masks import mask_bounds
from mrcnn.images.outlines import trace
from mrcnn.images.texts import read_json, read_text

NAME = "labelme"
HOLDS_SCORES = True
WHAT = "a LabelMe file"
LABELS = "labels.txt"  # the list of classes that LabelMe takes as --labels
NO_CLASSES = ("__ignore__", "_background_")  # entries of that list with a meaning of their own
RINGS = ("polygon", "rotation", "oriented_rectangle")  # kinds that are stored as their corners
VERSION = "5.5.0"  # of LabelMe, whose files are written

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a LabelMe file, or a folder of them."""
    if not path.is_dir():
        return _fits(path)
    return any(_fits(file) for file in _json_files(path)[:MAX_CANDIDATES])


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    rectangles: str = "auto",
) -> Annotations:
    """Reads one file or all files of a folder.

    Shapes of one class with the same `group_id` are one object. The classes are in the order of
    the file `labels.txt` beside the files if there is one, otherwise sorted by name.

    Args:
        path: str or path. A JSON file, or the folder of the files.
        images: str or path. The folder of the images. Defaults to None: the folder `images` beside
            the files, or their own folder.
        rectangles: str. What a rectangle is: "boxes", only a box; "masks", a mask as well. Defaults
            to "auto": "masks" if there are also objects of other shapes.

    Returns:
        Annotations. Lines and points are left out with one warning.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if a file is not LabelMe's, or a shape is damaged; naming the file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such annotation file or folder. Check the path.")
    files = [path]
    if path.is_dir():
        files = _json_files(path)
        others = [file.name for file in files if not _fits(file)]
        files = [_folders.inside(file, path) for file in files if file.name not in others]
        if others:
            names = ", ".join(others[:5])
            logger.warning("%s: left out %d other files: %s.", path, len(others), names)
        if not files:
            raise ValueError(f"{path}: the folder holds no LabelMe files (*.json).")
    builder = Builder(NAME, path, rectangles)
    for file in files:
        folders = ImageFolders(file, images)
        with reading(file, WHAT):
            _read_file(file, folders, builder)
    return builder.finish(_listed(files[0].parent, builder.labels()))


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder: a copy of each image, its JSON file, and the list of classes `labels.txt`.

    An object of several parts, or with holes, is a mask.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The folder.

    Raises:
        ValueError: if LabelMe cannot hold the annotations.
    """
    folder = Path(path)
    names = class_names(annotations, NAME)
    for stem, image in _folders.by_stem(annotations).items():
        source = Path(image.path or "")
        height, width = _folders.size_of(image)
        data = {
            "version": VERSION,
            "flags": {},
            "shapes": [_shape(outline) for outline in outlines(annotations, image, polygons=False)],
            "imagePath": source.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        if folder.resolve() != source.parent.resolve():
            _folders.copy_image(image, folder)
        write_text(folder / f"{stem}.json", json.dumps(data, ensure_ascii=False, indent=2))
    write_text(folder / LABELS, "".join(f"{name}\n" for name in [*NO_CLASSES[:1], *names]))


# --- Reading a file ------------------------------------------------------------------------------
def _json_files(folder):
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json")
    return [file for file in files if not file.name.startswith(".")]


def _fits(path):
    if path.suffix.lower() != ".json":
        return False
    # the name of the image may be between long shapes and the pixels of the image
    return mentions(path, '"shapes"', '"imagePath"', start="{") or mentions(
        path, '"shapes"', '"imageHeight"', start="{"
    )


def _read_file(file, folders, builder):
    data = read_json(file, WHAT, max_bytes=None)
    shapes = field(data, "shapes", list)
    name = field(data, "imagePath", str)
    # Image files are often renamed together with their annotation file.
    beside = file.stem + PureWindowsPath(name).suffix
    found = folders.find(name, beside, loose=True)
    height, width = field(data, "imageHeight", int, None), field(data, "imageWidth", int, None)
    if height is None or width is None:
        height, width = header_size(found)
    else:
        height, width = sides(height, width)
    image = builder.add_image(Image(file.stem, found, height, width, file=str(file)))
    objects: dict[Any, list] = {}
    for number, shape in enumerate(shapes):
        with describing(image, f"shape {number}"):
            label = field(shape, "label", str)
            kind = field(shape, "shape_type", str, "polygon")  # LabelMe 2 has polygons only
            group = shape.get("group_id")
            if isinstance(group, (dict, list)):
                raise ValueError(f"its group_id must be a whole number, got {shorten(group)}")
            score = field(shape, "score", NUMBER, None)
            part = _part(image, kind, shape)
        if part is None:
            builder.leave_out(f"shapes of the kind {shorten(kind)}", image, f"shape {number}")
            continue
        # without a group, a shape is an object of its own
        key = (label, "shape", number) if group is None else (label, "group", group)
        objects.setdefault(key, []).append((number, part, score))
    for (label, *_), parts in objects.items():
        number, _, score = parts[0]
        with describing(image, f"shape {number}"):
            builder.add(image, label, f"shape {number}", [part for _, part, _ in parts], score)


def _part(image, kind, shape):
    """Returns what a shape adds to its object, or None if it has no area."""
    if kind == "mask":
        return Part(mask=_mask(image, shape))
    if kind not in (*RINGS, "rectangle", "circle"):
        return None
    corners = points(shape.get("points"))
    if kind in RINGS:
        return Part(corners)
    if len(corners) != 2 and not (kind == "rectangle" and len(corners) == 4):
        raise ValueError(f"a {kind} has 2 points, but it has {len(corners)}")
    if kind == "circle":
        (x, y), edge = corners.tolist()
        radius = math.dist((x, y), edge)
        return Part(ellipse(x, y, radius, radius))
    (x1, y1), (x2, y2) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Part(rectangle(x1, y1, x2 - x1, y2 - y1), is_box=True)


def _mask(image, shape):
    """Returns the run-length code of a shape that is a PNG of the pixels inside a box."""
    if image.height is None:
        raise ValueError("the size of its image is missing: give imageHeight and imageWidth")
    # LabelMe cuts the fractions off
    x, y = points(shape.get("points")).min(axis=0).astype(np.int64).tolist()
    crop = decode_png(field(shape, "mask", str), (image.height, image.width))
    return place(crop, x, y, (image.height, image.width))


def _listed(folder, used):
    """Returns the classes of the list beside the files, or none if it is a list of others."""
    file = folder / LABELS
    if not file.is_file():
        return []
    text = read_text(_folders.inside(file, folder), "a list of classes")
    lines = (line.strip() for line in text.splitlines())
    names = [line for line in lines if line and line not in NO_CLASSES]
    return [(name, name) for name in names] if not used or used.intersection(names) else []


# --- Writing -------------------------------------------------------------------------------------
def _shape(outline):
    kind, corners, mask = "polygon", outline.ring, None
    if outline.box is not None:
        y1, x1, y2, x2 = outline.box
        kind, corners = "rectangle", np.array([[x1, y1], [x2, y2]], np.float64)
    elif outline.mask is not None:
        kind, corners, mask = _drawn(outline.mask)
    shape = {
        "label": outline.label,
        "points": corners.tolist(),
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": mask,
    }
    return shape if outline.score is None else {**shape, "score": float(outline.score)}


def _drawn(mask):
    """Returns the (kind, points, PNG file in base64) of a mask; a polygon if one draws it."""
    parts = trace(mask)
    if len(parts) == 1 and not parts[0][1]:
        return "polygon", parts[0][0].astype(np.float64), None
    y1, x1, y2, x2 = mask_bounds(mask) or (0, 0, 0, 0)
    file = io.BytesIO()
    PillowImage.fromarray(mask[y1:y2, x1:x2]).save(file, format="PNG")
    corners = np.array([[x1, y1], [x2 - 1, y2 - 1]], np.float64)  # the last one is inside
    return "mask", corners, base64.b64encode(file.getvalue()).decode("ascii")
