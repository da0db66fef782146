"""Pascal VOC: XML files of boxes as LabelImg writes them, and SegmentationObject PNG files.

VOC counts pixels from 1, and the upper bounds belong to the box: `xmin=1, xmax=30` covers an image
of 30 columns, and is read as the box from 0 to 30. LabelImg writes the edges that were drawn,
rounded down, and at least 1. Read by the rule of VOC, its boxes are up to a pixel too large on the
left and above; `first_pixel=0` takes them as they were drawn.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from scipy import ndimage

from mrcnn.data.annotations import Annotations, Image, Instance, broken
from mrcnn.data.formats import _colors, _folders
from mrcnn.data.formats._files import ImageFinder
from mrcnn.data.formats._runs import most_frequent, regions
from mrcnn.data.formats._voc_xml import VocObject, annotation_text, read_annotation
from mrcnn.errors import reading
from mrcnn.images.atomic import atomic_path, write_text
from mrcnn.images.texts import read_text

NAME = "voc"
SOURCE = "voc"
VOID = 255  # the border of objects, neither object nor background
MAX_OBJECTS = VOID - 1  # a palette has 256 colors
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a VOC XML file, or a folder that holds some, or of the devkit."""
    if path.is_file():
        return path.suffix.lower() == ".xml" and _is_annotation(path)
    if not path.is_dir():
        return False
    root = _root(path)
    if _folders.child(root, "SegmentationObject") and not (root / "labelmap.txt").is_file():
        return True
    folders = (entry for entry in sorted(root.iterdir()) if entry.is_dir())
    start = _folders.child(root, "Annotations")
    for folder in [start] if start is not None else [root, *folders]:
        first = next((file for file in folder.iterdir() if file.suffix.lower() == ".xml"), None)
        if first is not None:
            return _is_annotation(first)
    return False


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    split: str | None = None,
    masks: bool = True,
    difficult: str = "ignore",
    first_pixel: int = 1,
) -> Annotations:
    """Reads the boxes of XML files, or the masks of SegmentationObject where there are some.

    Args:
        path: str or path. An XML file; a folder of them; or a folder of the devkit, with
            `Annotations` and `JPEGImages`.
        images: str or path. The folder of images. Defaults to None: `JPEGImages`, `images`, or
            that of the XML files.
        split: str. The part to read: a list in `ImageSets`, or a subfolder. Defaults to None: all.
        masks: bool. Whether to read SegmentationObject where it exists, and then only the images
            in it. False reads the boxes of all XML files. Defaults to True.
        difficult: str. What an object marked difficult is: "ignore", neither right nor wrong in
            training and evaluation, as VOC evaluates; or "objects", one like any other. Defaults
            to "ignore".
        first_pixel: int. The number of the first pixel, 1 or 0. Defaults to 1, the rule of VOC.

    Returns:
        Annotations. The id of an image is the path of its XML file in its folder, without suffix.

    Raises:
        FileNotFoundError: if there is no such file or folder, or the size of a missing image is
            needed.
        ValueError: if a file is damaged, or names something outside of its folder.
    """
    if difficult not in ("ignore", "objects") or first_pixel not in (0, 1):
        raise ValueError(
            "difficult must be 'ignore' or 'objects', and first_pixel 0 or 1, got "
            f"{difficult!r} and {first_pixel!r}."
        )
    root = _root(Path(path))
    labelmap = root / "labelmap.txt"
    colors = None
    if labelmap.is_file():
        colors = _colors.read_labelmap(_folders.inside(labelmap, root))
        colors.pop("background", None)
    finder = _Images(root, None if images is None else Path(images))
    pngs = _pngs(root, "SegmentationObject") if masks else {}
    class_pngs = _pngs(root, "SegmentationClass") if pngs else {}
    parsed = {}
    for image_id, file in _xml_files(Path(path), root).items():
        parsed[image_id] = read_annotation(file, image_id, finder.record, first_pixel)
    names = {item.name for _, items in parsed.values() for item in items}
    if colors is None and pngs.keys() - parsed.keys():  # only SegmentationClass has their classes
        names |= set(CLASSES)
    classes = _classes(names, colors)
    class_ids = {name: number for number, name in classes}
    chosen = _split(root, split)
    records = []
    for image_id in pngs or parsed:
        if not chosen(image_id):
            continue
        record, items = parsed.get(image_id) or (finder.record(image_id, pngs[image_id]), [])
        if pngs:
            items = _masks(record, items, pngs[image_id], class_pngs.get(image_id), colors)
            for item in items:
                if item.name not in class_ids:
                    raise broken(record, item.label, f"no XML file has its class {item.name!r}")
        else:
            items = [item for item in items if item.box is not None]
        record.instances = [
            Instance(
                class_ids[item.name],
                crowd=item.difficult and difficult == "ignore",
                box=item.box,
                shape=item.shape,
                name=item.label,
            )
            for item in items
        ]
        records.append(record)
    if not records:
        raise ValueError(f"{path}: there is no image with annotations of VOC in it.")
    _warn_of_difficult(records, dict(classes), path)
    return Annotations(SOURCE, classes, records)


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder of the devkit: `Annotations`, and a copy of the images in `JPEGImages`.

    Where there are masks, also `SegmentationObject` and `SegmentationClass`. Where instances
    overlap, the smaller one is on top. Crowds are marked difficult. A labelmap.txt, as CVAT adds
    it, keeps the order of the classes. Scores have no place in the format.

    Args:
        annotations: Annotations with image files.
        path: str or path. The folder to write.

    Raises:
        ValueError: if VOC cannot hold the annotations: more than 254 masks on an image, some
            instances with and some without a mask, or one wholly under others.
    """
    folder = Path(path)
    names = [str(name) for _, name in annotations.classes]
    with_masks = any(
        instance.shape is not None for image in annotations.images for instance in image.instances
    )
    if with_masks and len(names) > MAX_OBJECTS:
        raise ValueError(f"{path}: VOC holds {MAX_OBJECTS} classes of masks, got {len(names)}.")
    write_text(folder / "labelmap.txt", _colors.labelmap(names))
    for stem, image in _folders.by_stem(annotations).items():
        if with_masks:
            labels, instances = _folders.paint(image, NAME)
            if len(instances) > MAX_OBJECTS:
                raise ValueError(
                    f"{image.path}: VOC holds {MAX_OBJECTS} masks per image, got {len(instances)}."
                )
            class_ids = np.array([0, *(instance.class_id for instance in instances)])
            _write_palette(folder / "SegmentationObject" / f"{stem}.png", labels)
            _write_palette(folder / "SegmentationClass" / f"{stem}.png", class_ids[labels])
            places = ndimage.find_objects(labels)
            boxes = [(rows.start, cols.start, rows.stop, cols.stop) for rows, cols in places]
        else:
            instances = [instance for instance, _ in _folders.objects(image)]
            boxes = [instance.box for instance in instances if instance.box is not None]
        text = annotation_text(image, [names[i.class_id - 1] for i in instances], boxes, instances)
        write_text(folder / "Annotations" / f"{stem}.xml", text)
        _folders.copy_image(image, folder / "JPEGImages")


# --- Layout --------------------------------------------------------------------------------------
def _root(path):
    """Returns the folder that `Annotations` and `JPEGImages` lie in, or the XML files."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder. Check the path.")
    folder = path if path.is_dir() else path.parent
    if folder.name.lower() == "annotations":
        if any((folder.parent / name).is_dir() for name in ("JPEGImages", "images")):
            return folder.parent
    years = [entry for entry in folder.iterdir() if re.fullmatch(r"VOC\d{4}", entry.name)]
    return years[0] if len(years) == 1 and years[0].is_dir() else folder


def _xml_files(path, root):
    """Returns the XML files by image id: their path in their folder, without suffix."""
    if path.is_file():
        return {path.stem: path}
    folder = _folders.subfolder(root, "Annotations") or root
    files = _folders.files_below(folder, (".xml",))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _pngs(root, name):
    folder = _folders.subfolder(root, name)
    return {} if folder is None else _folders.one_per_stem(_folders.files_below(folder, (".png",)))


def splits(path: Path) -> list[str]:
    """Returns the parts of a data set: lists in `ImageSets`, or folders of `Annotations`."""
    root = _root(Path(path))
    folders = [_folders.subfolder(root, "Annotations") or root]
    found = {entry.name for folder in folders for entry in folder.iterdir() if entry.is_dir()}
    return sorted(found | {file.stem for file in _set_lists(root)})


def _set_lists(root):
    sets = _folders.subfolder(root, "ImageSets")
    return [] if sets is None else _folders.files_below(sets, (".txt",))


def _split(root, split):
    """Returns a function that says whether an image id belongs to a split."""
    if split is None:
        return lambda image_id: True
    lists = _set_lists(root)
    # Segmentation comes before Main: its list has the images with masks.
    for file in sorted(lists, key=lambda file: file.parent.name != "Segmentation"):
        if file.stem == split:
            rows = read_text(file, "a list of image ids").splitlines()
            ids = {row.split()[0] for row in rows if row.split()}
            return lambda image_id: image_id in ids
    if _folders.subfolder(_folders.subfolder(root, "Annotations") or root, split) is not None:
        return lambda image_id: image_id.split("/")[0] == split
    known = ", ".join(sorted({repr(file.stem) for file in lists})) or "none"
    raise ValueError(f"{root}: there is no split {split!r}. Its splits: {known}.")


class _Images:
    """Finds the image of an XML file: by the name of the XML file, or else by the one in it."""

    def __init__(self, root, images):
        self.folder = images or _folders.subfolder(root, "JPEGImages", "images") or root
        self._found = {}
        for file in _folders.files_below(self.folder):
            relative = file.relative_to(self.folder).with_suffix("").as_posix()
            for key in {relative, file.stem}:
                self._found.setdefault(key, []).append(file)

    def record(self, image_id, file, name=None):
        """Returns the record of an image without instances."""
        stem = image_id.rsplit("/", 1)[-1]
        fitting = self._found.get(image_id) or self._found.get(stem) or []
        if len(fitting) > 1:
            fitting = [image for image in fitting if image.name == name] or fitting
        if len(fitting) > 1:
            listed = " and ".join(map(str, fitting[:3]))
            raise ValueError(f"{file}: {listed} fit: remove or rename the one that is not meant.")
        if fitting:
            return Image(image_id, str(fitting[0]), file=str(file))
        if not name:
            raise FileNotFoundError(f"{file}: no image named {stem} in {self.folder}.")
        finder = ImageFinder(file, self.folder)
        return Image(image_id, finder.find(name), file=str(file))


def _is_annotation(file):
    with file.open("rb") as stream:
        head = stream.read(2**10)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "ignore").encode()
    return re.search(rb"<annotation[\s>]", head) is not None and (
        b"<bndbox" in head or b"<polygon" not in head  # LabelMe had an XML format of its own
    )


# --- Masks ---------------------------------------------------------------------------------------
def _masks(record, items, png, class_png, colors):
    """Reads SegmentationObject, and sets the size of the image.

    The class of a region is that of SegmentationClass where its names are known, or else that of
    the object of its number in the XML file.
    """
    numbers = _colors.read_numbers(png)
    record.file = str(png)
    record.height, record.width = numbers.shape
    classes = None
    with reading(png, "SegmentationObject of VOC"):
        found = [region for region in regions(numbers) if region.value not in (0, VOID)]
    if class_png is not None and (colors is not None or not items):
        values = (_colors.read_numbers if colors is None else _colors.read_colors)(class_png)
        if values.shape != numbers.shape:
            raise ValueError(f"{class_png}: its size is not that of {png}.")
        with reading(class_png, "SegmentationClass of VOC"):
            classes = most_frequent(numbers, values)
    objects = []
    for region in found:
        label = f"region {region.value}"
        item = items[region.value - 1] if region.value <= len(items) else None
        if item is not None and item.box is not None and not _covers(item.box, region.bounds):
            item = None
        if classes is not None:
            name = _class_name(classes[region.value], colors)
        else:
            name = None if item is None else item.name
        if name is None:
            reason = "neither SegmentationClass nor the object of that number in the XML fits it"
            raise broken(record, label, reason)
        difficult = item is not None and item.difficult
        objects.append(VocObject(name, None, difficult, label, region.shape))
    return objects


def _covers(box, bounds):
    """Whether at least half of the bounds of a mask lie in a box."""
    y1, x1, y2, x2 = bounds
    height = min(box[2], y2) - max(box[0], y1)
    width = min(box[3], x2) - max(box[1], x1)
    return min(height, width) > 0 and 2 * height * width >= (y2 - y1) * (x2 - x1)


def _class_name(value, colors):
    if colors is None:
        return CLASSES[value - 1] if 1 <= value <= len(CLASSES) else None
    color = (value >> 16, value >> 8 & 255, value & 255)
    return next((name for name, rgb in colors.items() if rgb == color), None)


def _classes(names, colors):
    """Returns (number, name): those of labelmap.txt, then the others sorted."""
    listed = list(colors or ())
    listed += sorted(names - set(listed), key=_folders.natural)
    return list(enumerate(listed, 1))


def _warn_of_difficult(records, classes, path):
    """Warns of classes whose objects are all marked difficult: nothing is learned from them."""
    objects = {i.class_id for record in records for i in record.instances if not i.crowd}
    crowds = {i.class_id for record in records for i in record.instances if i.crowd}
    names = [classes[class_id] for class_id in sorted(crowds - objects)]
    if names:
        logger.warning(
            "%s: all objects of the classes %s are marked difficult, and training ignores them. If "
            'they are objects like any other, read the files with difficult="objects".',
            path,
            ", ".join(names[:10]) + ", ..." * (len(names) > 10),
        )


def _write_palette(path, labels):
    image = PillowImage.fromarray(labels.astype(np.uint8))
    image.putpalette([part for number in range(256) for part in _colors.voc_color(number)])
    with atomic_path(path) as temporary:
        image.save(temporary)
