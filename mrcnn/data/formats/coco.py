"""COCO JSON: polygons, compressed and uncompressed run-length codes, crowds, boxes alone.

An annotation file is foreign input: paths, sizes and codes are checked before they are used.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.dataset import Dataset, read_annotated_image
from mrcnn.images.masks import boxes_from_masks
from mrcnn.images.rle import MAX_RLE_PIXELS, decode_rle

SOURCE = "coco"

logger = logging.getLogger("mrcnn")


class CocoDataset(Dataset):
    """Images with annotations of a COCO instances file.

    Category ids become class ids 1, 2, ... in ascending order; `get_source_class_id(class_id,
    "coco")` gives the id of the file. A crowd has a negative class id.
    """

    @classmethod
    def from_json(cls, annotations, images_dir, crowds="ignore"):
        """Reads an instances file.

        Args:
            annotations: path of the JSON file.
            images_dir: folder that the file names in it start from.
            crowds: str. What a region marked `iscrowd=1` is: "ignore", neither right nor wrong in
                training and evaluation, as in COCO; or "objects", an instance like any other.
                Defaults to "ignore".

        Returns:
            A prepared dataset; images without annotations are part of it.

        Raises:
            FileNotFoundError: no such file or folder.
            ValueError: not JSON, not COCO instances, an unknown category or image, a path that
                leaves `images_dir`, or an image too large; naming the file.
        """
        data = read_json(annotations)
        if not Path(images_dir).is_dir():
            raise FileNotFoundError(f"{images_dir}: no such image folder. Check the path.")
        if crowds not in ("ignore", "objects"):
            raise ValueError(f"crowds must be 'ignore' or 'objects', got {crowds!r}.")
        dataset = cls()
        dataset._fill(data, annotations, Path(images_dir), crowds)
        dataset.prepare()
        return dataset

    def _fill(self, data, file, images_dir, crowds):
        for category in sorted(data["categories"], key=lambda entry: _id(entry, file, int)):
            self.add_class(SOURCE, category["id"], _get(category, "name", file))
        class_ids = {info["id"]: index for index, info in enumerate(self.class_info) if index}
        found = {_id(image, file, (int, str)): [] for image in data["images"]}
        if len(found) != len(data["images"]):
            raise ValueError(f"{file}: two images have the same id. Give each its own.")
        for annotation in data["annotations"]:
            found_in, category = _get(annotation, "image_id", file), annotation.get("category_id")
            if not isinstance(category, int) or category not in class_ids:
                raise ValueError(
                    f"{file}: annotation {annotation.get('id')} has category_id {category!r}, "
                    f'which is not in "categories" ({sorted(class_ids)[:20]}). Add the category.'
                )
            if not isinstance(found_in, (int, str)) or found_in not in found:
                raise ValueError(
                    f"{file}: annotation {annotation.get('id')} belongs to image_id {found_in!r}, "
                    'which is not in "images". Add the image or remove the annotation.'
                )
            sign = -1 if annotation.get("iscrowd") and crowds == "ignore" else 1
            found[found_in].append((sign * class_ids[category], annotation))
        if crowds == "ignore":
            _warn_of_crowds(data, file)
        finder = ImageFinder(file, images_dir)
        for image in data["images"]:
            self._add(image, found[image["id"]], file, finder)

    def _read_image(self, image_id, path):
        info = self.image_info[image_id]
        return read_annotated_image(path, (info["height"], info["width"]), info["file"])

    def _add(self, image, annotations, file, finder):
        name = _get(image, "file_name", file)
        height, width = (_side(image, side, file) for side in ("height", "width"))
        if height * width > MAX_RLE_PIXELS:
            raise ValueError(
                f"{file}: image {name} is said to have {height}x{width} pixels, more than "
                f"{MAX_RLE_PIXELS}. Correct its height and width, or cut it into tiles."
            )
        path = finder.find(name)
        self.add_image(
            SOURCE,
            image["id"],
            path,
            height=height,
            width=width,
            annotations=annotations,
            file=file,
        )

    def image_reference(self, image_id) -> str:
        """The path of the picture."""
        return str(self.image_info[image_id]["path"])

    def load_mask(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """bool [H, W, N] and int32 [N]; annotations without an area are left out.

        Raises:
            ValueError: an annotation without a segmentation, or with a damaged one.
        """
        info = self.image_info[image_id]
        masks, class_ids = [], []
        for class_id, annotation in info["annotations"]:
            mask = self._mask(info, annotation)
            if mask.any():
                masks.append(mask)
                class_ids.append(class_id)
        if not masks:
            return np.zeros((info["height"], info["width"], 0), bool), np.zeros(0, np.int32)
        return np.stack(masks, axis=-1), np.asarray(class_ids, np.int32)

    def load_boxes(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """float32 [N, 4] and int32 [N]: "bbox", or the bounds of the mask where there is none."""
        info = self.image_info[image_id]
        boxes, class_ids = [], []
        for class_id, annotation in info["annotations"]:
            box = self._box(info, annotation)
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                class_ids.append(class_id)
        return np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(class_ids, np.int32)

    def _box(self, info, annotation):
        if annotation.get("bbox") is None:
            return boxes_from_masks(self._mask(info, annotation)[..., None])[0]
        try:
            x, y, width, height = (float(value) for value in annotation["bbox"])
        except (TypeError, ValueError) as error:
            raise _broken(
                info, annotation, f"bbox must be [x, y, width, height]: {error}"
            ) from error
        box = np.array([y, x, y + height, x + width])
        if not np.isfinite(box).all():
            raise _broken(info, annotation, f"bbox must be finite, got {annotation['bbox']}")
        return np.clip(box, 0, [info["height"], info["width"]] * 2)

    def _mask(self, info, annotation):
        """One mask, bool [height, width]."""
        segmentation = annotation.get("segmentation")
        if not segmentation:
            raise _broken(
                info,
                annotation,
                "it has no segmentation. Add one, or set USE_MASKS = False (boxes alone)",
            )
        shape = (info["height"], info["width"])
        try:
            if isinstance(segmentation, dict):
                return _decode(segmentation, shape)
            return _draw(segmentation, shape)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise _broken(info, annotation, error) from error


def _broken(info, annotation, reason):
    return ValueError(
        f"{info['file']}: annotation {annotation.get('id')} of image {info['path']}: {reason}."
    )


def _decode(rle, shape):
    size = tuple(int(side) for side in rle["size"])
    if size != shape:
        raise ValueError(f"its RLE has size {size}, but its image {shape} (height, width)")
    return decode_rle(rle)


def _draw(polygons, shape):
    """Union of polygons [[x1, y1, x2, y2, ...], ...], drawn as pycocotools does."""
    if all(np.size(part) == 1 for part in polygons) or (
        len(polygons) > 2 and all(np.size(part) == 2 for part in polygons)
    ):
        polygons = [polygons]  # one polygon as a flat list, or as a list of points
    polygons = [np.asarray(polygon, np.float64).ravel() for polygon in polygons]
    for polygon in polygons:
        if polygon.size < 6 or polygon.size % 2 or not np.isfinite(polygon).all():
            raise ValueError("a polygon needs at least three points [x1, y1, x2, y2, ...]")
        # Far points cost memory per pixel of outline: keep them near the image.
        polygon[0::2] = np.clip(polygon[0::2], -shape[1], 2 * shape[1])
        polygon[1::2] = np.clip(polygon[1::2], -shape[0], 2 * shape[0])
    codes = coco_mask.frPyObjects([polygon.tolist() for polygon in polygons], *shape)
    return decode_rle(coco_mask.merge(codes))


# --- Reading the file ----------------------------------------------------------------------------
def read_json(path) -> dict:
    """A COCO instances file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON (with the line), or without images, annotations and categories.
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
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(data, dict) or not isinstance(data.get(key), list)
    ]
    if missing:
        raise ValueError(
            f"{path}: not a COCO instances file: it has no list {', '.join(missing)}. Expected an "
            'object with "images", "annotations" and "categories".'
        )
    return data


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
            'with crowds="objects".',
            file,
            crowds.total(),
            len(data["annotations"]),
            ", ".join(map(str, names[:10])) + ", ..." * (len(names) > 10),
        )


class ImageFinder:
    """Finds the files that an annotation file names, inside one folder.

    A name as given comes first. Where there is no such file, the name is read with backslashes as
    separators, without a first part that repeats the name of the folder, and last without its
    folders.

    Args:
        file: str or path. The annotation file, for errors.
        folder: Path. The image folder.
    """

    def __init__(self, file: str | os.PathLike, folder: Path):
        self.file = file
        self.folder = folder
        self._names: dict[Path, str] = {}  # which name was found where

    def find(self, name: str) -> str:
        """Returns the path of an image; the one as given if there is no file at all.

        Args:
            name: str. As in the annotation file.

        Raises:
            ValueError: if the name leaves the folder, fits several files, or fits the file of
                another name.
        """
        _check_inside(name, self.file)
        given = self.folder / name
        path = given if given.is_file() else self._guess(name) or given
        other = self._names.setdefault(path, name)
        if other != name:
            raise ValueError(
                f"{self.file}: file_name {other!r} and {name!r} both fit {path}: keep the folders "
                "that the names have in the file."
            )
        return str(path)

    def _guess(self, name):
        parts = PureWindowsPath(name).parts  # splits at both kinds of slash
        inner = parts[1:] if parts[0] == self.folder.resolve().name else parts
        guesses = dict.fromkeys(
            self.folder.joinpath(*guess) for guess in (parts, inner, parts[-1:]) if guess
        )
        found = [path for path in guesses if path.is_file()]
        if len(found) > 1:
            raise ValueError(
                f"{self.file}: file_name {name!r} fits {' and '.join(map(str, found))}: correct "
                "the name, or remove the file that is not meant."
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
