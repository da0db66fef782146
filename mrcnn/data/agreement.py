"""Compares two annotations of the same images: how well do two people agree?"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from mrcnn.data.annotations import Annotations
from mrcnn.data.lint.one_image import collect
from mrcnn.data.lint.record import Object
from mrcnn.images.overlaps import rle_overlaps, to_xywh, xywh_overlaps

MATCH_IOU = 0.5  # two objects with a lower IoU are not the same object


@dataclass
class Agreement:
    """What two annotations of the same images have in common.

    Attributes:
        overlaps: list of float. The IoU of each pair of matched objects.
        pairs: Counter of (class name, class name). The classes of the matched objects.
        missed: list of str. Objects that only the first annotation has.
        added: list of str. Objects that only the second annotation has.
        images: int. Images that both have.
        unshared: list of str. Images that only one of them has.
    """

    overlaps: list[float] = field(default_factory=list)
    pairs: Counter = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    images: int = 0
    unshared: list[str] = field(default_factory=list)

    @property
    def confused(self) -> dict[tuple[str, str], int]:
        """The pairs of different classes, the most frequent first."""
        return {pair: n for pair, n in self.pairs.most_common() if pair[0] != pair[1]}

    @property
    def mean_iou(self) -> float:
        """The mean IoU of matched objects; nan without any."""
        return float(np.mean(self.overlaps)) if self.overlaps else float("nan")


def agreement(first: Annotations, second: Annotations, min_iou: float = MATCH_IOU) -> Agreement:
    """Matches the objects of two annotations, image by image, whatever their classes.

    Images are the same if their file names are. Crowds are left out.

    Args:
        first: Annotations.
        second: Annotations.
        min_iou: float in 0..1. The least IoU of a match. Defaults to 0.5.

    Returns:
        Agreement.
    """
    found = Agreement()
    others = {os.path.basename(str(image.path)): image for image in second.images}
    for image in first.images:
        name = os.path.basename(str(image.path))
        other = others.pop(name, None)
        if other is None:
            found.unshared.append(name)
            continue
        found.images += 1
        ones, twos = (_objects(record) for record in (image, other))
        overlaps = _overlaps(ones, twos)
        rows, columns = linear_sum_assignment(np.where(overlaps < min_iou, 0, -overlaps))
        matches = [(r, c) for r, c in zip(rows, columns, strict=True) if overlaps[r, c] >= min_iou]
        for row, column in matches:
            found.overlaps.append(float(overlaps[row, column]))
            names = _name(first, ones[row]), _name(second, twos[column])
            found.pairs[names] += 1
        for objects, kept, missing in (
            (ones, {row for row, _ in matches}, found.missed),
            (twos, {column for _, column in matches}, found.added),
        ):
            missing += [f"{name}: {o.name}" for i, o in enumerate(objects) if i not in kept]
    found.unshared += others
    return found


def _objects(image) -> list[Object]:
    return [found for found in collect(image).objects if not found.instance.crowd]


def _overlaps(ones, twos):
    """The IoU of masks, or of boxes where one side has no masks, float [N, M]."""
    if all(found.code is not None for found in (*ones, *twos)):
        return rle_overlaps([found.code for found in ones], [found.code for found in twos])
    boxes = [to_xywh([found.box for found in objects]) for objects in (ones, twos)]
    return xywh_overlaps(boxes[0], boxes[1])


def _name(annotations, found):
    return str(annotations.classes[found.instance.class_id - 1][1])
