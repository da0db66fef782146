"""Cityscapes: `gtFine/<split>/<city>/*_instanceIds.png` or `*_polygons.json`, and `leftImg8bit`.

A pixel of instanceIds is class * 1000 + number for an instance, and the class alone for a region of
many, such as a group of cars. Where there is no such file, the polygons are drawn as the scripts of
Cityscapes draw them: in their order, so that what lies in front hides what is behind.
"""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from mrcnn.data.annotations import Annotations, Image, Instance, Label, broken
from mrcnn.data.formats import _folders
from mrcnn.data.formats._runs import regions
from mrcnn.errors import reading, shorten
from mrcnn.images.files import read_image, read_label_image
from mrcnn.images.texts import read_json

NAME = "cityscapes"
SOURCE = "cityscapes"
# The classes with instances that the benchmark counts, with the ids of its scripts
CLASSES = (
    *((24, "person"), (25, "rider"), (26, "car"), (27, "truck")),
    *((28, "bus"), (31, "train"), (32, "motorcycle"), (33, "bicycle")),
)
CLASS_IDS = {number: index for index, (number, _) in enumerate(CLASSES, 1)}
NUMBERS = {name: number for number, name in CLASSES}
UNDRAWN = ("license plate",)  # the scripts draw no labels with a negative id
INSTANCES, POLYGONS, IMAGES = "_instanceIds.png", "_polygons.json", "_leftImg8bit"
ENDINGS = (INSTANCES, POLYGONS)
MAX_INSTANCES = 1000  # of one class on one image
# Polygons are drawn into an array of 4 bytes per pixel, whose size a file of some bytes can claim.
# The images of Cityscapes have 2**21 pixels.
MAX_PIXELS = 2**25
# Each polygon costs its area. Those of a crowded street have a hundredth of this together.
MAX_DRAWN = 2**31

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a folder of Cityscapes: the whole, gtFine, a split or a city."""
    if not path.is_dir():
        return False
    start = _folders.child(path, "gtFine", "gtCoarse") or path
    for _, (_, folders, names) in zip(range(8), os.walk(start), strict=False):
        folders.sort()
        for name in names:
            if name.endswith(ENDINGS) and "_gt" in name:
                return True
    return False


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    split: str | None = None,
    crowds: str = "ignore",
) -> Annotations:
    """Reads the eight classes with instances.

    Args:
        path: str or path. The folder that holds `gtFine` and `leftImg8bit`; or `gtFine`, or a
            split or city in it.
        images: str or path. The folder `leftImg8bit`. Defaults to None: the one beside `gtFine`.
        split: str. "train", "val", "test" or another folder of this kind. Defaults to None:
            all but "test", which has no annotations.
        crowds: str. What a region of many, such as a group of cars, is: "ignore", neither right
            nor wrong in training and evaluation; or "objects", an instance like any other.
            Defaults to "ignore".

    Returns:
        Annotations. The id of an image is what its files have in common, such as
        "aachen_000000_000019". The masks of instanceIds are decoded when they are needed.

    Raises:
        FileNotFoundError: if there is no such folder, or no image of an annotation.
        ValueError: if a file is damaged.
    """
    if crowds not in ("ignore", "objects"):
        raise ValueError(f"crowds must be 'ignore' or 'objects', got {crowds!r}.")
    root, folder = _layout(Path(path))
    image_folder = Path(images) if images is not None else _folders.subfolder(root, "leftImg8bit")
    found = {file.stem: file for file in _folders.files_below(image_folder or root)}
    files: dict[str, Path] = {}
    for file in _folders.files_below(folder, (".png", ".json")):
        parts = file.relative_to(root).parts
        wanted = "test" not in parts if split is None else split in parts
        if not wanted or not file.name.endswith(ENDINGS):
            continue
        image_id = _image_id(file)
        if image_id not in files or file.name.endswith(INSTANCES):
            files[image_id] = file
    if not files:
        raise ValueError(f"{path}: there are no annotations of Cityscapes in it, or in the split.")
    records = []
    for image_id, file in files.items():
        image = found.get(image_id + IMAGES)
        if image is None:
            raise FileNotFoundError(
                f"{file}: no image {image_id}{IMAGES}.png in {image_folder or root}. Give the "
                "folder leftImg8bit as images=."
            )
        record = Image(image_id, str(image), file=str(file))
        instances = []
        read_shapes = _numbered if file.name.endswith(INSTANCES) else _drawn
        for number, shape in read_shapes(record, file):
            class_id = CLASS_IDS.get(number // 1000 or number)
            if class_id is not None:  # no road, no wall
                crowd = number < 1000 and crowds == "ignore"
                name = f"region {number}"
                instances.append(Instance(class_id, crowd, shape=shape, name=name))
        record.instances = instances
        records.append(record)
    return Annotations(SOURCE, list(CLASSES), records)


def splits(path: Path) -> list[str]:
    """Returns the parts of a data set: the folders of `gtFine` that hold annotations."""
    root, folder = _layout(Path(path))
    files = _folders.files_below(folder, (".png", ".json"))
    parts = {part for file in files for part in file.relative_to(root).parts[:-1]}
    return sorted(parts & {"train", "val", "test"})


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes `gtFine` with instanceIds, and the images as PNG files in `leftImg8bit`.

    Everything becomes part of the split "train". Where instances overlap, the smaller one is on
    top. The crowds of one class become one region. Scores have no place in the format.

    Args:
        annotations: Annotations with image files and classes of Cityscapes alone.
        path: str or path. The folder to write.

    Raises:
        ValueError: if there is another class, more than 1000 instances of one on an image, an
            instance without a mask, or one wholly under others.
    """
    names = [str(name) for _, name in annotations.classes]
    other = [name for name in names if name not in NUMBERS]
    if other:
        raise ValueError(
            f"Cityscapes has the classes {', '.join(NUMBERS)}, not {shorten(other)}. Rename the "
            "classes, or write 'coco'."
        )
    for stem, image in _folders.by_stem(annotations).items():
        labels, instances = _folders.paint(image, NAME)
        values = [0]
        counts = dict.fromkeys(NUMBERS.values(), 0)
        for instance in instances:
            number = NUMBERS[names[instance.class_id - 1]]
            values.append(number if instance.crowd else number * 1000 + counts[number])
            counts[number] += not instance.crowd
            if counts[number] > MAX_INSTANCES:
                raise ValueError(f"{image.path}: more than {MAX_INSTANCES} instances of a class.")
        name = stem.removesuffix(IMAGES)
        city = name.split("_")[0] if re.fullmatch(r"[^_]+_\d+_\d+", name) else "images"
        ids = np.array(values, np.uint16)[labels]
        root = Path(path)
        _folders.write_png(root / "gtFine" / "train" / city / f"{name}_gtFine{INSTANCES}", ids)
        source = image.path or ""
        pixels = read_image(source)
        if pixels.shape[:2] != labels.shape:  # annotated without the rotation of its EXIF data
            pixels = read_image(source, upright=False)
        file = root / "leftImg8bit" / "train" / city / f"{name}{IMAGES}.png"
        _folders.write_png(file, pixels[..., ::-1])


# --- Files ---------------------------------------------------------------------------------------
def _layout(path):
    """Returns the folder that holds gtFine and leftImg8bit, and the one to read."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder. Check the path.")
    fine = _folders.subfolder(path, "gtFine", "gtCoarse")
    if fine is not None:
        return path, fine
    folder = path.absolute()
    for parent in (folder, *folder.parents[:2]):
        if parent.name in ("gtFine", "gtCoarse"):
            return parent.parent, folder
    return path, path


def _image_id(file):
    """Returns what the files of an image have in common: aachen_000000_000019."""
    name = file.name.removesuffix(INSTANCES).removesuffix(POLYGONS)
    return re.sub(r"_gt(Fine|Coarse)$", "", name)


# --- Annotations ---------------------------------------------------------------------------------
def _numbered(record, file):
    """Returns (value, shape) of each value of instanceIds."""
    labels = read_label_image(file)
    record.height, record.width = labels.shape
    if labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{file}: instanceIds are whole numbers of 16 bits, got {labels.dtype}.")
    return [(int(value), Label(str(file), int(value))) for value in np.unique(labels)]


def _drawn(record, file):
    """Returns (value, shape) as instanceIds would have them, drawn from the polygons."""
    expected = "polygons of Cityscapes"
    data = read_json(file, expected)
    with reading(file, expected):
        sides = [data[key] for key in ("imgHeight", "imgWidth")]
        objects = data["objects"]
        if not all(type(side) is int and side > 0 for side in sides):
            raise ValueError(f"imgHeight and imgWidth must be whole numbers, got {shorten(sides)}")
        if sides[0] * sides[1] > MAX_PIXELS:
            raise ValueError(f"it has more than {MAX_PIXELS} pixels")
        if not isinstance(objects, list):
            raise ValueError(f"objects must be a list, got {shorten(objects)}")
    record.height, record.width = sides
    canvas = PillowImage.new("I", (sides[1], sides[0]))
    draw = ImageDraw.Draw(canvas)
    counts = dict.fromkeys(NUMBERS.values(), 0)
    too_few: list[str] = []
    drawn = 0
    for index, entry in enumerate(objects, 1):
        name = f"object {index}"
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
            raise broken(record, name, f"it has no label: {shorten(entry)}")
        if entry.get("deleted") or entry["label"] in UNDRAWN:
            continue
        points = _points(entry.get("polygon"), record, name)
        if len(points) < 3:
            too_few.append(f"{entry['label'][:40]} ({name})")
            continue
        label = entry["label"]
        number = NUMBERS.get(label, 0)
        if number:
            counts[number] += 1
            number = number * 1000 + counts[number] - 1
        elif label.endswith("group"):
            number = NUMBERS.get(label.removesuffix("group"), 0)
        drawn += math.prod(np.ptp(points, axis=0))
        if drawn > MAX_DRAWN:
            raise broken(record, name, f"the polygons have more than {MAX_DRAWN} pixels together")
        draw.polygon([tuple(point) for point in points.tolist()], fill=number)
    if too_few:
        logger.warning(
            "%s: %d objects have fewer than 3 points and are left out: %s.",
            file,
            len(too_few),
            ", ".join(too_few[:5]),
        )
    if max(counts.values()) > MAX_INSTANCES:
        raise ValueError(f"{file}: more than {MAX_INSTANCES} instances of a class.")
    return [(region.value, region.shape) for region in regions(np.asarray(canvas))]


def _points(polygon, image, name):
    """Returns the points of a polygon, kept near the image: float64 [num_points, 2]."""
    try:
        points = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise broken(image, name, f"its polygon is damaged: {shorten(polygon)}") from error
    if points.size == 0:
        return points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise broken(image, name, f"its polygon must be points [x, y], got {shorten(polygon)}")
    return np.clip(points, (-image.width, -image.height), (2 * image.width, 2 * image.height))
