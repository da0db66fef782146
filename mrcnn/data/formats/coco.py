"""COCO JSON: polygons, compressed and uncompressed run-length codes, crowds, boxes alone.

An annotation file is foreign input: paths, sizes and codes are checked before they are used.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import mmap
import os
from collections import Counter
from pathlib import Path

from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    Polygons,
    Rle,
    broken,
)
from mrcnn.data.combine import take
from mrcnn.data.formats._files import ImageFinder
from mrcnn.data.formats._writing import file_names
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.errors import printable, reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.rle import MAX_RLE_PIXELS
from mrcnn.images.texts import read_json

NAME = "coco"
SOURCE = "coco"
LISTS = ("images", "annotations", "categories")
_CROWD = {None: False, "": False, "0": False, "0.0": False, "false": False, "no": False}
_CROWD |= {"1": True, "1.0": True, "true": True, "yes": True}

logger = logging.getLogger("mrcnn")


class CocoDataset(AnnotatedDataset):
    """Images with annotations of a COCO instances file.

    Category ids become class ids 1, 2, ... in ascending order; `get_source_class_id(class_id,
    "coco")` returns the id of the file. A crowd has a negative class id.
    """

    @classmethod
    def from_json(
        cls,
        annotations: str | os.PathLike,
        images_dir: str | os.PathLike,
        crowds: str = "ignore",
    ) -> CocoDataset:
        """Reads an instances file.

        Args:
            annotations: str or path. The JSON file.
            images_dir: str or path. The folder that the file names in it start from.
            crowds: str; see `read`.

        Returns:
            A prepared dataset; images without annotations are part of it.

        Raises:
            FileNotFoundError, ValueError: as `read`.
        """
        found = read(annotations, images=images_dir, crowds=crowds)
        return cls.from_annotations(found)  # type: ignore[return-value]


def looks_like(path: Path) -> bool:
    """Returns whether a path is a COCO instances file, or a folder that holds one."""
    return bool(_instances_files(path)) if path.is_dir() else _names_the_lists(path)


def read(
    path: str | os.PathLike, images: str | os.PathLike | None = None, crowds: str = "ignore"
) -> Annotations:
    """Reads an instances file. Masks are decoded when they are needed.

    Args:
        path: str or path. The JSON file, or a folder that holds one.
        images: str or path. The folder that the file names start from. Defaults to None: the folder
            `images` beside the JSON file, or else the folder of the JSON file.
        crowds: str. What a region marked `iscrowd=1` is: "ignore", neither right nor wrong in
            training and evaluation, as in COCO; or "objects", an instance like any other.
            Defaults to "ignore".

    Returns:
        Annotations; images without annotations are part of them.

    Raises:
        FileNotFoundError: if the file or the image folder does not exist.
        ValueError: if the file is not JSON or not COCO instances, or has an unknown category or
            image, a path that leaves the image folder, or an image too large; naming the file.
    """
    if crowds not in ("ignore", "objects"):
        raise ValueError(f"crowds must be 'ignore' or 'objects', got {crowds!r}.")
    file = _one_file(Path(path)) if Path(path).is_dir() else Path(path)
    data = read_instances(file)
    if images is None:
        beside = file.parent / "images"
        images = beside if beside.is_dir() else file.parent
    if not Path(images).is_dir():
        raise FileNotFoundError(f"{images}: no such image folder. Check the path.")
    with reading(file, "COCO instances"):
        return _record(data, file, Path(images), crowds)


def _record(data, file, folder, crowds):
    """Makes the record of the lists of a file."""
    classes = _classes(data, file)
    listed = _annotations_by_image(data, {number for number, _ in classes}, file)
    if crowds == "ignore":
        _warn_of_crowds(data, dict(classes), file)
    class_ids = {number: index for index, (number, _) in enumerate(classes, 1)}
    finder = ImageFinder(file, folder)
    records = []
    for image in data["images"]:
        instances: list[Instance] = []
        record = _image(image, instances, file, finder)
        for entry in listed[image["id"]]:
            class_id = class_ids[entry["category_id"]]
            crowd = crowds == "ignore" and _is_crowd(entry, file)
            instances.append(_instance(entry, class_id, crowd, record))
        records.append(record)
    return Annotations(SOURCE, classes, records)


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes an instances file; the images stay where they are.

    File names start from the folder that all images have in common.

    Args:
        annotations: Annotations of at least one image.
        path: str or path. The JSON file.
    """
    dataset = AnnotatedDataset.from_annotations(annotations)
    data = coco_ground_truth(dataset, masks=dataset.has("masks"))
    stored = [image.path is not None for image in annotations.images]
    names = file_names(take(annotations, itertools.compress(range(len(stored)), stored)))
    for entry, name in zip(itertools.compress(data["images"], stored), names, strict=True):
        entry["file_name"] = name
    write_text(path, json.dumps(data))


# --- Entries of the file -------------------------------------------------------------------------
def _classes(data, file):
    """Returns (id, name) of each category, by ascending id."""
    classes = {}
    for category in data["categories"]:
        number = _id(category, file, int)
        name = _get(category, "name", file)
        if not isinstance(name, str | int | float):
            raise ValueError(f'{file}: "name" of a category must be text, got {shorten(name)}.')
        if number in classes:
            raise ValueError(
                f"{file}: the categories {shorten(classes[number])} and {shorten(name)} have the "
                f"same id {shorten(number)}. Give each its own."
            )
        classes[number] = printable(str(name))
    return sorted(classes.items())


def _is_crowd(annotation, file):
    """Returns whether an annotation is a crowd: 0 or 1, also as text or as false or true."""
    value = annotation.get("iscrowd")
    text = None if value is None else shorten(value).strip("'\" ").lower()
    if text not in _CROWD:
        raise ValueError(
            f'{file}: "iscrowd" of {_name(annotation)} must be 0 or 1, got {shorten(value)}.'
        )
    return _CROWD[text]


def _name(annotation):
    return f"annotation {shorten(annotation.get('id'))}"


def _annotations_by_image(data, categories, file):
    """Returns the annotations of each image id, checked."""
    listed = {_id(image, file, (int, str)): [] for image in data["images"]}
    if len(listed) != len(data["images"]):
        raise ValueError(f"{file}: two images have the same id. Give each its own.")
    for annotation in data["annotations"]:
        image_id = _get(annotation, "image_id", file)
        category = annotation.get("category_id")
        name = _name(annotation)
        if type(category) is not int or category not in categories:
            raise ValueError(
                f"{file}: {name} has category_id {shorten(category)}, which is not in "
                f'"categories" ({shorten(sorted(categories))}). Add the category.'
            )
        if type(image_id) not in (int, str) or image_id not in listed:
            raise ValueError(
                f"{file}: {name} belongs to image_id {shorten(image_id)}, which is not in "
                '"images". Add the image or remove the annotation.'
            )
        listed[image_id].append(annotation)
    return listed


def _image(entry, instances, file, finder):
    name = _get(entry, "file_name", file)
    height, width = (_side(entry, side, file) for side in ("height", "width"))
    if height * width > MAX_RLE_PIXELS:
        raise ValueError(
            f"{file}: image {shorten(name)} is said to have {shorten(height)}x{shorten(width)} "
            "pixels, more than "
            f"{MAX_RLE_PIXELS}. Correct its height and width, or cut it into tiles."
        )
    path = finder.find(name)
    return Image(entry["id"], path, height=height, width=width, instances=instances, file=str(file))


def _instance(entry, class_id, crowd, image):
    name = _name(entry)
    box = _box(entry.get("bbox"), image, name)
    return Instance(
        class_id, crowd=crowd, box=box, shape=_shape(entry.get("segmentation")), name=name
    )


def _shape(segmentation):
    """The shape as written; it is checked when it is drawn."""
    if segmentation is None or segmentation in ([], {}, ""):
        return None
    if isinstance(segmentation, dict):
        return Rle(segmentation.get("size"), segmentation.get("counts"))
    return Polygons(segmentation)


def _box(bbox, image, name):
    if bbox is None or bbox == []:
        return None
    try:
        x, y, width, height = (float(value) for value in bbox)
    except (TypeError, ValueError, OverflowError) as error:
        reason = f"bbox must be [x, y, width, height], got {shorten(bbox)}"
        raise broken(image, name, reason) from error
    if not math.isfinite(abs(x) + abs(y) + abs(width) + abs(height)):
        raise broken(image, name, f"bbox must be finite, got {shorten(bbox)}")
    return (y, x, y + height, x + width)


# --- Reading the file ----------------------------------------------------------------------------
def read_instances(path: str | os.PathLike) -> dict:
    """Reads a COCO instances file.

    Args:
        path: str or path. The JSON file.

    Returns:
        dict with the lists "images", "annotations" and "categories".

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not JSON (naming the line), or has not got the three lists.
    """
    data = read_json(path, "COCO instances", max_bytes=None)
    missing = [
        key for key in LISTS if not isinstance(data, dict) or not isinstance(data.get(key), list)
    ]
    if missing:
        raise ValueError(
            f"{path}: not a COCO instances file: it has no list {', '.join(missing)}. Expected an "
            'object with "images", "annotations" and "categories".'
        )
    return data


def _names_the_lists(path):
    """Whether a file names the lists of COCO instances; it is searched, not parsed."""
    if path.suffix.lower() != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        is_panoptic = text.find(b'"segments_info"') >= 0  # the same lists, for another task
        return not is_panoptic and all(text.find(f'"{name}"'.encode()) >= 0 for name in LISTS)


def _instances_files(folder):
    return sorted(path for path in folder.iterdir() if _names_the_lists(path))


def _one_file(folder):
    found = _instances_files(folder)
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise ValueError(
            f"{folder}: expected one COCO instances file, found {names}. Name the file itself."
        )
    return found[0]


def _get(entry, key, file):
    if not isinstance(entry, dict) or entry.get(key) is None:
        raise ValueError(f'{file}: an entry has no "{key}": {shorten(entry)}')
    return entry[key]


def _id(entry, file, kinds):
    value = _get(entry, "id", file)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(
            f'{file}: "id" must be a whole number, got {shorten(value)}: {shorten(entry)}'
        )
    return value


def _side(image, key, file):
    value = _get(image, key, file)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f'{file}: image {shorten(image["file_name"])} has "{key}" {shorten(value)}; expected '
            "a whole number of at least 1."
        )
    return value


def _warn_of_crowds(data, names, file):
    """Warns of classes that have no annotation but crowds: nothing is learned from them."""
    objects, crowds = Counter(), Counter()
    for annotation in data["annotations"]:
        counts = crowds if _is_crowd(annotation, file) else objects
        counts[annotation["category_id"]] += 1
    only = [names[number] for number in names if number in crowds.keys() - objects.keys()]
    if only:
        logger.warning(
            "%s: %d of %d annotations are marked iscrowd=1, and the classes %s have no other: "
            "training ignores them. If they are objects (CVAT marks every mask so), read the file "
            'with crowds="objects", in a shell --crowds objects.',
            file,
            crowds.total(),
            len(data["annotations"]),
            ", ".join(only[:10]) + ", ..." * (len(only) > 10),
        )
