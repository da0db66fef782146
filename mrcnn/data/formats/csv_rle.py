"""CSV with run-length codes, as Kaggle's: a row per instance, `ImageId,EncodedPixels` and more.

A code is pairs of first pixel and length, separated by spaces. The pixels are counted from 1, from
top to bottom, then from left to right. An empty code says that the image has no object (of the
class). `ClassId`, `Height` and `Width` may be columns of their own; `ImageId_ClassId` joins two.
"""

from __future__ import annotations

import csv
import io
import logging
import os
from pathlib import Path

import numpy as np

from mrcnn.data.annotations import Annotations, Image, Instance, Rle, broken
from mrcnn.data.formats import _folders
from mrcnn.data.formats._files import ImageFinder
from mrcnn.data.formats._runs import encode_runs
from mrcnn.data.formats._writing import file_names
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.files import read_size
from mrcnn.images.rle import MAX_RLE_PIXELS, decode_rle, mask_to_rle, rle_counts
from mrcnn.images.texts import read_text

NAME = "csv_rle"
SOURCE = "csv_rle"
# Names of columns in competitions, in lower case without "_"
CODES = ("encodedpixels", "rle", "rlemask")
IMAGES = ("imageid", "image", "imagename", "filename", "id")
CLASSES = ("classid", "class", "label", "category", "categoryid")
JOINED = ("imageidclassid", "imagelabel")
SIDES = ("height", "width")
CLASS_NAMES = "classname"  # with it, the class ids give the order of the classes
NOTHING = ("", "nan", "none", "null", "-1")  # codes of no object; -1 is that of SIIM
ORDERS = ("columns", "rows")

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a CSV file with a column of codes, or a folder that holds one."""
    return bool(_files(path)) if path.is_dir() else _has_codes(path)


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_name: str = "object",
    order: str = "columns",
) -> Annotations:
    """Reads run-length codes.

    Args:
        path: str or path. The CSV file, or a folder that holds one.
        images: str or path. The folder of images; subfolders are searched. Defaults to None: the
            folder of the CSV file.
        class_name: str. Name of the one class, where no column has the classes. Defaults to
            "object".
        order: str. How pixels are counted: "columns", from top to bottom and then from left to
            right; or "rows", from left to right first. Defaults to "columns".

    Returns:
        Annotations; images without an object are part of them if the file lists them. The classes
        are sorted.

    Raises:
        FileNotFoundError: if there is no such file or folder, or no image of a name whose size the
            file does not hold.
        ValueError: if a row is damaged, naming the line.
    """
    if order not in ORDERS:
        raise ValueError(f"order must be one of {ORDERS}, got {order!r}.")
    file = _one_file(Path(path)) if Path(path).is_dir() else Path(path)
    rows = _rows(file)
    pairs = {(row["class"], row["class_name"]) for row in rows if row["class"] is not None}
    listed = sorted(pairs, key=lambda pair: _folders.natural(pair[0])) or [(1, class_name)]
    classes = [(_id(number), name or str(number)) for number, name in listed]
    class_ids = {number: index for index, (number, _) in enumerate(listed, 1)}
    if len(class_ids) != len(classes):
        raise ValueError(f"{file}: a ClassId has several names: give each class one.")
    finder = _Finder(file, file.parent if images is None else Path(images))
    records: dict[str, Image] = {}
    instances: dict[str, list[Instance]] = {}
    for row in rows:
        record = records.get(row["image"])
        if record is None:
            record = records[row["image"]] = finder.record(row)
            record.instances = instances[row["image"]] = []
        if row["code"].lower() not in NOTHING:
            line = f"line {row['line']}"
            shape = _shape(row["code"], record, line, order)
            class_id = 1 if row["class"] is None else class_ids[row["class"]]
            instances[row["image"]].append(Instance(class_id, shape=shape, name=line))
    return Annotations(SOURCE, classes, list(records.values()))


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a CSV file with columns for classes and sizes; the images stay where they are.

    File names start from the folder that all images have in common. Classes without an instance
    are not part of the file.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The CSV file.

    Raises:
        ValueError: if an instance has no mask, or there is a crowd.
    """
    _folders.check_no_crowds(annotations, NAME)
    names = file_names(annotations)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["ImageId", "ClassId", "ClassName", "EncodedPixels", "Height", "Width"])
    used = set()
    for image, name in zip(annotations.images, names, strict=True):
        height, width = _folders.size_of(image)
        rows = []
        for instance, mask in _folders.objects(image):
            if mask is None:
                raise broken(image, instance.name, f"it has no mask, which {NAME!r} needs")
            used.add(instance.class_id)
            class_name = annotations.classes[instance.class_id - 1][1]
            rows.append([name, instance.class_id, class_name, _code(mask), height, width])
        writer.writerows(rows or [[name, "", "", "", height, width]])
    unused = [name for i, (_, name) in enumerate(annotations.classes, 1) if i not in used]
    if unused:
        logger.warning("%s: classes without an instance are left out: %s.", path, unused[:10])
    write_text(path, text.getvalue())


# --- The file ------------------------------------------------------------------------------------
def _rows(file):
    """Returns the rows as dicts of line, image, code, class, class_name, height and width."""
    expected = "a CSV file of run-length codes"
    text = read_text(file, expected, max_bytes=None)
    with reading(file, expected):
        lines = text.split("\n")
        header = _cells(lines[0])
        columns = _columns(header)
        if "code" not in columns or "image" not in columns:
            raise ValueError(f"it needs columns ImageId and EncodedPixels, got {shorten(header)}")
        rows = []
        for number, line in enumerate(lines[1:], 2):
            cells = _cells(line)
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise ValueError(f"line {number}: expected {len(header)} cells, got {len(cells)}")
            rows.append(_row({key: cells[at].strip() for key, at in columns.items()}, number))
        if not rows:
            raise ValueError("it has no rows")
    return rows


def _cells(line):
    # the csv module cuts cells at 131,072 characters, and codes can be longer
    return next(csv.reader([line])) if '"' in line else line.split(",")


def _row(row, line):
    image, number = row["image"], row.get("class")
    if "joined" in row:
        image, _, number = image.rpartition("_")
    if not image:
        raise ValueError(f"line {line}: it names no image")
    sides = {}
    for side in SIDES:
        value = row.get(side) or "0"
        if not (value.isascii() and value.removesuffix(".0").isdigit() and len(value) < 10):
            raise ValueError(f"line {line}: {side} must be a whole number, got {shorten(value)}")
        sides[side] = int(value.removesuffix(".0"))
    nothing = row["code"].lower() in NOTHING
    if number == "" and not nothing:
        raise ValueError(f"line {line}: it has a code, but no class")
    return {
        "line": line,
        "image": image,
        "code": row["code"],
        "class": number or None,
        "class_name": row.get("class_name", ""),
        **sides,
    }


def _columns(header) -> dict[str, int]:
    """Returns the positions of the columns that are known."""
    found: dict[str, int] = {}
    kinds = {"code": CODES, "image": IMAGES, "class": CLASSES, "joined": JOINED}
    kinds |= {"class_name": (CLASS_NAMES,), "height": ("height",), "width": ("width",)}
    for index, name in enumerate(header):
        plain = name.strip().lower().replace("_", "")
        for kind, known in kinds.items():
            if plain in known:
                found.setdefault(kind, index)
    if "joined" in found:
        found.setdefault("image", found["joined"])
    return found


def _files(folder):
    """Returns the files with codes; a sample of what to hand in has codes without a meaning."""
    files = sorted(entry for entry in folder.iterdir() if _has_codes(entry))
    return [file for file in files if "sample_submission" not in file.name]


def _has_codes(path):
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(2**12).decode("utf-8-sig", "ignore")
    columns = _columns(head.splitlines()[0].split(",") if head else [])
    return "code" in columns and "image" in columns


def _one_file(folder):
    found = _files(folder)
    if len(found) != 1:
        names = ", ".join(path.name for path in found[:5]) or "none"
        raise ValueError(
            f"{folder}: expected one CSV file of run-length codes, found {names}. Name the file "
            "itself."
        )
    return _folders.inside(found[0], folder)


# --- Images and codes ----------------------------------------------------------------------------
class _Finder:
    """Finds the image of a row: by its name with or without suffix, in any subfolder."""

    def __init__(self, file, folder):
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such image folder. Check the path.")
        self.file = file
        self.folder = folder
        self._found: dict[str, list[Path]] = {}
        for image in _folders.files_below(folder):
            relative = image.relative_to(folder)
            names = {image.stem, image.name, relative.as_posix()}
            names.add(relative.with_suffix("").as_posix())
            for name in names:
                self._found.setdefault(name, []).append(image)

    def record(self, row):
        """Returns the record of the image of a row, without instances."""
        name, height, width = row["image"], row["height"], row["width"]
        fitting = self._found.get(name, [])
        if len(fitting) > 1:
            listed = " and ".join(map(str, fitting[:3]))
            raise ValueError(f"{self.file}: line {row['line']}: {shorten(name)} fits {listed}.")
        path = str(fitting[0]) if fitting else ImageFinder(self.file, self.folder).find(name)
        if not (height and width):
            if not fitting:
                raise FileNotFoundError(
                    f"{self.file}: line {row['line']}: no image {shorten(name)} in {self.folder}, "
                    "and no columns Height and Width. Give the folder of images as images=."
                )
            height, width = read_size(path)
        if height * width > MAX_RLE_PIXELS:
            raise ValueError(
                f"{self.file}: line {row['line']}: an image of {height}x{width} pixels, more than "
                f"{MAX_RLE_PIXELS}. Correct its size, or cut it into tiles."
            )
        return Image(name, path, height, width, file=str(self.file))


def _shape(code, image, name, order):
    """Returns the shape that a code stands for."""
    height, width = image.height, image.width
    try:
        numbers = np.array(code.split(), np.int64)
    except (ValueError, OverflowError) as error:
        raise broken(image, name, f"its code has more than numbers: {shorten(code)}") from error
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if numbers.size % 2 or (numbers < 1).any():
        reason = f"its code must be pairs of first pixel and length from 1, got {shorten(code)}"
        raise broken(image, name, reason)
    ordered = np.argsort(starts, kind="stable")
    starts, lengths = starts[ordered], lengths[ordered]
    ends = starts + lengths
    if (ends > height * width).any() or (lengths > height * width).any():
        reason = f"its code leaves the image of {height}x{width} pixels: {shorten(code)}"
        raise broken(image, name, reason)
    if (ends[:-1] > starts[1:]).any():
        raise broken(image, name, f"its code has a pixel twice: {shorten(code)}")
    first = np.ones(len(starts), bool)  # runs that touch become one
    first[1:] = ends[:-1] < starts[1:]
    size = (height, width) if order == "columns" else (width, height)
    shape = encode_runs(starts[first], ends[np.append(first[1:], True)], size)
    if order == "rows":
        turned = decode_rle({"size": shape.size, "counts": shape.counts}).T
        shape = Rle([height, width], mask_to_rle(turned)["counts"])
    return shape


def _code(mask):
    """Returns the code of a mask."""
    counts = rle_counts(mask_to_rle(mask))
    edges = np.cumsum(counts)
    starts = edges[: len(counts) // 2 * 2 : 2] + 1
    return " ".join(f"{start} {length}" for start, length in zip(starts, counts[1::2], strict=True))


def _id(text):
    """Returns the id of a class: a number where it is one."""
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 18 else text
