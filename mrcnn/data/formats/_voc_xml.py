"""The XML files of Pascal VOC."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from mrcnn.data.annotations import Image, Instance, Rle, broken
from mrcnn.data.formats import _folders
from mrcnn.data.formats._files import read_xml
from mrcnn.errors import shorten
from mrcnn.images.files import read_size

Box = tuple[float, float, float, float]
DETAILS = ("name", "pose", "truncated", "difficult", "occluded", "part", "attributes", "actions")

logger = logging.getLogger("mrcnn")


@dataclass
class VocObject:
    """An object of an XML file, or one with a mask of SegmentationObject.

    Attributes:
        name: str. Its class.
        box: (y1, x1, y2, x2) in pixels, upper bounds exclusive, or None if it has no box.
        difficult: bool. Whether it is marked difficult.
        label: str. What errors call it.
        shape: Rle or None.
    """

    name: str
    box: Box | None
    difficult: bool
    label: str
    shape: Rle | None = None


def read_annotation(
    file: Path, image_id: str, find: Callable[..., Image], first_pixel: int
) -> tuple[Image, list[VocObject]]:
    """Reads an XML file.

    Args:
        file: Path. The XML file.
        image_id: str. The id of its image.
        find: callable (image_id, file, name) -> Image. Finds the image; `name` is the one that the
            file says.
        first_pixel: int. The number of the first pixel, 1 or 0.

    Returns:
        (image, objects): the record of the image, without instances, and its objects. Objects that
        are no boxes have None as their box, and are warned of.

    Raises:
        ValueError: if the file is no VOC annotation, or an object has no name or a damaged box.
    """
    root = read_xml(file, "a VOC annotation")
    if root.tag != "annotation":
        raise ValueError(f"{file}: expected <annotation>, got <{shorten(root.tag)}>.")
    record = find(image_id, file, (root.findtext("filename") or "").strip())
    sides = [_integer(root.findtext(f"size/{side}")) for side in ("height", "width")]
    if min(sides) > 0:
        record.height, record.width = sides
    elif os.path.isfile(record.path or ""):  # some tools write 0
        record.height, record.width = read_size(record.path or "")
    found = []
    others = []
    for number, element in enumerate(root.findall("object"), 1):
        label = f"object {number}"
        name = (element.findtext("name") or "").strip()
        if not name:
            raise broken(record, label, "it has no <name>")
        corners = element.find("bndbox")
        if corners is None:
            kinds = [child.tag for child in element if child.tag not in DETAILS]
            others.append(f"<{shorten((kinds or ['nothing'])[0])[1:-1]}> ({label})")
        box = None if corners is None else _box(corners, record, label, first_pixel)
        difficult = _integer(element.findtext("difficult")) == 1
        found.append(VocObject(name, box, difficult, label))
    if others:
        listed = ", ".join(others[:5])
        logger.warning("%s: %d objects are no boxes: %s.", file, len(others), listed)
    return record, found


def annotation_text(
    image: Image, names: Sequence[str], boxes: Sequence[Box], instances: Sequence[Instance]
) -> str:
    """Returns the text of an XML file, with the elements of LabelImg in its order.

    Args:
        image: Image.
        names: list of str. The class of each instance.
        boxes: list of (y1, x1, y2, x2), those of the instances.
        instances: list of Instance.
    """
    height, width = _folders.size_of(image)
    root = ElementTree.Element("annotation")

    def add(parent, tag, value=None):
        element = ElementTree.SubElement(parent, tag)
        element.text = None if value is None else str(value)
        return element

    add(root, "folder", "JPEGImages")
    add(root, "filename", Path(image.path or "").name)
    add(add(root, "source"), "database", "Unknown")
    size = add(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        add(size, tag, value)
    add(root, "segmented", int(any(instance.shape is not None for instance in instances)))
    for name, box, instance in zip(names, boxes, instances, strict=True):
        y1, x1, y2, x2 = box
        element = add(root, "object")
        add(element, "name", name)
        add(element, "pose", "Unspecified")
        add(element, "truncated", int(y1 <= 0 or x1 <= 0 or y2 >= height or x2 >= width))
        add(element, "difficult", int(instance.crowd))
        corners = add(element, "bndbox")
        for tag, bound in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            add(corners, tag, f"{bound:.10g}")
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root, "unicode") + "\n"


def _box(corners, image, label, first_pixel):
    """Returns the box of a <bndbox>, whose upper bounds are inclusive if pixels count from 1."""
    found = [_number(corners.findtext(key)) for key in ("ymin", "xmin", "ymax", "xmax")]
    y1, x1, y2, x2 = found
    if not all(map(math.isfinite, found)) or y2 < y1 or x2 < x1:
        text = " ".join(ElementTree.tostring(corners, "unicode").split())
        raise broken(image, label, f"its box is damaged: {shorten(text)}")
    return y1 - first_pixel, x1 - first_pixel, y2, x2


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _integer(text):
    number = _number(text)
    return int(number) if math.isfinite(number) and abs(number) < 2**31 else 0
