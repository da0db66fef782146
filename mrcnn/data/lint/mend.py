"""Mends the faults that have one right mending; the others are left to a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    Polygons,
    Rle,
    is_label_image,
    iterate_masks,
)
from mrcnn.data.lint.record import Problem
from mrcnn.data.lint.whole_set import plain_name
from mrcnn.images.files import read_image
from mrcnn.images.outlines import trace
from mrcnn.images.rle import mask_to_rle

REMOVED = ("empty mask", "empty box", "empty object", "duplicate object")


def mend(
    annotations: Annotations, problems: Iterable[Problem]
) -> tuple[Annotations, list[Problem]]:
    """Returns a mended copy of annotations.

    Objects without a pixel and second copies of an object are removed, and second copies of an
    image with the same annotations. What leaves the image is cut off. A box that disagrees with
    its mask is dropped, so that the bounds of the mask count. Classes whose names differ in case
    or spaces become the first of them.

    Args:
        annotations: Annotations. They stay as they are.
        problems: iterable of Problem. What `lint` found in them.

    Returns:
        (mended, done): Annotations, and the problems that are mended in them.
    """
    done = []
    removed: set[int] = set()  # ids of entries of the record
    changed: dict[int, Instance] = {}
    for problem in problems:
        instance = problem.instance
        if problem.kind == "similar classes":
            done.append(problem)
        elif problem.kind == "duplicate image" and problem.image is not None:
            removed.add(id(problem.image))
            done.append(problem)
        elif problem.image is None or instance is None or is_label_image(instance.shape):
            continue
        elif problem.kind in REMOVED:
            removed.add(id(instance))
            done.append(problem)
        elif problem.kind == "box and mask":
            changed[id(instance)] = replace(changed.get(id(instance), instance), box=None)
            done.append(problem)
        elif problem.kind == "outside":
            clipped = _clip(problem.image, changed.get(id(instance), instance))
            changed[id(instance)] = clipped
            done.append(problem)
    classes, numbers = _unify(annotations.classes)
    images = []
    for image in annotations.images:
        if id(image) in removed:
            continue
        kept = [changed.get(id(i), i) for i in image.instances if id(i) not in removed]
        kept = [replace(i, class_id=numbers[i.class_id]) for i in kept]
        images.append(replace(image, instances=kept))
    return Annotations(annotations.source, classes, images), done


def _unify(classes: Sequence[tuple]) -> tuple[list[tuple], dict[int, int]]:
    """Returns the classes with names of their own, and the new number of each old one."""
    kept: dict[str, tuple] = {}
    for entry in classes:
        kept.setdefault(plain_name(entry[1]), entry)
    order = list(kept)
    numbers = {
        number: order.index(plain_name(name)) + 1 for number, (_, name) in enumerate(classes, 1)
    }
    return list(kept.values()), numbers


def _clip(image: Image, instance: Instance) -> Instance:
    """Cuts off what leaves the image."""
    if instance.shape is None:
        height, width = image.height, image.width
        if height is None or width is None:
            height, width = read_image(str(image.path)).shape[:2]
        limit = [height, width, height, width]
        y1, x1, y2, x2 = np.clip(np.array(instance.box), 0, limit).tolist()
        return replace(instance, box=(y1, x1, y2, x2))
    ((_, mask),) = iterate_masks(replace(image, instances=[instance]))
    parts = trace(mask)
    if any(holes for _, holes in parts):
        code = mask_to_rle(mask)
        return replace(instance, shape=Rle(code["size"], code["counts"]), box=None)
    points = [outline.ravel().tolist() for outline, _ in parts]
    return replace(instance, shape=Polygons(points), box=None)
