"""Faults of a data set as a whole: images and classes compared with each other."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mrcnn.data.annotations import Annotations
from mrcnn.data.lint.one_image import hash_pixels
from mrcnn.data.lint.record import Checked, Limits, Object, Problem
from mrcnn.errors import shorten
from mrcnn.images.files import list_images, read_image

OUTLIER_SPREAD = 6.0  # standard deviations of log(area) that make an outlier
OUTLIER_COUNT = 10  # objects of a class from which on its usual area is known


# --- Images --------------------------------------------------------------------------------------
def duplicate_images(images: Sequence[Checked]) -> Iterator[Problem]:
    """Yields images that have the pixels of an earlier one."""
    first: dict[str, Checked] = {}
    for checked in images:
        if checked.pixels is None:
            continue
        other = first.setdefault(checked.pixels, checked)
        if other is checked:
            continue
        same = _described(checked) == _described(other)
        yield Problem(
            "duplicate image",
            str(checked.image.path),
            "",
            f"it has the same pixels as {other.image.path}, with {'the same' if same else 'other'} "
            "annotations. Remove one of them.",
            checked.image if same else None,
        )


def _described(checked):
    return sorted((found.instance.class_id, found.box) for found in checked.objects)


def unlisted_images(annotations: Annotations) -> Iterator[Problem]:
    """Yields image files that lie beside listed ones, but are not listed."""
    listed = {os.path.realpath(image.path) for image in annotations.images if image.path}
    for folder in sorted({os.path.dirname(path) for path in listed}):
        if not os.path.isdir(folder):
            continue
        for path in list_images(folder):
            if os.path.realpath(path) not in listed:
                yield Problem(
                    "unlisted image",
                    str(path),
                    "",
                    "it lies beside the annotated images, but is not listed. Annotate it (an image "
                    "without objects is useful, too), or move it away.",
                )


def leaks(images: Sequence[Checked], val: Annotations, workers: int) -> Iterator[Problem]:
    """Yields images of the validation set that have the pixels of one of the training set."""
    held = {checked.pixels: checked for checked in images if checked.pixels is not None}

    def read(image):
        try:
            return hash_pixels(read_image(image.path))
        except (ValueError, OSError, TypeError):  # a check of the validation set reports it
            return None

    with ThreadPoolExecutor(workers) as threads:
        for image, pixels in zip(val.images, threads.map(read, val.images), strict=True):
            if pixels in held:
                yield Problem(
                    "leak",
                    str(image.path),
                    "",
                    f"this validation image has the same pixels as {held[pixels].image.path} of "
                    "the training set, so that its score proves nothing. Remove one of them.",
                )


# --- Classes -------------------------------------------------------------------------------------
def similar_classes(annotations: Annotations) -> Iterator[Problem]:
    """Yields class names that differ in case, spaces, hyphens and underscores only."""
    groups = defaultdict(list)
    for _, name in annotations.classes:
        groups[plain_name(name)].append(name)
    for names in groups.values():
        if len(names) > 1:
            listed = ", ".join(shorten(name) for name in names)
            text = f"the class names {listed} differ in case or spaces only. Give them one name."
            yield Problem("similar classes", _file(annotations), "", text)


def plain_name(name: str) -> str:
    """Returns a class name without case, spaces, hyphens and underscores."""
    return "".join(letter for letter in str(name).casefold() if letter not in " \t-_")


def rare_classes(annotations: Annotations, limits: Limits) -> Iterator[Problem]:
    """Yields classes with too few images, and in one line those with none."""
    images: Counter[int] = Counter()
    for image in annotations.images:
        images.update({i.class_id for i in image.instances if not i.crowd})
    unused = []
    for class_id, (_, name) in enumerate(annotations.classes, 1):
        if not images[class_id]:
            unused.append(shorten(name))
        elif images[class_id] < limits.min_images:
            yield Problem(
                "rare class",
                _file(annotations),
                "",
                f"the class {shorten(name)} is in {images[class_id]} of {len(annotations.images)} "
                f"images, and {limits.min_images} are the least. Annotate more, or leave it out.",
            )
    if unused and limits.min_images:
        listed = ", ".join(unused[:5]) + ", ..." * (len(unused) > 5)
        yield Problem(
            "unused classes",
            _file(annotations),
            "",
            f"{len(unused)} of {len(annotations.classes)} classes have no object: {listed}. "
            "Annotate some, or leave the classes out.",
        )


def unusual_areas(annotations: Annotations, images: Sequence[Checked]) -> Iterator[Problem]:
    """Yields objects whose area is far from that of the other objects of their class."""
    groups: dict[int, list[tuple[Checked, Object]]] = defaultdict(list)
    for checked in images:
        for found in checked.objects:
            if not found.instance.crowd:
                groups[found.instance.class_id].append((checked, found))
    for class_id, group in sorted(groups.items()):
        if len(group) < OUTLIER_COUNT:
            continue
        logs = np.log([max(found.area, 1) for _, found in group])
        median = float(np.median(logs))
        # 1.4826 times the median distance is the std of a normal distribution. Objects of one
        # true size are drawn with areas that differ by a tenth, so that is the least.
        spread = max(1.4826 * float(np.median(np.abs(logs - median))), 0.1)
        for (checked, found), value in zip(group, logs, strict=True):
            if abs(value - median) > OUTLIER_SPREAD * spread:
                yield Problem(
                    "unusual area",
                    str(checked.image.path),
                    found.name,
                    f"it has {found.area:.0f} pixels, but half of the objects of the class "
                    f"{shorten(annotations.classes[class_id - 1][1])} have more and half less than "
                    f"{np.exp(median):.0f}. Check its outline and its class.",
                )


def _file(annotations):
    return annotations.images[0].file if annotations.images else annotations.source
