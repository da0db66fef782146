"""Shared by the writers for annotation tools: names of images and classes, outlines of objects."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrcnn.data.annotations import Annotations, Image, Polygons
from mrcnn.data.formats._folders import check_no_crowds, objects
from mrcnn.images.outlines import one_ring, trace


@dataclass
class Outline:
    """An object as tools store it. One of `ring`, `mask` and `box` is given.

    Attributes:
        label: str. The name of its class.
        ring: array [num_points, 2], one polygon that draws its mask, or None.
        mask: bool [height, width], or None.
        box: (y1, x1, y2, x2) of an object that has no shape, or None.
        score: float or None.
    """

    label: str
    ring: np.ndarray | None = None
    mask: np.ndarray | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None


def target_file(path: str | os.PathLike, default: str, *suffixes: str) -> Path:
    """Returns the file to write: the path itself, or a file in it if it is or can be a folder.

    Args:
        path: str or path. A file with the suffix of the format, or a folder.
        default: str. The name of the file in a folder, such as "annotations.xml".
        *suffixes: str. Further suffixes that the format may have.

    Raises:
        ValueError: if the path has the suffix of another format.
    """
    path = Path(path)
    if path.is_dir() or not path.suffix:
        return path / default
    expected = (Path(default).suffix, *suffixes)
    if path.suffix.lower() not in expected:
        raise ValueError(f"{path}: expected a folder, or a file named *{' or *'.join(expected)}.")
    return path


def class_names(annotations: Annotations, format: str) -> list[str]:
    """Returns the names of the classes, for a format that tells classes apart by their names.

    Args:
        annotations: Annotations.
        format: str. The name of the format, for the error.

    Raises:
        ValueError: if two classes have the same name, or there are crowds.
    """
    names = [str(name) for _, name in annotations.classes]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"The format {format!r} tells classes apart by their names, but two are named "
            f"{twice!r}. Rename one."
        )
    check_no_crowds(annotations, format)
    return names


def file_names(annotations: Annotations) -> list[str]:
    """Returns the file name of each image, from the folder that all images have in common.

    Raises:
        ValueError: if an image has no file, or two images have the same.
    """
    paths = []
    for image in annotations.images:
        if image.path is None:
            raise ValueError(f"Image {image.id!r} has no file that could be named.")
        paths.append(os.path.abspath(image.path))
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise ValueError(f"{twice}: two images of the data set have this file. Remove one.")
    if not paths:
        return []
    common = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [Path(os.path.relpath(path, common)).as_posix() for path in paths]


def outlines(annotations: Annotations, image: Image, polygons: bool) -> Iterator[Outline]:
    """Yields the objects of an image as a tool can store them; those without a pixel are left out.

    A shape of one polygon keeps its points. Other shapes are drawn.

    Args:
        annotations: Annotations. The data set of the image.
        image: Image.
        polygons: bool. Whether a drawn mask is to become one polygon, with slits to its holes and
            between its parts.

    Yields:
        Outline.
    """
    names = [str(name) for _, name in annotations.classes]
    for instance in image.instances:
        label, score = names[instance.class_id - 1], instance.score
        ring = _one_polygon(instance.shape)
        if ring is not None:
            yield Outline(label, ring=ring, score=score)
            continue
        # a label image holds many objects, every other shape one
        for _, mask in objects(replace(image, instances=[instance])):
            if mask is None:
                yield Outline(label, box=instance.box, score=score)
            elif polygons:
                yield Outline(label, ring=one_ring(trace(mask)), score=score)
            else:
                yield Outline(label, mask=mask, score=score)


def _one_polygon(shape):
    """Returns the points of a shape that is a single polygon, float64 [num_points, 2], or None."""
    if not isinstance(shape, Polygons):
        return None
    parts = shape.points
    if isinstance(parts, (list, tuple)) and len(parts) == 1:
        parts = parts[0]  # a list of one polygon
    try:
        flat = np.asarray(parts, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return None  # several polygons of different lengths, or a damaged one: it is drawn
    is_one = np.ndim(parts) == 1 or np.shape(parts)[1:] == (2,)
    whole = flat.size >= 6 and flat.size % 2 == 0 and np.isfinite(flat).all()
    return flat.reshape(-1, 2) if is_one and whole else None
