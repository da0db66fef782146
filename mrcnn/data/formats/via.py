"""VIA (VGG Image Annotator) 1 and 2: a project, or its JSON or CSV export.

Regions are polygons, rectangles, circles and ellipses. The class is an attribute of the regions.
"""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

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
from mrcnn.data.formats._values import NUMBER, ellipse, field, numbers, rectangle, rotate
from mrcnn.data.formats._writing import class_names, file_names, outlines, target_file
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.texts import read_json, read_text

NAME = "via"
WHAT = "a VIA file"
CHOICES = ("dropdown", "radio", "checkbox")  # attributes of VIA 2 with a list of options


def looks_like(path: Path) -> bool:
    """Returns whether a path is a VIA project or export, or a folder that holds one."""
    return bool(candidates(path, _fits))


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    attribute: str | None = None,
    class_name: str = "object",
    rectangles: str = "auto",
) -> Annotations:
    """Reads a project, a JSON export or a CSV export.

    Args:
        path: str or path. The file, or a folder that holds one.
        images: str or path. The folder of the images. Defaults to None: the folder `images` beside
            the file, or the folder of the file.
        attribute: str. The region attribute that names the class. Defaults to None: the only one
            that is used.
        class_name: str. The name of the one class where regions have no attribute. Defaults to
            "object".
        rectangles: str. What a rectangle is: "boxes", only a box; "masks", a mask as well. Defaults
            to "auto": "masks" if there are also regions of other shapes.

    Returns:
        Annotations. Polylines, points and regions without a class are left out with one warning.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if the file is not VIA's, the class is in none or several attributes, or a
            region is damaged; naming the file.
    """
    file = one_file(path, _fits, "VIA file")
    folders = ImageFolders(file, images)
    with reading(file, WHAT):
        is_table = file.suffix.lower() == ".csv"
        entries, declared = _table(file) if is_table else _entries(file)
        builder = Builder(NAME, file, rectangles)
        regions = [_regions(entry, file) for entry in entries]
        attribute = _attribute(attribute, regions, file)
        options = _options(declared, attribute)
        for entry, listed in zip(entries, regions, strict=True):
            name = field(entry, "filename", str)
            found = folders.find(name)
            height, width = header_size(found)
            image = builder.add_image(Image(name, found, height, width, file=str(file)))
            for number, region in listed:
                label = f"region {number}"
                with describing(image, label):
                    _add(builder, image, label, region, attribute, options, class_name)
        return builder.finish(options.items())


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a VIA 2 project; the images stay where they are.

    An object of several parts, or with holes, is one polygon with slits. VIA has no place for
    scores.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The JSON file, or a folder for it.

    Raises:
        ValueError: if VIA cannot hold the annotations.
    """
    file = target_file(path, "via_project.json")
    names = class_names(annotations, NAME)
    metadata = {}
    for image, name in zip(annotations.images, file_names(annotations), strict=True):
        size = os.path.getsize(image.path or "") if os.path.isfile(image.path or "") else -1
        metadata[f"{name}{size}"] = {
            "filename": name,
            "size": size,
            "regions": [
                {
                    "shape_attributes": _shape_attributes(outline),
                    "region_attributes": {"class": outline.label},
                }
                for outline in outlines(annotations, image, polygons=True)
            ],
            "file_attributes": {},
        }
    choice = {
        "type": "dropdown",
        "description": "",
        "options": dict.fromkeys(names, ""),
        "default_options": {},
    }
    project = {
        "_via_settings": _settings(file.stem),
        "_via_img_metadata": metadata,
        "_via_attributes": {"region": {"class": choice}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(metadata),
    }
    write_text(file, json.dumps(project))


# --- Reading the file ----------------------------------------------------------------------------
def _fits(path):
    suffix = path.suffix.lower()
    if suffix == ".csv" and path.is_file():
        with path.open("rb") as file:
            return b"region_shape_attributes" in file.readline(1000)
    return suffix == ".json" and (
        mentions(path, '"_via_img_metadata"', start="{")
        or mentions(path, '"shape_attributes"', '"regions"', '"filename"', start="{")
        or mentions(path, '"file_attributes"', '"regions"', '"filename"', start="{")
    )


def _entries(file):
    """Returns the entries of the images of a JSON file, and the declared region attributes."""
    data = read_json(file, WHAT, max_bytes=None)
    declared: dict = {}
    if isinstance(data, dict) and "_via_img_metadata" in data:
        attributes = field(data, "_via_attributes", dict, {})
        declared = field(attributes, "region", dict, {})
        data = data["_via_img_metadata"]
    if not isinstance(data, dict) or not all(isinstance(entry, dict) for entry in data.values()):
        raise ValueError("expected an object with one entry per image")
    return list(data.values()), declared


def _table(file):
    """Returns the entries of the images of a CSV file, as those of a JSON file."""
    text = read_text(file, WHAT, max_bytes=None)
    # The limit of a field is 131,072 characters, fewer than a long polygon has.
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    try:
        table = csv.DictReader(io.StringIO(text.removeprefix("#"), newline=""), strict=True)
        if "region_shape_attributes" not in (table.fieldnames or ()):
            raise ValueError('its first line has no column "region_shape_attributes"')
        rows = list(table)
    finally:
        csv.field_size_limit(limit)
    entries: dict[str, dict] = {}
    for row in rows:
        name = field(row, "filename", str)
        entry = entries.setdefault(name, {"filename": name, "regions": []})
        shape, attributes = (
            json.loads(field(row, column, str, "{}") or "{}")
            for column in ("region_shape_attributes", "region_attributes")
        )
        if shape:  # an image without regions has one row without a shape
            entry["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    return list(entries.values()), {}


def _regions(entry, file):
    """Returns the regions of an image with their numbers: a list in VIA 2, a dictionary in 1."""
    regions = entry.get("regions") or []
    pairs = list(regions.items() if isinstance(regions, dict) else enumerate(regions))
    for number, region in pairs:
        if not isinstance(region, dict) or not isinstance(
            region.get("region_attributes", {}) or {}, dict
        ):
            name = shorten(entry.get("filename"))
            raise ValueError(
                f"{file}: region {shorten(number)} of image {name} is {shorten(region)}: expected "
                "shape_attributes and region_attributes."
            )
    return pairs


# --- The class of a region -----------------------------------------------------------------------
def _attribute(attribute, regions, file):
    """Returns the name of the attribute that holds the class, or None if no region has any."""
    used: dict[str, None] = {}
    for listed in regions:
        for _, region in listed:
            attributes = region.get("region_attributes") or {}
            used.update(dict.fromkeys(key for key, value in attributes.items() if value))
    if attribute is None and len(used) <= 1:
        return next(iter(used), None)
    names = ", ".join(shorten(name) for name in list(used)[:10]) or "none"
    if attribute is None:
        raise ValueError(
            f"{file}: the regions have {len(used)} attributes: {names}. Name the one that holds "
            "the class with attribute=."
        )
    if attribute not in used:
        raise ValueError(
            f"{file}: no region has the attribute {attribute!r}; their attributes: {names}."
        )
    return attribute


def _options(declared, attribute):
    """Returns the class names of the options of an attribute, by option, in their order."""
    settings = declared.get(attribute)
    if not isinstance(settings, dict) or settings.get("type") not in CHOICES:
        return {}
    options = field(settings, "options", dict, {})
    # An option has an id, which the regions hold, and a description. The id is the name, unless it
    # is only a number.
    return {
        key: text if key.isdecimal() and isinstance(text, str) and text else key
        for key, text in options.items()
    }


def _label(region, attribute, options, class_name):
    """Returns the class name of a region, or None if it has none."""
    if attribute is None:
        return class_name
    value: Any = (region.get("region_attributes") or {}).get(attribute)
    if isinstance(value, dict):  # a checkbox: the options that are ticked
        ticked = [key for key, on in value.items() if on]
        if len(ticked) > 1:
            raise ValueError(
                f"its attribute {shorten(attribute)} is ticked for {len(ticked)} classes, "
                f"{shorten(ticked)}; expected one"
            )
        value = ticked[0] if ticked else None
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"its attribute {shorten(attribute)} must be text, got {shorten(value)}")
    return options.get(str(value), str(value))


# --- The shape of a region -----------------------------------------------------------------------
def _add(builder, image, name, region, attribute, options, class_name):
    shape = field(region, "shape_attributes", dict)
    kind = field(shape, "name", str)
    if kind not in ("polygon", "rect", "circle", "ellipse"):
        builder.leave_out(f"regions of the shape {shorten(kind)}", image, name)
        return
    label = _label(region, attribute, options, class_name)
    if label is None:
        builder.leave_out("regions without a class", image, name)
    elif kind == "rect":
        x, y, width, height = (field(shape, key, NUMBER) for key in ("x", "y", "width", "height"))
        if min(width, height) < 0:
            raise ValueError(f"its width and height must be at least 0, got {width} and {height}")
        builder.add(image, label, name, [Part(rectangle(x, y, width, height), is_box=True)])
    else:
        builder.add(image, label, name, [Part(_ring(kind, shape))])


def _ring(kind, shape):
    """Returns the outline of a region that is not a rectangle, float64 [num_points, 2]."""
    if kind == "polygon":
        x = numbers(shape.get("all_points_x"), "its all_points_x")
        y = numbers(shape.get("all_points_y"), "its all_points_y")
        if len(x) != len(y):
            raise ValueError(f"it has {len(x)} values of x, but {len(y)} of y")
        ring = np.stack([x, y], axis=1)
        # VIA 1 repeats the first point at the end
        return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring
    center = field(shape, "cx", NUMBER), field(shape, "cy", NUMBER)
    keys = ("r", "r") if kind == "circle" else ("rx", "ry")
    radii = [field(shape, key, NUMBER) for key in keys]
    if min(radii) < 0:
        raise ValueError(f"its radius must be at least 0, got {min(radii)}")
    theta = field(shape, "theta", NUMBER, 0.0)
    return rotate(ellipse(*center, *radii), center, theta)


# --- Writing -------------------------------------------------------------------------------------
def _shape_attributes(outline):
    if outline.ring is None:
        y1, x1, y2, x2 = (_short(value) for value in outline.box)
        box = {"x": x1, "y": y1, "width": _short(x2 - x1), "height": _short(y2 - y1)}
        return {"name": "rect", **box}
    x, y = ([_short(value) for value in column] for column in outline.ring.T.tolist())
    return {"name": "polygon", "all_points_x": x, "all_points_y": y}


def _short(value):
    """Returns a whole number as an int, as VIA writes it."""
    return int(value) if value == int(value) else float(value)


def _settings(name):
    """Returns the settings of a new VIA project."""
    grid = {
        "img_height": 80,
        "rshape_fill": "none",
        "rshape_fill_opacity": 0.3,
        "rshape_stroke": "yellow",
        "rshape_stroke_width": 2,
        "show_region_shape": True,
        "show_image_policy": "all",
    }
    image = {
        "region_label": "class",
        "region_color": "class",
        "region_label_font": "10px Sans",
        "on_image_annotation_editor_placement": "NEAR_REGION",
    }
    interface = {
        "annotation_editor_height": 25,
        "annotation_editor_fontsize": 0.8,
        "leftsidebar_width": 18,
        "image_grid": grid,
        "image": image,
    }
    core = {"buffer_size": 18, "filepath": {}, "default_filepath": ""}
    return {"ui": interface, "core": core, "project": {"name": name}}
