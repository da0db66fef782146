"""The record of annotations: every format is read into it and written from it.

A record says where the shape of an instance is described; nothing is decoded before it is needed.
This is the one place that turns shapes into masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.dataset import read_cached
from mrcnn.images.files import read_label_image
from mrcnn.images.rle import decode_rle


# --- The record ----------------------------------------------------------------------------------
@dataclass(slots=True)
class Polygons:
    """A shape that is the union of polygons.

    Attributes:
        points: list of lists [x1, y1, x2, y2, ...] in pixels. A single polygon may also be a flat
            list or a list of points [x, y].
    """

    points: Any


@dataclass(slots=True)
class Rle:
    """A shape as a COCO run-length code.

    Attributes:
        size: [height, width].
        counts: list of ints, or str or bytes (compressed).
    """

    size: Any
    counts: Any


@dataclass(slots=True)
class Label:
    """A shape that is one value of a label image.

    Attributes:
        file: str. The path of the label image.
        number: int or None. The value of its pixels. None: every value but 0 is an instance of its
            own, which needs no look at the file beforehand.
    """

    file: str
    number: int | None = None


@dataclass(slots=True)
class MaskFile:
    """A shape that is an image file of its own, not zero inside.

    Attributes:
        file: str. The path of the image file.
    """

    file: str


@dataclass(slots=True)
class Instance:
    """One annotated object.

    Attributes:
        class_id: int. Number of its class, from 1.
        crowd: bool. Whether it is a region of many objects, which training ignores.
        box: (y1, x1, y2, x2) in pixels, upper bounds exclusive, or None: the bounds of its shape.
        shape: Polygons, Rle, Label, MaskFile, or None if only the box is known.
        name: str. What errors call it, such as "annotation 17".
    """

    class_id: int
    crowd: bool = False
    box: tuple[float, float, float, float] | None = None
    shape: Polygons | Rle | Label | MaskFile | None = None
    name: str = "instance"

    @property
    def signed_class_id(self) -> int:
        """The class id, negative for a crowd, as a `Dataset` returns it."""
        return -self.class_id if self.crowd else self.class_id


@dataclass(slots=True)
class Image:
    """One image and its instances.

    Attributes:
        id: its id in the source.
        path: str or None. The image file.
        height, width: ints, the size in pixels that was annotated, or None if the source does not
            say.
        instances: sequence of `Instance`.
        file: str. What holds the annotations, for errors.
    """

    id: Any
    path: str | None
    height: int | None = None
    width: int | None = None
    instances: Sequence[Instance] = ()
    file: str = "annotations"


@dataclass(frozen=True)
class Annotations:
    """The annotations of a data set.

    Attributes:
        source: str. Name of the origin of the ids, such as "coco".
        classes: list of (id in the source, name); the first is class 1.
        images: list of `Image`.
    """

    source: str
    classes: list[tuple[Any, str]]
    images: list[Image] = field(default_factory=list)


# --- Masks of the record -------------------------------------------------------------------------
def annotated_size(image: Image) -> tuple[int, int] | None:
    """Returns the (height, width) that an image was annotated in, or None if nothing says it."""
    if image.height is not None and image.width is not None:
        return image.height, image.width
    for instance in image.instances:
        shape = instance.shape
        if isinstance(shape, MaskFile):
            height, width = read_cached(shape.file, _read_mask).shape
            return height, width
        if isinstance(shape, Label):
            height, width = read_labels(shape).shape
            return height, width
    return None


def iterate_masks(image: Image) -> Iterator[tuple[int, np.ndarray]]:
    """Draws the instances of an image, one at a time, in their order.

    Args:
        image: Image.

    Yields:
        (class_id, mask): int, negative for a crowd, and bool [height, width].

    Raises:
        ValueError: if an instance has no shape, a damaged one, or one of another size than its
            image.
    """
    files: dict[str, np.ndarray] = {}  # each label image is decoded once per image
    for instance in image.instances:
        if is_label_image(instance.shape):
            labels = read_labels(instance.shape)
            for number in range(1, int(labels.max(initial=0)) + 1):
                yield instance.signed_class_id, labels == number
        else:
            yield instance.signed_class_id, _draw(image, instance, files)


def rasterize(image: Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Draws the instances of an image; those without a pixel are left out.

    Args:
        image: Image.

    Returns:
        (masks, class_ids): bool [height, width, N] and int32 [N], negative for crowds; or None if
        there are none, and nothing says how large the image is.

    Raises:
        ValueError: as `iterate_masks`.
    """
    kept = [(class_id, mask) for class_id, mask in iterate_masks(image) if mask.any()]
    if kept:
        masks = np.stack([mask for _, mask in kept], axis=-1)
        return masks, np.array([class_id for class_id, _ in kept], np.int32)
    size = annotated_size(image)
    return None if size is None else (np.zeros((*size, 0), bool), np.zeros(0, np.int32))


def _draw(image, instance, files):
    """Draws one instance, bool [height, width]."""
    shape, size = instance.shape, annotated_size(image)
    if shape is None:
        reason = "it has no segmentation. Add one, or set USE_MASKS = False (boxes alone)"
        raise broken(image, instance.name, reason)
    if size is None:
        reason = "the size of its image is missing: give height and width"
        raise broken(image, instance.name, reason)
    try:
        if isinstance(shape, Rle):
            return _decode(shape, size)
        if isinstance(shape, Polygons):
            return _fill(shape.points, size)
    except (TypeError, ValueError, OverflowError) as error:
        raise broken(image, instance.name, error) from error
    if isinstance(shape, MaskFile):
        mask = read_cached(shape.file, _read_mask)
    else:
        if shape.file not in files:
            files[shape.file] = read_labels(shape)
        mask = files[shape.file] == shape.number
    if mask.shape != size:
        raise ValueError(
            f"{shape.file}: the mask is {mask.shape[0]}x{mask.shape[1]}, but the image is "
            f"annotated as {size[0]}x{size[1]} (height x width). All masks must have the size of "
            "their image."
        )
    return mask


def broken(image: Image, name: str, reason: Any) -> ValueError:
    """Returns the error for an instance that cannot be used.

    Args:
        image: Image. The image of the instance.
        name: str. What to call the instance, such as "annotation 17".
        reason: str or exception. What is wrong with it.
    """
    return ValueError(f"{image.file}: {name} of image {image.path}: {reason}.")


def _decode(shape, size):
    found = tuple(int(side) for side in shape.size)
    if found != size:
        raise ValueError(f"its RLE has size {found}, but its image {size} (height, width)")
    return decode_rle({"size": shape.size, "counts": shape.counts})


def _fill(polygons, size):
    """Draws the union of polygons as pycocotools does."""
    if all(np.size(part) == 1 for part in polygons) or (
        len(polygons) > 2 and all(np.size(part) == 2 for part in polygons)
    ):
        polygons = [polygons]  # one polygon as a flat list, or as a list of points
    polygons = [np.asarray(polygon, np.float64).ravel() for polygon in polygons]
    for polygon in polygons:
        if polygon.size < 6 or polygon.size % 2 or not np.isfinite(polygon).all():
            raise ValueError("a polygon needs at least three points [x1, y1, x2, y2, ...]")
        # Far points cost memory for each pixel of the outline: keep them near the image.
        polygon[0::2] = np.clip(polygon[0::2], -size[1], 2 * size[1])
        polygon[1::2] = np.clip(polygon[1::2], -size[0], 2 * size[0])
    codes = coco_mask.frPyObjects([polygon.tolist() for polygon in polygons], *size)
    return decode_rle(coco_mask.merge(codes))


def is_label_image(shape: Any) -> TypeGuard[Label]:
    """Returns whether a shape stands for all instances of a label image."""
    return isinstance(shape, Label) and shape.number is None


def read_labels(shape: Label) -> np.ndarray:
    """Reads a label image through the cache of the process.

    Args:
        shape: Label.

    Returns:
        int [H, W]: the values of the file; or 1, 2, ... in their ascending order if the shape
        stands for all of them, int32.

    Raises:
        ValueError: if the file cannot be read or does not hold whole numbers.
    """
    return read_cached(shape.file, _read_consecutive if is_label_image(shape) else _read_numbers)


def _read_mask(path):
    return read_label_image(path) > 0


def _read_numbers(path):
    labels = read_label_image(path)
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise ValueError(
            f"{path}: a label image must hold whole numbers of at least 0, got {labels.dtype}."
        )
    return labels


def _read_consecutive(path):
    """Reads a label image and numbers its values 1, 2, ... in ascending order, int32 [H, W]."""
    labels = _read_numbers(path)
    values = np.unique(np.append(np.unique(labels), labels.dtype.type(0)))
    stored, numbers = labels.reshape(-1), np.empty(labels.size, np.int32)
    for start in range(0, labels.size, 2**20):  # in blocks, because the search makes int64
        block = slice(start, start + 2**20)
        numbers[block] = np.searchsorted(values, stored[block])
    return numbers.reshape(labels.shape)
