"""YOLO: one text file of boxes or polygons per image, with `data.yaml` or `classes.txt`.

A row is `class x_center y_center width height` (LabelImg, YOLO) or `class x1 y1 x2 y2 x3 y3 ...`
(YOLO-seg), in fractions of the image. One more number at the end is the score of a model.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PureWindowsPath

import numpy as np

from mrcnn.data.annotations import Annotations, Image, Instance, Polygons, broken
from mrcnn.data.formats import _folders, _yaml
from mrcnn.errors import reading, shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.files import IMAGE_SUFFIXES, read_size
from mrcnn.images.outlines import one_ring, trace
from mrcnn.images.texts import read_text

NAME = "yolo"
SOURCE = "yolo"
SPLITS = ("train", "val", "valid", "test")  # "valid" is Roboflow's name of the folder
NAME_FILES = ("classes.txt", "obj.names")  # LabelImg and Label Studio; Darknet and CVAT
# Without names, the classes are "0" up to the largest number in the files. More than any public
# data set has, so that one wrong number cannot ask for a network of any size.
MAX_CLASSES = 20_000
MAX_PARTS = 32  # folders of a path in data.yaml; each is looked for on the disk
FAR = 0.5  # how far a point may lie outside, in sides of the image; further ones are pixels
_ROW = re.compile(rb"\s*\d+(\.0+)?([ \t]+[-+.\deE]+){4,}[ \t]*\r?(\n|$)")

logger = logging.getLogger("mrcnn")


def looks_like(path: Path) -> bool:
    """Returns whether a path is a data.yaml, or a folder of images and YOLO labels."""
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml") and _is_data_yaml(path)
    if not path.is_dir():
        return False
    if _data_yamls(path):
        return True
    # Labels without names of classes are left to a JSON file beside them, which has the names.
    return (_names_file(path) is not None or not any(path.glob("*.json"))) and _has_labels(path)


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    split: str | None = None,
    names: Sequence[str] | None = None,
) -> Annotations:
    """Reads boxes and polygons.

    Args:
        path: str or path. The data.yaml; the folder that holds it; a folder with `images` and
            `labels`; a folder `labels`, with `images` beside it; or a folder of both kinds of file.
        images: str or path. The folder of images. Defaults to None: as the layout says.
        split: str. The part of the data set to read, such as "train" or "val": an entry of
            data.yaml or a subfolder. Defaults to None: all of them.
        names: list of str. The names of the classes. Defaults to None: those of data.yaml or
            classes.txt, or else the numbers in the files as text.

    Returns:
        Annotations. The id of an image is its path without the folder `images` and the suffix. An
        image without a label file has no instances.

    Raises:
        FileNotFoundError: if there is no such file or folder, or there are no images.
        ValueError: if a file is damaged, or names something outside of its folder.
    """
    root, splits, found_names = _layout(Path(path))
    if images is None:
        image_root, files = root, _chosen(splits, split, path)
    else:
        image_root, files = Path(images), _folders.files_below(Path(images))
        root = _folders.subfolder(root, "labels") or root
    if not files:
        raise FileNotFoundError(
            f"{path}: no images were found in {image_root}. Give their folder as images=."
        )
    if names is not None:
        found_names = dict(enumerate(names))
    labels = {
        label.relative_to(root).with_suffix(""): label
        for label in _folders.files_below(root, (".txt",))
    }
    records: dict[str, Image] = {}
    used = set()
    for file in files:
        relative = file.relative_to(image_root).with_suffix("")
        label = labels.get(_mirrored(relative), labels.get(relative))
        image_id = "/".join(part for part in relative.parts if part != "images")
        if image_id in records:
            raise ValueError(
                f"{records[image_id].path} and {file} have the same name without suffix: keep one "
                "of them, or rename it."
            )
        used.add(label)
        records[image_id] = _record(image_id, file, label, found_names)
    if split is None:
        _warn_of_unused(labels.values(), used, path)
    classes = _classes(found_names, list(records.values()))
    return Annotations(SOURCE, classes, list(records.values()))


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder with data.yaml, `labels`, and a copy of the images in `images`.

    A mask becomes one polygon: its holes and parts are joined by lines without area, so that it
    draws the same mask. Scores have no place in files to train with, and are not written.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The folder to write.

    Raises:
        ValueError: if YOLO cannot hold the annotations.
    """
    _folders.check_no_crowds(annotations, NAME)
    folder = Path(path)
    for stem, image in _folders.by_stem(annotations).items():
        height, width = _folders.size_of(image)
        rows = []
        for instance, mask in _folders.objects(image):
            if mask is not None:
                numbers = (one_ring(trace(mask)) / (width, height)).ravel()
            else:
                y1, x1, y2, x2 = np.asarray(instance.box) / (height, width, height, width)
                numbers = np.array([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
            fractions = " ".join(f"{number:.8g}" for number in numbers)
            rows.append(f"{instance.class_id - 1} {fractions}\n")
        write_text(folder / "labels" / f"{stem}.txt", "".join(rows))
        _folders.copy_image(image, folder / "images")
    labels = [str(name) for _, name in annotations.classes]
    names = "".join(
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n"
        for number, name in enumerate(labels)
    )
    text = f"path: .\ntrain: images\nval: images\n\nnc: {len(labels)}\nnames:\n{names}"
    write_text(folder / "data.yaml", text)


# --- Layout --------------------------------------------------------------------------------------
def splits(path: Path) -> list[str]:
    """Returns the parts of a data set: the entries of data.yaml, or the folders of `images`."""
    _, found, _ = _layout(Path(path))
    return ["val" if name == "valid" else name for name, files in found.items() if name and files]


def _layout(path):
    """Returns the root folder, the image files of each split, and the names of the classes."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder. Check the path.")
    root = path if path.is_dir() else path.parent
    yamls = _data_yamls(root) if path.is_dir() else [path]
    if len(yamls) > 1:
        listed = ", ".join(file.name for file in yamls[:5])
        raise ValueError(f"{path}: expected one data.yaml, found {listed}. Name the file itself.")
    if yamls:
        entries, names = _read_yaml(_folders.inside(yamls[0], root))
        splits = {name: _entry(entry, root, name, yamls[0]) for name, entry in entries.items()}
        return root, {name: files for name, files in splits.items() if files}, names
    if root.name == "labels" and (root.parent / "images").is_dir():
        root = root.parent
    names_file = _names_file(root)
    names = None
    if names_file is not None:
        lines = read_text(_folders.inside(names_file, root), "a list of class names").splitlines()
        names = {number: line.strip() for number, line in enumerate(lines) if line.strip()}
    images = _folders.subfolder(root, "images") or root
    parts = [_folders.subfolder(images, name) for name in SPLITS]
    splits = {part.name: _folders.files_below(part) for part in parts if part is not None}
    return root, {"": _folders.files_below(images), **splits}, names


def _chosen(splits, split, path):
    """Returns the images of one split, or of all; each once."""
    if split is None:
        return list(dict.fromkeys(file for files in splits.values() for file in files))
    for name in {"val": ("val", "valid"), "valid": ("valid", "val")}.get(split, (split,)):
        if name in splits:
            return splits[name]
    known = ", ".join(repr(name) for name in splits if name) or "none"
    raise ValueError(f"{path}: there is no split {split!r}. Its splits: {known}.")


def _read_yaml(file):
    """Returns the entries of the splits, as lists of (base, text), and the names by number."""
    expected = "a data.yaml of YOLO"
    text = read_text(file, expected)
    with reading(file, expected):
        data = _yaml.parse(text)
        if "kpt_shape" in data:
            raise ValueError("its kpt_shape stands for keypoints, which are not read")
        names = data.get("names") or []
        if isinstance(names, str):
            raise ValueError(f"names must be a list, or numbered; got {shorten(names)}")
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        numbered = {_class_number(str(number)): name for number, name in pairs}
        base = data.get("path", "")
        entries = {}
        for name in SPLITS:
            value = data.get(name) or []
            listed = [value] if isinstance(value, str) else list(value)
            if listed:
                entries[name] = [(base if isinstance(base, str) else "", text) for text in listed]
        return entries, numbered or None


def _entry(entry, root, name, file):
    """Returns the images that an entry of data.yaml stands for: folders, files, or lists of them.

    The paths in it may start anywhere on the machine that wrote the file ("/content/data/train",
    "../train/images"). They are looked for inside the folder of the file only: the first parts are
    left out until something fits.
    """
    files = []
    for base, text in entry:
        found = _locate(root, base, text)
        if found is None:
            if name != "test":  # often named, but not part of a download
                logger.warning("%s: %s: %s is nowhere in %s.", file, name, shorten(text), root)
            continue
        if found.suffix.lower() == ".txt":
            lines = read_text(found, "a list of image files", max_bytes=None).split("\n")
            named = (_locate(root, line.strip()) for line in lines if line.strip())
            files += [image for image in named if image is not None]
        else:
            files += _folders.files_below(found) if found.is_dir() else [found]
    return files


def _locate(root, *texts):
    """Returns the file or folder that a path stands for, inside the root, or None."""
    parts = [part for text in texts for part in PureWindowsPath(text).parts if part != "."]
    if not parts:  # "." is the folder itself
        return root
    parts = [part for part in parts if part != ".." and not part.endswith((":", "\\", "/"))]
    for first in range(max(len(parts) - MAX_PARTS, 0), len(parts)):
        candidate = root.joinpath(*parts[first:])
        if os.path.exists(candidate):
            return _folders.inside(candidate, root)
    return None


def _data_yamls(folder):
    files = [entry for entry in folder.iterdir() if entry.suffix.lower() in (".yaml", ".yml")]
    return sorted(file for file in files if file.is_file() and _is_data_yaml(file))


def _is_data_yaml(file):
    """Whether a YAML file names classes and where the images for training are."""
    with file.open("rb") as stream:
        text = stream.read(2**16)  # thousands of names
    return all(re.search(rb"(?m)^" + key + rb"\s*:", text) for key in (b"names", b"(?:train|val)"))


def _names_file(root):
    for folder in (root, root / "labels"):
        for name in NAME_FILES:
            if (folder / name).is_file():
                return folder / name
    return None


def _has_labels(folder):
    """Whether one of the first text files holds rows of numbers, and belongs to an image."""
    root = folder.parent if folder.name == "labels" else folder
    start = _folders.child(folder, "labels") or folder
    for _, (parent, _, names) in zip(range(20), os.walk(start), strict=False):
        for name in sorted(name for name in names if name.lower().endswith(".txt"))[:20]:
            file = Path(parent, name)
            with file.open("rb") as stream:
                if _ROW.match(stream.read(2**12)) and _has_image(file.relative_to(root), root):
                    return True
    return False


def _has_image(label, root):
    parts = ["images" if part == "labels" else part for part in label.parts]
    stems = [root.joinpath(*parts).with_suffix(""), (root / label).with_suffix("")]
    return any(
        os.path.isfile(f"{stem}{suffix}")
        for stem in stems
        for suffix in (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES))
    )


def _mirrored(relative):
    """Returns where the label of an image lies: the last `images` of its path becomes `labels`."""
    parts = list(relative.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return PurePath(*parts)


def _warn_of_unused(labels, used, path):
    folders = {label.parent for label in used if label is not None}
    unused = [label for label in labels if label.parent in folders and label not in used]
    unused = [label for label in unused if _ROW.match(label.read_bytes()[:4096])]
    if unused:
        logger.warning(
            "%s: %d label files have no image and are left out, such as %s.",
            path,
            len(unused),
            ", ".join(label.name for label in unused[:3]),
        )


# --- Rows ----------------------------------------------------------------------------------------
def _record(image_id, file, label, names):
    height, width = read_size(file)
    record = Image(image_id, str(file), height=height, width=width, file=str(label or file))
    if label is None:
        return record
    text = read_text(label, "a YOLO label file")
    instances = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            instances.append(_instance(line, f"line {number}", names, record))
    record.instances = instances
    return record


def _instance(line, name, names, image):
    try:
        first, *rest = line.split()
        class_number = _class_number(first)
        values = np.array(rest, np.float64)
    except ValueError as error:
        raise broken(image, name, f"expected numbers, got {shorten(line)}") from error
    if names is not None and class_number not in names:
        raise broken(image, name, f"class {class_number} is not among the {len(names)} names")
    if len(values) < 4:
        raise broken(image, name, f"expected at least 5 numbers, got {shorten(line)}")
    score = None
    if len(values) % 2:
        values, score = values[:-1], float(values[-1])
    if not (np.abs(values - 0.5) <= 0.5 + FAR).all() or not 0 <= (score or 0) <= 1:
        reason = f"expected fractions of the image from 0 to 1, not pixels, got {shorten(line)}"
        raise broken(image, name, reason)
    size = np.array([image.width, image.height])
    if len(values) > 4:
        shape = Polygons([(values.reshape(-1, 2) * size).ravel().tolist()])
        return Instance(class_number + 1, shape=shape, name=name, score=score)
    center, sides = values[:2] * size, values[2:] * size
    if (sides < 0).any():
        raise broken(image, name, f"the box has a negative side: {shorten(line)}")
    (x1, y1), (x2, y2) = (center - sides / 2).tolist(), (center + sides / 2).tolist()
    return Instance(class_number + 1, box=(y1, x1, y2, x2), name=name, score=score)


def _class_number(text):
    """Returns the number of a class; some tools write it as 3.0."""
    number = float(text)
    if not 0 <= number < MAX_CLASSES or number != int(number):
        raise ValueError(f"a class is a whole number below {MAX_CLASSES}, got {shorten(text)}")
    return int(number)


def _classes(names, records):
    """Returns the classes; those without a name have their number as one."""
    numbers = [instance.class_id - 1 for record in records for instance in record.instances]
    count = max([*numbers, *(names or ())], default=0) + 1
    return [(number, (names or {}).get(number, str(number))) for number in range(count)]
