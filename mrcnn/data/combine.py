"""Merges annotations, and takes parts of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mrcnn.data.annotations import Annotations, Image
from mrcnn.data.split import assign, classes_in


def merge(parts: Sequence[Annotations]) -> Annotations:
    """Merges annotations of different images into one set.

    Classes are the same if their names are. The ids of the first set stay; an image or class of a
    later one gets a new id only where its own is taken.

    Args:
        parts: sequence of Annotations, at least one.

    Returns:
        Annotations.

    Raises:
        ValueError: if two images are the same file.
    """
    classes: dict[str, Any] = {}  # id by name
    images: list[Image] = []
    ids: set = set()
    paths: dict[str, str] = {}
    for part in parts:
        numbers = {}
        for number, (source_id, name) in enumerate(part.classes, 1):
            if name not in classes:
                classes[name] = _free(source_id, set(classes.values()))
            numbers[number] = list(classes).index(name) + 1
        for image in part.images:
            other = paths.setdefault(str(image.path), image.file)
            if image.path is not None and other != image.file:
                raise ValueError(
                    f"{image.path} is annotated in {other} and in {image.file}. Remove it from one "
                    "of them."
                )
            instances = [replace(i, class_id=numbers[i.class_id]) for i in image.instances]
            number = _free(image.id, ids)
            ids.add(number)
            images.append(replace(image, id=number, instances=instances))
    return Annotations(parts[0].source, [(i, name) for name, i in classes.items()], images)


def subset(
    annotations: Annotations,
    classes: Collection[str] | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Annotations:
    """Takes some classes, or some images, of a set. Ids stay as they are.

    Args:
        annotations: Annotations.
        classes: collection of str or None. Names of the classes to keep; images without any of
            them are left out. Defaults to None: all.
        count: int or None. How many images to take; the classes keep about their shares. Defaults
            to None: all.
        seed: int. The same seed takes the same images. Defaults to 0.

    Returns:
        Annotations.

    Raises:
        ValueError: if there is no class of a name, or there are not enough images.
    """
    images, kept = list(annotations.images), list(annotations.classes)
    if classes is not None:
        names = [str(name) for _, name in kept]
        unknown = [name for name in classes if name not in names]
        if unknown:
            raise ValueError(f"There is no class {unknown[0]!r}. The classes: {', '.join(names)}.")
        kept = [entry for entry in kept if str(entry[1]) in classes]
        numbers = {names.index(str(name)) + 1: new for new, (_, name) in enumerate(kept, 1)}
        images = [_only(image, numbers) for image in images]
        images = [image for image in images if image.instances]
    if count is not None:
        if not 1 <= count <= len(images):
            raise ValueError(f"count must be from 1 to {len(images)} images, got {count}.")
        if count < len(images):
            share = count / len(images)
            parts = assign([classes_in(image) for image in images], [1 - share, share], seed)
            images = [images[index] for index in np.flatnonzero(parts == 1)]
    return Annotations(annotations.source, kept, images)


def take(annotations: Annotations, indices: Iterable[int]) -> Annotations:
    """Takes the images of some indices, in ascending order."""
    images = [annotations.images[index] for index in sorted(indices)]
    return Annotations(annotations.source, list(annotations.classes), images)


def _only(image, numbers):
    instances = [i for i in image.instances if i.class_id in numbers]
    return replace(image, instances=[replace(i, class_id=numbers[i.class_id]) for i in instances])


def _free(wanted, taken):
    """Returns the wanted id, or one that is free."""
    if wanted not in taken:
        return wanted
    if isinstance(wanted, int):
        return max(i for i in taken if isinstance(i, int)) + 1
    number = 2
    while f"{wanted}_{number}" in taken:
        number += 1
    return f"{wanted}_{number}"
