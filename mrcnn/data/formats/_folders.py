"""Shared by the formats that are folders of files: finding them, and writing them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    annotated_size,
    broken,
    iterate_masks,
)
from mrcnn.images.atomic import atomic_path
from mrcnn.images.files import IMAGE_SUFFIXES, read_size
from mrcnn.images.masks import mask_bounds


# --- Finding files -------------------------------------------------------------------------------
def files_below(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> list[Path]:
    """Lists the files in a folder and its subfolders, in natural order. Hidden ones are left out.

    Args:
        folder: Path.
        suffixes: tuple of str, in lower case. Defaults to those of images.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if one is a link to a place outside the folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Check the path.")
    found = []
    for parent, folders, names in os.walk(folder):  # does not follow links to folders
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            inside(Path(parent, name), folder)
        for name in names:
            if not name.startswith(".") and name.lower().endswith(suffixes):
                path = Path(parent, name)
                found.append(inside(path, folder) if path.is_symlink() else path)
    return sorted(found, key=natural)


def child(folder: Path, *names: str) -> Path | None:
    """Returns the first of several subfolders that exists, or None, wherever a link leads.

    Args:
        folder: Path.
        *names: str. Their names, without regard to upper and lower case.
    """
    entries = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    found = (entry for name in names for entry in entries if entry.name.lower() == name.lower())
    return next(found, None)


def subfolder(folder: Path, *names: str) -> Path | None:
    """Returns what `child` does.

    Raises:
        ValueError: if it is a link to a place outside the folder.
    """
    found = child(folder, *names)
    return None if found is None else inside(found, folder)


def inside(path: Path, root: str | os.PathLike) -> Path:
    """Returns a path, after checking that it stays in a folder when links are followed.

    Args:
        path: Path.
        root: str or path. The folder.

    Raises:
        ValueError: if it does not.
    """
    real, root = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, root]) != root:
        raise ValueError(
            f"{path} leads out of the folder {root}, to {real}: files of an annotation folder must "
            "lie in it. Copy the file into the folder."
        )
    return path


def natural(value: object) -> list[Any]:
    """Returns a sort key that puts "a2" before "a10"."""
    parts: list[Any] = re.split(r"(\d+)", str(value))  # text and digits in turn
    parts[1::2] = [(len(digits.lstrip("0")), digits) for digits in parts[1::2]]
    return parts


def one_per_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Returns files by their names without suffix.

    Raises:
        ValueError: if two files have the same one.
    """
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(
                f"{other} and {path} have the same name without suffix: keep one of them, or "
                "rename it."
            )
    return found


# --- Writing -------------------------------------------------------------------------------------
def objects(image: Image) -> Iterator[tuple[Instance, np.ndarray | None]]:
    """Draws the instances of an image for a writer, one at a time.

    Args:
        image: Image.

    Yields:
        (instance, mask): bool [height, width], or None if only the box is known. An instance that
        stands for a whole label image is yielded once per object of it. Instances without a pixel
        are left out.

    Raises:
        ValueError: if an instance has neither a box nor a mask, or a damaged one.
    """
    height, width = size_of(image)
    for instance in image.instances:
        if instance.shape is None:
            if instance.box is None:
                raise broken(image, instance.name, "it has neither a box nor a mask")
            yield instance, None
            continue
        alone = replace(image, height=height, width=width, instances=[instance])
        for _, mask in iterate_masks(alone):
            if mask.any():
                yield instance, mask


def paint(image: Image, name: str) -> tuple[np.ndarray, list[Instance]]:
    """Draws the instances of an image into one label image. The smaller one is on top.

    Args:
        image: Image.
        name: str. The format, for errors.

    Returns:
        (labels, instances): int32 [height, width], 0 for nothing and i + 1 for instance i, and the
        instances in their order; those without a pixel are left out.

    Raises:
        ValueError: if an instance has no mask, or no pixel of it would be left.
    """
    labels = np.zeros(size_of(image), np.int32)
    instances, crops = [], []
    for instance, mask in objects(image):
        if mask is None:
            raise broken(image, instance.name, f"it has no mask, which {name!r} needs")
        y1, x1, y2, x2 = mask_bounds(mask) or (0, 0, 0, 0)
        instances.append(instance)
        crops.append((np.s_[y1:y2, x1:x2], mask[y1:y2, x1:x2].copy()))
    for index in np.argsort([-crop.sum() for _, crop in crops], kind="stable"):
        place, crop = crops[index]
        labels[place][crop] = index + 1
    visible = np.bincount(labels.ravel(), minlength=len(instances) + 1)[1:] > 0
    if not visible.all():
        hidden = instances[int(visible.argmin())].name
        reason = f"it lies under other instances, and {name!r} holds no overlaps. Write 'coco'"
        raise broken(image, hidden, reason)
    return labels, instances


def size_of(image: Image) -> tuple[int, int]:
    """Returns the (height, width) that an image was annotated in, or else that of its file."""
    return annotated_size(image) or read_size(image.path or "")


def check_no_crowds(annotations: Annotations, name: str) -> None:
    """Refuses annotations with crowds.

    Args:
        annotations: Annotations.
        name: str. The format, for the error.

    Raises:
        ValueError: if there is a crowd.
    """
    for image in annotations.images:
        if any(instance.crowd for instance in image.instances):
            raise ValueError(
                f"The format {name!r} cannot mark crowds, but {image.path} holds some. Write "
                "'coco', or read with crowds=\"objects\"."
            )


def check_one_class(annotations: Annotations, name: str) -> None:
    """Refuses annotations that need classes or crowds.

    Args:
        annotations: Annotations.
        name: str. The format, for the error.

    Raises:
        ValueError: if there is more than one class, or a crowd.
    """
    if len(annotations.classes) > 1:
        raise ValueError(
            f"The format {name!r} holds one class, but there are {len(annotations.classes)}: "
            f"{', '.join(str(label) for _, label in annotations.classes[:10])}. Write 'coco'."
        )
    check_no_crowds(annotations, name)


def by_stem(annotations: Annotations) -> dict[str, Image]:
    """Returns the images by their file names without suffix, in their order.

    Raises:
        ValueError: if an image has no file, or two have the same name.
    """
    found: dict[str, Image] = {}
    for image in annotations.images:
        if image.path is None:
            raise ValueError(f"Image {image.id!r} has no file that could be copied.")
        other = found.setdefault(Path(image.path).stem, image)
        if other is not image:
            raise ValueError(
                f"{other.path} and {image.path} have the same name without suffix: rename one."
            )
    return found


def copy_image(image: Image, folder: Path) -> None:
    """Copies the file of an image into a folder."""
    source = Path(image.path or "")
    with atomic_path(folder / source.name) as temporary:
        shutil.copyfile(source, temporary)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes a PNG file of one channel, 8 or 16 bits."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{path}: cannot write {pixels.dtype} {pixels.shape} as PNG.")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
