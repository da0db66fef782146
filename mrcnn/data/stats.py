"""Counts what a data set holds: classes, sizes, crowding, balance."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from mrcnn.data.annotations import Annotations
from mrcnn.data.lint.one_image import collect

IMBALANCE = 10.0  # times as many objects of one class as of another, above which training suffers


@dataclass
class ClassStatistics:
    """What a data set holds of one class.

    Attributes:
        name: str.
        objects: int. Without crowds.
        images: int. Images with at least one of them.
        pixels: int. The sum of their areas.
    """

    name: str
    objects: int = 0
    images: int = 0
    pixels: int = 0


@dataclass
class Statistics:
    """What a data set holds.

    Attributes:
        classes: list of ClassStatistics, in the order of the data set.
        image_sizes: list of (height, width), one per readable image.
        per_image: list of int. Objects in each readable image.
        areas: list of float. The area of each object in pixels.
        sides: list of (height, width). The box of each object in pixels.
        class_ids: list of int. The class of each object, from 1.
        crowds: int. Regions of many objects, which are counted nowhere else.
        unreadable: int. Images that cannot be read.
    """

    classes: list[ClassStatistics] = field(default_factory=list)
    image_sizes: list[tuple[int, int]] = field(default_factory=list)
    per_image: list[int] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    sides: list[tuple[float, float]] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)
    crowds: int = 0
    unreadable: int = 0

    @property
    def imbalance(self) -> float:
        """How many times more objects the largest class has than the smallest that has any."""
        counts = [entry.objects for entry in self.classes if entry.objects]
        return max(counts) / min(counts) if counts else 1.0

    def lines(self) -> list[str]:
        """Returns the statistics as lines of text."""
        lines = [
            f"{len(self.image_sizes)} images, {len(self.areas)} objects, "
            f"{len(self.classes)} classes"
        ]
        if self.image_sizes:
            lines.append(f"image size: {_sizes(self.image_sizes)}")
            most, usual = max(self.per_image), float(np.median(self.per_image))
            empty = self.per_image.count(0)
            lines.append(
                f"objects per image: median {usual:.0f}, at most {most}, {empty} images without any"
            )
        if self.areas:
            low, middle, high = np.percentile(np.sqrt(self.areas), [5, 50, 95])
            lines.append(
                f"object size (root of the area): median {middle:.0f} pixels, 5 % are below "
                f"{low:.0f}, 5 % above {high:.0f}"
            )
        used = [entry for entry in self.classes if entry.objects]
        width = max([len(entry.name) for entry in used] + [5])
        lines.append(f"{'class':<{width}}  {'objects':>8}  {'images':>7}  {'pixels':>6}")
        pixels = max(sum(entry.pixels for entry in self.classes), 1)
        for entry in used:
            lines.append(
                f"{entry.name:<{width}}  {entry.objects:>8}  {entry.images:>7}  "
                f"{entry.pixels / pixels:>6.1%}"
            )
        if len(used) < len(self.classes):
            lines.append(f"{len(self.classes) - len(used)} classes without objects")
        return lines + self.warnings()

    def warnings(self) -> list[str]:
        """Returns what should be known before training, one line each."""
        lines = []
        if self.unreadable:
            lines.append(f"Warning: {self.unreadable} images cannot be read: see mrcnn data check.")
        if self.imbalance > IMBALANCE:
            counts = sorted((e for e in self.classes if e.objects), key=lambda e: e.objects)
            lines.append(
                f"Warning: the class {counts[-1].name} has {self.imbalance:.0f} times as many "
                f"objects as {counts[0].name}. Annotate more of the rare class, or train with "
                "repeat-factor sampling."
            )
        if self.crowds:
            lines.append(f"{self.crowds} regions are crowds, which training ignores.")
        return lines


def statistics(
    annotations: Annotations, workers: int = 2, advance: Callable[[], None] | None = None
) -> Statistics:
    """Counts what a data set holds. Every image and mask is read.

    Args:
        annotations: Annotations.
        workers: int. Threads that read images. Defaults to 2.
        advance: function or None. Called after each image. Defaults to None.

    Returns:
        Statistics.
    """
    found = Statistics([ClassStatistics(str(name)) for _, name in annotations.classes])
    with ThreadPoolExecutor(workers) as threads:
        for checked in threads.map(collect, annotations.images):
            if advance is not None:
                advance()
            if checked.size is None:
                found.unreadable += 1
                continue
            found.image_sizes.append(checked.size)
            objects = [o for o in checked.objects if not o.instance.crowd]
            found.crowds += len(checked.objects) - len(objects)
            found.per_image.append(len(objects))
            for one in objects:
                entry = found.classes[one.instance.class_id - 1]
                entry.objects += 1
                entry.pixels += int(one.area)
                found.areas.append(float(one.area))
                found.sides.append((one.box[2] - one.box[0], one.box[3] - one.box[1]))
                found.class_ids.append(one.instance.class_id)
            for class_id in {o.instance.class_id for o in objects}:
                found.classes[class_id - 1].images += 1
    return found


def _sizes(sizes):
    different = sorted(set(sizes))
    text = ", ".join(f"{height}x{width}" for height, width in different[:3])
    if len(different) > 3:
        (low, high) = different[0], different[-1]
        text = f"{low[0]}x{low[1]} to {high[0]}x{high[1]}, {len(different)} sizes"
    return text + " (height x width)"
