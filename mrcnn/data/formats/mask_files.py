"""Mask files: a folder of images, and one of `<image>_<class>_<number>.png`, one per instance.

This is the layout that pycococreator converts to COCO. The masks lie in `annotations` or `masks`,
the images in the folder beside it, and are not zero inside.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mrcnn.data.annotations import Annotations, Image, Instance, MaskFile, broken
from mrcnn.data.formats import _folders
from mrcnn.errors import shorten
from mrcnn.images.atomic import write_text
from mrcnn.images.files import IMAGE_SUFFIXES, list_images
from mrcnn.images.texts import read_text

NAME = "mask_files"
SOURCE = "mask_files"
MASK_FOLDERS = ("annotations", "masks")
CLASSES = "classes.txt"  # written beside the masks, to keep the order of the classes
_RESERVED = re.compile(r'[\x00-\x1f<>:"/\\|?*]')  # not in names of files on every system


def looks_like(path: Path) -> bool:
    """Returns whether a path is a folder of images and a folder of masks named after them."""
    if not path.is_dir() or path.name.lower() in MASK_FOLDERS:
        return False
    try:
        images, masks = _pair(path)
    except (FileNotFoundError, ValueError):
        return False
    stems = {file.stem for file in list_images(images)}
    first = next((entry for entry in masks.iterdir() if _is_mask(entry)), None)
    return first is not None and _parse(first.stem, stems) is not None


def read(path: str | os.PathLike, images: str | os.PathLike | None = None) -> Annotations:
    """Reads the names of mask files. The masks are decoded when they are needed.

    Args:
        path: str or path. The folder that holds the two folders, or the folder of masks.
        images: str or path. The folder of images. Defaults to None: the one beside the masks.

    Returns:
        Annotations. The id of an image is its name without suffix; an image without masks has no
        instances. The classes are in the order of classes.txt, if there is one, or else sorted.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if a mask is named after no image, or two images have the same name.
    """
    if images is None:
        image_folder, mask_folder = _pair(Path(path))
    else:
        image_folder = Path(images)
        mask_folder = _folders.subfolder(Path(path), *MASK_FOLDERS) or Path(path)
    found = _folders.one_per_stem(_folders.files_below(image_folder))
    masks: dict[str, list[tuple[int, str, Path]]] = {stem: [] for stem in found}
    for file in _folders.files_below(mask_folder):
        parsed = _parse(file.stem, masks)
        if parsed is None:
            raise ValueError(
                f"{file}: no image in {image_folder} fits its name. Expected a mask to be named "
                "<image>_<class>_<number>, such as 1000_square_0.png for 1000.jpg."
            )
        stem, class_name, number = parsed
        masks[stem].append((number, class_name, file))
    names = {name for listed in masks.values() for _, name, _ in listed}
    classes = list(enumerate(_ordered(names, mask_folder), 1))
    class_ids = {name: number for number, name in classes}
    records = []
    for stem, listed in masks.items():
        instances = [
            Instance(class_ids[name], shape=MaskFile(str(file)), name=file.name)
            for _, name, file in sorted(listed)
        ]
        records.append(Image(stem, str(found[stem]), instances=instances, file=str(mask_folder)))
    return Annotations(SOURCE, classes, records)


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder of masks, `annotations`, and a copy of the images in `images` beside it.

    Args:
        annotations: Annotations without crowds, with image files.
        path: str or path. The folder that is to hold both.

    Raises:
        ValueError: if the names of masks cannot hold those of images and classes, an instance has
            no mask, or there is a crowd.
    """
    _folders.check_no_crowds(annotations, NAME)
    names = [str(name) for _, name in annotations.classes]
    for name in names:
        if _RESERVED.search(name) or name != name.strip() or not name or names.count(name) > 1:
            raise ValueError(f"A class {shorten(name)} cannot be part of a file name: rename it.")
    images = _folders.by_stem(annotations)
    folder = Path(path) / "annotations"
    for stem, image in images.items():
        for number, (instance, mask) in enumerate(_folders.objects(image)):
            if mask is None:
                raise broken(image, instance.name, f"it has no mask, which {NAME!r} needs")
            class_name = names[instance.class_id - 1]
            mask_name = f"{stem}_{class_name}_{number}"
            if _parse(mask_name, images) != (stem, class_name, number):
                raise ValueError(f"{mask_name}.png could belong to another image: rename {stem}.")
            pixels = mask.astype(np.uint8) * np.uint8(255)
            _folders.write_png(folder / f"{mask_name}.png", pixels)
        _folders.copy_image(image, Path(path) / "images")
    write_text(folder / CLASSES, "".join(f"{name}\n" for name in names))


def _pair(path) -> tuple[Path, Path]:
    """Returns the folders of images and of masks."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder. Check the path.")
    parent = path.parent if path.name.lower() in MASK_FOLDERS else path
    masks = path if parent != path else _folders.subfolder(path, *MASK_FOLDERS)
    if masks is None:  # a folder around it
        inner = [entry for entry in path.iterdir() if entry.is_dir()]
        if len(inner) == 1 and _folders.subfolder(inner[0], *MASK_FOLDERS) is not None:
            return _pair(_folders.inside(inner[0], path))
    folders = sorted(entry for entry in parent.iterdir() if entry.is_dir() and entry != masks)
    images = [entry for entry in folders if any(map(_is_mask, entry.iterdir()))]
    if masks is None or len(images) != 1:
        raise ValueError(
            f"{path}: expected a folder of masks, {' or '.join(MASK_FOLDERS)}, and one folder of "
            f"images beside it, found {len(images)}. Give the folder of images as images=."
        )
    return _folders.inside(images[0], parent), masks


def _is_mask(path):
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _parse(name, stems) -> tuple[str, str, int] | None:
    """Splits the name of a mask into the longest image name that fits, the class and a number."""
    for stem in _beginnings(name):
        match = re.fullmatch(r"_(.+)_(\d{1,18})", name[len(stem) :])
        if stem in stems and match is not None:
            return stem, match[1], int(match[2])
    return None


def _beginnings(name) -> Iterator[str]:
    """Yields what comes before each underscore, the longest first."""
    end = name.rfind("_")
    while end > 0:
        yield name[:end]
        end = name.rfind("_", 0, end)


def _ordered(names, folder):
    """Returns the names of classes in the order of classes.txt, or sorted."""
    listed = []
    if (folder / CLASSES).is_file():
        file = _folders.inside(folder / CLASSES, folder)
        listed = read_text(file, "a list of class names").splitlines()
    listed = list(dict.fromkeys(name.strip() for name in listed if name.strip()))
    return listed + sorted(names - set(listed), key=_folders.natural)
