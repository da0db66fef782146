"""Label Studio: JSON or JSON-MIN export; polygons, rectangles, ellipses, brush masks, bitmasks."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

import numpy as np

from mrcnn.data.annotations import Annotations, Image, Rle
from mrcnn.data.formats._brush import decode_brush, encode_brush
from mrcnn.data.formats._files import read_xml
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
from mrcnn.data.formats._values import (
    NUMBER,
    decode_png,
    ellipse,
    field,
    points,
    rectangle,
    rotate,
    sides,
)
from mrcnn.data.formats._writing import class_names, file_names, outlines, target_file
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.files import IMAGE_SUFFIXES
from mrcnn.images.rle import mask_to_rle
from mrcnn.images.texts import read_json

NAME = "label_studio"
HOLDS_SCORES = True
WHAT = "a Label Studio export"
# The types of results that are regions; the labels of a region are under the name of its type.
REGIONS = ("polygon", "rectangle", "ellipse", "brush", "bitmask")
OTHER_REGIONS = ("keypoint", "vector", "video", "timeseries", "hypertext", "paragraph")
CONFIG = ".label_config.xml"  # the labeling interface, which is written beside the tasks
MODEL = "mrcnn"  # the model_version of predictions

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a JSON export of Label Studio, or a folder that holds one."""
    return bool(candidates(path, _fits))


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    rectangles: str = "auto",
) -> Annotations:
    """Reads a JSON or JSON-MIN export.

    Of several annotations of a task, the ground truth is taken, or else the first one that was not
    skipped. Tasks without annotations are left out, with a warning. If there are no annotations at
    all, the predictions of a model are read.

    Args:
        path: str or path. The JSON file, or a folder that holds it.
        images: str or path. The folder of the images. Defaults to None: the folder `images` beside
            the file, or the folder of the file.
        rectangles: str. What an upright rectangle is: "boxes", only a box; "masks", a mask as well.
            Defaults to "auto": "masks" if there are also objects of other shapes.

    Returns:
        Annotations. Key points and regions without a label are left out with one warning.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if the file is not Label Studio's, or a region is damaged; naming the file.
    """
    file = one_file(path, _fits, "Label Studio export")
    folders = ImageFolders(file, images)
    with reading(file, WHAT):
        tasks = read_json(file, WHAT, max_bytes=None)
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError("expected a list of tasks")
        builder = Builder(NAME, file, rectangles)
        for number, task, results in _results(tasks, file):
            try:
                path_found = folders.find(*_image_names(task), loose=True)
            except ValueError as error:
                raise ValueError(f"{file}: task {number}: {error}") from error
            task_id = task.get("id")
            image_id = task_id if isinstance(task_id, (int, str)) else number
            image = builder.add_image(Image(image_id, path_found, file=str(file)))
            _add_regions(builder, image, results)
            if image.height is None:
                image.height, image.width = header_size(path_found)
        return builder.finish(_listed(file))


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes tasks, and the labeling interface for them beside, as `*.label_config.xml`.

    Instances with scores become predictions, the others annotations. An object of several parts, or
    with holes, is a brush mask. The images stay where they are; Label Studio finds them in its
    local file storage.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The JSON file, or a folder for it.

    Raises:
        ValueError: if Label Studio cannot hold the annotations.
    """
    file = target_file(path, "tasks.json")
    names = class_names(annotations, NAME)
    tasks = []
    instances = [instance for image in annotations.images for instance in image.instances]
    as_predictions = any(instance.score is not None for instance in instances)
    for index, name in enumerate(file_names(annotations)):
        image = annotations.images[index]
        size = size_of(image)
        results = [
            _result(outline, size, f"r{index}_{number}")
            for number, outline in enumerate(outlines(annotations, image, polygons=False))
        ]
        task = {"id": index + 1, "data": {"image": f"/data/local-files/?d={quote(name)}"}}
        if as_predictions:
            scores = [result["score"] for result in results if "score" in result]
            score = sum(scores) / len(scores) if scores else 0.0
            prediction = {"model_version": MODEL, "score": score, "result": results}
            tasks.append({**task, "annotations": [], "predictions": [prediction]})
        else:
            annotation = {"id": index + 1, "was_cancelled": False, "result": results}
            tasks.append({**task, "annotations": [annotation], "predictions": []})
    write_text(file, json.dumps(tasks, ensure_ascii=False))
    write_text(file.with_suffix(CONFIG), _config(names))


# --- Reading the file ----------------------------------------------------------------------------
def _fits(path):
    if path.suffix.lower() != ".json":
        return False
    has_results = mentions(path, '"result"', '"data"', start="[") and any(
        mentions(path, f'"{key}"') for key in ("annotations", "predictions", "completions")
    )
    return has_results or mentions(path, '"annotation_id"', '"annotator"', start="[")


def _results(tasks, file):
    """Yields (number, task, results) of the tasks that were annotated."""
    is_annotated = [_chosen(task) is not None for task in tasks]
    use_predictions = not any(is_annotated)
    several, unlabeled = 0, 0
    seen = set()
    for number, task in enumerate(tasks):
        listed = _predictions(task) if use_predictions else _annotations(task)
        results = _first(listed) if use_predictions else _chosen(task)
        # JSON-MIN has a task for each annotation
        key = str(task.get("id", f"number {number}"))[:100]
        if results is None:
            unlabeled += 1
        elif key in seen:
            several += 1
        else:
            several += len(listed) > 1
            seen.add(key)
            yield number, task, results
    if several:
        logger.warning(
            "%s: %d tasks have several annotations; read is the ground truth, or the first one.",
            file,
            several,
        )
    if unlabeled:
        logger.warning("%s: left out %d tasks that are not annotated.", file, unlabeled)


def _annotations(task):
    """Returns the annotations of a task that were not skipped."""
    if "data" not in task:  # JSON-MIN
        regions = [
            region
            for value in task.values()
            if isinstance(value, list)
            for region in value
            if isinstance(region, dict)
        ]
        return [{"result": [{"value": region, **_size_of(region)} for region in regions]}]
    # before version 1.0, annotations were called completions
    listed = field(task, "annotations" if "annotations" in task else "completions", list, [])
    if not all(isinstance(entry, dict) for entry in listed):
        raise ValueError(f"annotations must be objects {{...}}, got {shorten(listed)}")
    return [entry for entry in listed if not entry.get("was_cancelled")]


def _size_of(region):
    keys = ("original_width", "original_height", "image_rotation", "type")
    return {key: region[key] for key in keys if key in region}


def _predictions(task):
    return [entry for entry in field(task, "predictions", list, []) if isinstance(entry, dict)]


def _first(listed):
    return field(listed[0], "result", list, []) if listed else None


def _chosen(task):
    """Returns the results of the annotation of a task to use, or None."""
    listed = _annotations(task)
    best = [entry for entry in listed if entry.get("ground_truth") is True]
    return _first(best or listed)


def _image_names(task):
    """Returns the names that the image of a task may have in the image folder."""
    data = task.get("data", task)
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value}
    with_suffix = [
        text for text in texts.values() if _file_names(text)[-1].suffix.lower() in IMAGE_SUFFIXES
    ]
    text = texts.get("image") or texts.get("img") or next(iter(with_suffix), None)
    if text is None:
        raise ValueError(f"it names no image file in its data {shorten(data)}")
    return [str(name) for name in _file_names(text)]


def _file_names(text):
    """Returns the file names that the address of an image may stand for."""
    try:
        parts = urlsplit(text)
    except ValueError:  # no address, such as http://[
        return [PurePosixPath(text)]
    stored = parse_qs(parts.query).get("d")
    if stored:  # /data/local-files/?d=folder/name.jpg
        names = [PurePosixPath(stored[0])]
    elif parts.scheme or parts.path.startswith("/data/"):
        names = [PurePosixPath(PurePosixPath(unquote(parts.path)).name)]
    else:
        names = [PurePosixPath(text)]
    # an upload is stored with eight digits before its name
    bare = re.sub(r"^[0-9a-f]{8}-", "", names[0].name)
    known = [PurePosixPath(bare)] if bare and bare != names[0].name else []
    names += [name for name in known if name.suffix.lower() in IMAGE_SUFFIXES]
    return names


# --- Regions -------------------------------------------------------------------------------------
def _add_regions(builder, image, results):
    """Adds the regions of an annotation to an image."""
    # With <Labels> beside <Polygon>, a region has two results of the same id: with and without
    # labels.
    labeled = {
        str(result.get("id"))
        for result in results
        if isinstance(result, dict) and _labels(result) and result.get("id") is not None
    }
    for number, result in enumerate(results):
        name = f"result {number}"
        with describing(image, name):
            value = field(result, "value", dict, {})
            kind = _kind(result, value)
            labels = _labels(result)
            if kind is None or (not labels and str(result.get("id")) in labeled):
                continue
            if kind not in REGIONS:
                builder.leave_out(f"regions of the type {kind}", image, name)
            elif not labels:
                builder.leave_out("regions without a label", image, name)
            elif len(labels) > 1 or not isinstance(labels[0], str):
                raise ValueError(f"it must have one label, got {shorten(labels)}")
            else:
                _set_size(image, result)
                score = field(result, "score", NUMBER, None)
                builder.add(image, labels[0], name, [_part(image, kind, value)], score)


def _labels(result):
    """Returns the labels of a region, from the key that its type names."""
    value = result.get("value")
    if not isinstance(value, dict):
        return []
    keys = [f"{kind}labels" for kind in REGIONS] + ["labels"]
    return next((value[key] for key in keys if isinstance(value.get(key), list)), [])


def _kind(result, value):
    """Returns the kind of a region, or None if the result is about the whole image."""
    kind = str(result.get("type", ""))[:40].removesuffix("labels")
    if kind in (*REGIONS, *OTHER_REGIONS):
        return kind
    if kind:
        # a choice, a text or a relation, unless it is <Labels> beside a region
        if result.get("type") != "labels":
            return None
    signs = {
        "polygon": ("points",),
        "brush": ("rle",),
        "bitmask": ("imageDataURL",),
        "ellipse": ("radiusX", "radiusY"),
        "rectangle": ("x", "y", "width", "height"),
    }
    fitting = [name for name, keys in signs.items() if all(key in value for key in keys)]
    if not fitting and "x" in value:
        return "keypoint"
    return fitting[0] if fitting else None


def _set_size(image, result):
    """Takes the size of an image from its regions, which must agree."""
    if field(result, "image_rotation", NUMBER, 0) % 360:
        raise ValueError("its image was rotated in Label Studio: rotate it back and export again")
    height, width = (field(result, f"original_{key}", int, None) for key in ("height", "width"))
    if height is None and width is None:  # predictions that a script has written
        height, width = header_size(image.path)
    size = sides(height, width)
    if image.height is not None and size != (image.height, image.width):
        raise ValueError(
            f"its image is {size[0]}x{size[1]}, but in another result "
            f"{image.height}x{image.width} (height x width)"
        )
    image.height, image.width = size


def _part(image, kind, value):
    """Returns the shape of a region; its numbers are percent of the width and height."""
    if kind == "brush":
        if field(value, "format", str, "rle") != "rle":
            raise ValueError(f'its "format" must be "rle", got {shorten(value["format"])}')
        mask = decode_brush(value.get("rle"), image.height, image.width)
        return Part(mask=Rle(**mask_to_rle(mask)))
    if kind == "bitmask":
        _, _, data = field(value, "imageDataURL", str).partition("base64,")
        mask = decode_png(data, (image.height, image.width))
        if mask.shape != (image.height, image.width):
            raise ValueError(f"its mask is {mask.shape[0]}x{mask.shape[1]}, unlike its image")
        return Part(mask=Rle(**mask_to_rle(mask)))
    scale = np.array([image.width, image.height]) / 100
    if kind == "polygon":
        return Part(_rounded(points(value.get("points")) * scale))
    angle = math.radians(field(value, "rotation", NUMBER, 0))
    x, y = _rounded(np.array([field(value, key, NUMBER) for key in ("x", "y")]) * scale)
    keys = ("radiusX", "radiusY") if kind == "ellipse" else ("width", "height")
    size = _rounded(np.array([field(value, key, NUMBER) for key in keys]) * scale)
    if min(size) < 0:
        raise ValueError(f"its {keys[0]} and {keys[1]} must be at least 0")
    if kind == "ellipse":  # x and y are its center
        return Part(rotate(ellipse(x, y, *size), (x, y), angle))
    # a rectangle is rotated about its upper left corner
    return Part(rotate(rectangle(x, y, *size), (x, y), angle), is_box=angle == 0)


def _rounded(values):
    """Undoes the error of the way to percent and back, so that whole pixels stay whole."""
    return np.round(values, 6)


def _listed(file):
    """Returns the labels of the labeling interface that `write` puts beside its file."""
    config = file.with_suffix(CONFIG)
    if not config.is_file():
        return []
    root = read_xml(inside(config, file.parent), "a labeling interface")
    names = [label.get("value") for label in root.iter("Label")]
    return [(name, name) for name in dict.fromkeys(names) if name]


# --- Writing -------------------------------------------------------------------------------------
def _result(outline, size, number):
    """Returns a region of a task."""
    height, width = size
    scale = 100 / np.array([width, height])
    if outline.ring is not None:
        kind = "polygon"
        value = {"points": (outline.ring * scale).tolist(), "closed": True}
    elif outline.mask is not None:
        kind = "brush"
        value = {"format": "rle", "rle": encode_brush(outline.mask)}
    else:
        kind = "rectangle"
        y1, x1, y2, x2 = outline.box
        corners = np.array([[x1, y1], [x2 - x1, y2 - y1]]) * scale
        value = dict(zip(("x", "y", "width", "height"), corners.ravel().tolist(), strict=True))
        value["rotation"] = 0
    result = {
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, f"{kind}labels": [outline.label]},
        "id": number,
        "from_name": kind,
        "to_name": "image",
        "type": f"{kind}labels",
    }
    return result if outline.score is None else {**result, "score": float(outline.score)}


def _config(names):
    """Returns the labeling interface for the tasks that `write` writes."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    for tag in ("PolygonLabels", "BrushLabels", "RectangleLabels"):
        kind = tag.removesuffix("Labels").lower()
        group = ElementTree.SubElement(view, tag, name=kind, toName="image")
        for name in names:
            ElementTree.SubElement(group, "Label", value=name)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"
