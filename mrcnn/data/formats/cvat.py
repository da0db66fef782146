"""CVAT for images 1.1: one XML file; polygons, boxes, ellipses and masks, all may be rotated."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from mrcnn.data.annotations import Annotations, Image
from mrcnn.data.formats._files import read_xml
from mrcnn.data.formats._folders import size_of
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
from mrcnn.data.formats._values import MAX_NUMBER, ellipse, place, rectangle, rotate, sides
from mrcnn.data.formats._writing import class_names, file_names, outlines, target_file
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.masks import mask_bounds

NAME = "cvat"
HOLDS_SCORES = True
WHAT = "a CVAT for images 1.1 file"
SHAPES = ("polygon", "box", "ellipse", "mask")
OTHER_SHAPES = ("polyline", "points", "cuboid", "skeleton")
# Labels of these types are not for objects with a mask or a box.
OTHER_TYPES = ("tag", "points", "polyline", "cuboid", "skeleton")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a CVAT XML file, or a folder that holds one."""
    return bool(candidates(path, _fits))


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    rectangles: str = "auto",
) -> Annotations:
    """Reads the annotations of a task, a job or a project.

    Shapes of one label in the same group are one object. The objects of an image are in the order
    of their layers (`z_order`), the lowest first.

    Args:
        path: str or path. The XML file, or a folder that holds it.
        images: str or path. The folder of the images. Defaults to None: the folder `images` beside
            the file, or the folder of the file.
        rectangles: str. What an upright box is: "boxes", only a box; "masks", a mask as well.
            Defaults to "auto": "masks" if there are also objects of other shapes.

    Returns:
        Annotations. Polylines, points, cuboids and skeletons are left out with one warning.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if the file is not CVAT's, or a shape is damaged; naming the file.
    """
    file = one_file(path, _fits, "CVAT XML file")
    folders = ImageFolders(file, images)
    with reading(file, WHAT):
        root = read_xml(file, WHAT)
        if root.tag != "annotations":
            raise ValueError(f"its root is <{shorten(root.tag)}>, expected <annotations>")
        if root.find("track") is not None:
            raise ValueError(
                "it holds tracks of a video: export the task again as 'CVAT for images 1.1'"
            )
        builder = Builder(NAME, file, rectangles)
        for element in root.iterfind("image"):
            _read_image(element, folders, builder)
        return builder.finish(_labels(root))


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes one XML file; the images stay where they are.

    An object of several parts, or with holes, is a mask.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The XML file, or a folder for it.

    Raises:
        ValueError: if CVAT cannot hold the annotations.
    """
    file = target_file(path, "annotations.xml")
    labels = class_names(annotations, NAME)
    names = file_names(annotations)
    # characters that XML cannot hold in any form
    for name in (*labels, *names):
        if re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]", name):
            raise ValueError(f"The name {shorten(name)} holds a character that XML cannot hold.")
    root = ElementTree.Element("annotations")
    _element(root, "version", "1.1")
    task = _element(_element(root, "meta"), "task")
    _element(task, "name", file.stem)
    _element(task, "size", str(len(names)))
    _element(task, "mode", "annotation")
    listed = _element(task, "labels")
    for label in labels:
        entry = _element(listed, "label")
        _element(entry, "name", label)
        _element(entry, "type", "any")
        _element(entry, "attributes")
    ids = [image.id for image in annotations.images]
    keep = all(type(number) is int and number >= 0 for number in ids) and len(set(ids)) == len(ids)
    for index, (image, name) in enumerate(zip(annotations.images, names, strict=True)):
        height, width = size_of(image)
        size = {"width": str(width), "height": str(height)}
        entry = _element(root, "image", id=str(image.id if keep else index), name=name, **size)
        for outline in outlines(annotations, image, polygons=False):
            _write_shape(entry, outline)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_text(file, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


# --- Reading the file ----------------------------------------------------------------------------
def _fits(path):
    # <meta> tells it from other XML files whose root is <annotations>
    is_xml = path.suffix.lower() == ".xml"
    return is_xml and mentions(path, "<annotations>", "<version>", "<meta>", start="<")


def _labels(root):
    """Returns the labels of the task, in their order, without the parts of skeletons."""
    names = []
    for label in root.iterfind("meta//labels/label"):
        name, kind = label.findtext("name"), label.findtext("type")
        if name and kind not in OTHER_TYPES and label.find("parent") is None:
            names.append((name, name))
    return names


def _read_image(element, folders, builder):
    name = element.get("name")
    if not name:
        raise ValueError("an <image> has no name")
    # an export of several subsets has a folder for each
    guesses = [f"{element.get('subset')}/{name}"] if element.get("subset") else []
    path = folders.find(name, *guesses)
    number = element.get("id", "")
    image_id = int(number) if re.fullmatch(r"[0-9]{1,18}", number) else name
    image = builder.add_image(Image(image_id, path, file=str(folders.file)))
    image.height, image.width = header_size(path)
    if element.get("height") and element.get("width"):
        with describing(image, "the size"):
            image.height, image.width = sides(int(element.get("height")), int(element.get("width")))
    objects: dict[Any, list] = {}
    for index, shape in enumerate(_by_layer(element, image)):
        title = f"{shape.tag} {shape.get('label')!r} number {index}"
        if shape.tag not in SHAPES:
            builder.leave_out(f"shapes <{shape.tag}>", image, title)
            continue
        with describing(image, title):
            label = shape.get("label")
            if not label:
                raise ValueError("it has no label")
            score = _number(shape, "score") if "score" in shape.attrib else None
            group = shape.get("group_id", "0")
            # without a group, a shape is an object of its own
            key = (label, "shape", index) if group == "0" else (label, "group", group)
            objects.setdefault(key, []).append((title, _part(image, shape), score))
    for (label, *_), parts in objects.items():
        title, _, score = parts[0]
        with describing(image, title):
            builder.add(image, label, title, [part for _, part, _ in parts], score)


def _by_layer(element, image):
    """Returns the shapes of an image, those of the lowest layer first."""
    shapes = [shape for shape in element if shape.tag in (*SHAPES, *OTHER_SHAPES)]
    with describing(image, "the z_order of a shape"):
        return sorted(shapes, key=lambda shape: _number(shape, "z_order", 0))


def _part(image, shape):
    """Returns what a shape adds to its object."""
    angle = math.radians(_number(shape, "rotation", 0))
    if shape.tag == "mask":
        return Part(mask=_mask(image, shape))
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";")]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"its points must be x,y;x,y;..., got {shorten(shape.get('points'))}")
        return Part(np.array([[_float(x), _float(y)] for x, y in pairs]))
    if shape.tag == "ellipse":
        x, y, *radii = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
        if min(radii) < 0:
            raise ValueError(f"its radius must be at least 0, got {min(radii)}")
        return Part(rotate(ellipse(x, y, *radii), (x, y), angle))
    x1, y1, x2, y2 = (_number(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    if x2 < x1 or y2 < y1:
        raise ValueError(f"its corners ({x1}, {y1}) and ({x2}, {y2}) are in the wrong order")
    corners = rectangle(x1, y1, x2 - x1, y2 - y1)
    return Part(rotate(corners, corners.mean(axis=0), angle), is_box=angle == 0)


def _mask(image, shape):
    """Returns the code of a mask: runs of pixels outside and inside, row by row, in a box."""
    if image.height is None:
        raise ValueError("the size of its image is missing: give height and width")
    left, top, width, height = (
        int(_number(shape, key)) for key in ("left", "top", "width", "height")
    )
    if not (0 < width <= image.width and 0 < height <= image.height):
        raise ValueError(f"its mask of {height}x{width} is empty or larger than its image")
    runs = [int(run) for run in shape.get("rle", "").split(",")]
    if min(runs) < 0 or sum(runs) != height * width:
        raise ValueError(f"the runs of its mask must add up to {height} * {width}")
    values = np.arange(len(runs)) % 2 == 1  # the first run is outside
    crop = np.repeat(values, runs).reshape(height, width)
    return place(crop, left, top, (image.height, image.width))


def _number(shape, key, default=None):
    """Returns an attribute of a shape as a float."""
    text = shape.get(key)
    if text is None and default is not None:
        return float(default)
    if text is None:
        raise ValueError(f"it has no {key}")
    return _float(text)


def _float(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= MAX_NUMBER:
        raise ValueError(f"expected a number, got {shorten(text)}")
    return value


# --- Writing -------------------------------------------------------------------------------------
def _element(parent, tag, text=None, **attributes):
    element = ElementTree.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _write_shape(parent, outline):
    common = {"label": outline.label, "source": "manual", "occluded": "0"}
    if outline.score is not None:
        common |= {"source": "auto", "score": str(float(outline.score))}
    if outline.ring is not None:
        points = ";".join(f"{x!r},{y!r}" for x, y in outline.ring.tolist())
        _element(parent, "polygon", **common, points=points, z_order="0")
    elif outline.box is not None:
        top, left, bottom, right = (repr(float(value)) for value in outline.box)
        _element(parent, "box", **common, xtl=left, ytl=top, xbr=right, ybr=bottom, z_order="0")
    else:
        y1, x1, y2, x2 = mask_bounds(outline.mask) or (0, 0, 0, 0)
        flat = outline.mask[y1:y2, x1:x2].ravel()
        edges = np.flatnonzero(np.diff(flat, prepend=False))
        runs = np.diff(edges, prepend=0, append=flat.size)
        sizes = {"left": x1, "top": y1, "width": x2 - x1, "height": y2 - y1}
        bounds = {key: str(value) for key, value in sizes.items()}
        rle = ", ".join(map(str, runs.tolist()))
        _element(parent, "mask", **common, rle=rle, **bounds, z_order="0")
