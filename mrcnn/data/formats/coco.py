"""COCO JSON: polygons, compressed and uncompressed run-length codes, crowds, boxes alone.

An annotation file is foreign input: paths, sizes and codes are checked before they are used.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import os
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath

from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    Polygons,
    Rle,
    broken,
)
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.images.atomic import write_text
from mrcnn.images.files import NameIndex
from mrcnn.images.rle import MAX_RLE_PIXELS

NAME = "coco"
SOURCE = "coco"
LISTS = ("images", "annotations", "categories")

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
    data = read_json(file)
    if images is None:
        beside = file.parent / "images"
        images = beside if beside.is_dir() else file.parent
    if not Path(images).is_dir():
        raise FileNotFoundError(f"{images}: no such image folder. Check the path.")
    categories = sorted(data["categories"], key=lambda entry: _id(entry, file, int))
    classes = [(category["id"], _get(category, "name", file)) for category in categories]
    listed = _annotations_by_image(data, {number for number, _ in classes}, file)
    if crowds == "ignore":
        _warn_of_crowds(data, file)
    class_ids = {number: index for index, (number, _) in enumerate(classes, 1)}
    finder = ImageFinder(file, Path(images))
    records = []
    for image in data["images"]:
        instances: list[Instance] = []
        record = _image(image, instances, file, finder)
        for entry in listed[image["id"]]:
            class_id = class_ids[entry["category_id"]]
            crowd = crowds == "ignore" and bool(entry.get("iscrowd"))
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
    paths = [image.path for image in annotations.images]
    folders = [os.path.dirname(os.path.abspath(name)) for name in paths if name is not None]
    for entry, name in zip(data["images"], paths, strict=True):
        if name is not None:
            common = os.path.commonpath(folders)
            entry["file_name"] = Path(os.path.relpath(name, common)).as_posix()
    write_text(path, json.dumps(data))


# --- Entries of the file -------------------------------------------------------------------------
def _annotations_by_image(data, categories, file):
    """Returns the annotations of each image id, checked."""
    listed = {_id(image, file, (int, str)): [] for image in data["images"]}
    if len(listed) != len(data["images"]):
        raise ValueError(f"{file}: two images have the same id. Give each its own.")
    for annotation in data["annotations"]:
        image_id = _get(annotation, "image_id", file)
        category = annotation.get("category_id")
        if not isinstance(category, int) or category not in categories:
            raise ValueError(
                f"{file}: annotation {annotation.get('id')} has category_id {category!r}, "
                f'which is not in "categories" ({sorted(categories)[:20]}). Add the category.'
            )
        if not isinstance(image_id, (int, str)) or image_id not in listed:
            raise ValueError(
                f"{file}: annotation {annotation.get('id')} belongs to image_id {image_id!r}, "
                'which is not in "images". Add the image or remove the annotation.'
            )
        listed[image_id].append(annotation)
    return listed


def _image(entry, instances, file, finder):
    name = _get(entry, "file_name", file)
    height, width = (_side(entry, side, file) for side in ("height", "width"))
    if height * width > MAX_RLE_PIXELS:
        raise ValueError(
            f"{file}: image {name} is said to have {height}x{width} pixels, more than "
            f"{MAX_RLE_PIXELS}. Correct its height and width, or cut it into tiles."
        )
    path = finder.find(name)
    return Image(entry["id"], path, height=height, width=width, instances=instances, file=str(file))


def _instance(entry, class_id, crowd, image):
    name = f"annotation {entry.get('id')}"
    box = _box(entry.get("bbox"), image, name)
    return Instance(
        class_id, crowd=crowd, box=box, shape=_shape(entry.get("segmentation")), name=name
    )


def _shape(segmentation):
    """The shape as written; it is checked when it is drawn."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return Rle(segmentation.get("size"), segmentation.get("counts"))
    return Polygons(segmentation)


def _box(bbox, image, name):
    if not bbox:
        return None
    try:
        x, y, width, height = (float(value) for value in bbox)
    except (TypeError, ValueError) as error:
        raise broken(image, name, f"bbox must be [x, y, width, height]: {error}") from error
    if not math.isfinite(x + y + width + height):
        raise broken(image, name, f"bbox must be finite, got {bbox}")
    return (y, x, y + height, x + width)


# --- Reading the file ----------------------------------------------------------------------------
def read_json(path: str | os.PathLike) -> dict:
    """Reads a COCO instances file.

    Args:
        path: str or path. The JSON file.

    Returns:
        dict with the lists "images", "annotations" and "categories".

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is not JSON (naming the line), or has not got the three lists.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file. Check the path.")
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not a JSON file: line {error.lineno}, column {error.colno}: {error.msg}. "
            "Expected COCO instances; export or download the file again."
        ) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a JSON text file ({error}). Expected COCO instances in UTF-8."
        ) from error
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
        raise ValueError(f'{file}: an entry has no "{key}": {str(entry)[:120]}')
    return entry[key]


def _id(entry, file, kinds):
    value = _get(entry, "id", file)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(f'{file}: "id" must be a whole number, got {value!r}: {str(entry)[:120]}')
    return value


def _side(image, key, file):
    value = _get(image, key, file)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            f'{file}: image {image["file_name"]} has "{key}" {value!r}; expected a whole number '
            "of at least 1."
        )
    return value


def _warn_of_crowds(data, file):
    """Warns of classes that have no annotation but crowds: nothing is learned from them."""
    objects, crowds = Counter(), Counter()
    for annotation in data["annotations"]:
        counts = crowds if annotation.get("iscrowd") else objects
        counts[annotation["category_id"]] += 1
    names = [c["name"] for c in data["categories"] if c["id"] in crowds.keys() - objects.keys()]
    if names:
        logger.warning(
            "%s: %d of %d annotations are marked iscrowd=1, and the classes %s have no other: "
            "training ignores them. If they are objects (CVAT marks every mask so), read the file "
            'with crowds="objects", in a shell --crowds objects.',
            file,
            crowds.total(),
            len(data["annotations"]),
            ", ".join(map(str, names[:10])) + ", ..." * (len(names) > 10),
        )


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
        raise ValueError(f"{file}: file_name must be text, got {name!r}.")
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    outside = windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts
    if outside or not windows.parts:
        raise ValueError(
            f"{file}: file_name {name!r} leaves the image folder. Give names relative to it."
        )
