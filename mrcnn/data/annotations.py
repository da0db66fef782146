"""The record of annotations: every format is read into it and written from it.

A record says where the shape of an instance is described; nothing is decoded before it is needed.
This is the one place that turns shapes into masks, and it does so instance by instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.dataset import read_cached
from mrcnn.data.instances import SourceMasks
from mrcnn.images.files import read_label_image
from mrcnn.images.polygons import draw_polygons, polygon_parts
from mrcnn.images.rle import checked_rle, decode_rle, labels_to_rles, mask_to_rle

# Of all masks of one image as one array, which only load_mask makes: 700 masks of 4000x3000.
MAX_STACK_BYTES = 2**33
NO_SHAPE = "it has no segmentation. Add one, or set USE_MASKS = False (boxes alone)"


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
        score: float or None. How sure a model is of it, 0 to 1; None if a person drew it.
    """

    class_id: int
    crowd: bool = False
    box: tuple[float, float, float, float] | None = None
    shape: Polygons | Rle | Label | MaskFile | None = None
    name: str = "instance"
    score: float | None = None

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


def iterate_rles(image: Image) -> Iterator[tuple[Instance, dict]]:
    """Draws the instances of an image as run-length codes, one at a time, in their order.

    Args:
        image: Image.

    Yields:
        (instance, code): Instance, and {"size": [height, width], "counts": bytes}. An instance that
        stands for a whole label image comes once per value of it.

    Raises:
        ValueError: if an instance has no shape, a damaged one, or one of another size than its
            image.
    """
    files: dict[str, np.ndarray] = {}  # each label image is decoded once per image
    for instance in image.instances:
        if is_label_image(instance.shape):
            labels = read_labels(instance.shape)
            for code in labels_to_rles(labels, int(labels.max(initial=0))):
                yield instance, code
        else:
            yield instance, _draw(image, instance, files)


def iterate_masks(image: Image) -> Iterator[tuple[int, np.ndarray]]:
    """Draws the instances of an image, one at a time, in their order.

    Args:
        image: Image.

    Yields:
        (class_id, mask): int, negative for a crowd, and bool [height, width].

    Raises:
        ValueError: as `iterate_rles`.
    """
    for instance, code in iterate_rles(image):
        yield instance.signed_class_id, decode_rle(code)


def rasterize(image: Image) -> tuple[np.ndarray, np.ndarray] | None:
    """Draws the instances of an image into one array; those without a pixel are left out.

    Args:
        image: Image.

    Returns:
        (masks, class_ids): bool [height, width, N] and int32 [N], negative for crowds; or None if
        there are none, and nothing says how large the image is.

    Raises:
        ValueError: as `iterate_rles`, or if the array would be too large.
    """
    kept = [(instance, code) for instance, code in iterate_rles(image) if coco_mask.area(code)]
    size = tuple(kept[0][1]["size"]) if kept else annotated_size(image)
    if size is None:
        return None
    if len(kept) * size[0] * size[1] > MAX_STACK_BYTES:
        raise ValueError(
            f"{image.file}: {len(kept)} masks of image {image.path}, {size[0]}x{size[1]} (height x "
            f"width), are larger than {MAX_STACK_BYTES} bytes as one array. Use load_instances, "
            "which returns them run-length coded, or cut the image into tiles."
        )
    class_ids = np.array([instance.signed_class_id for instance, _ in kept], np.int32)
    masks = SourceMasks.from_rles([code for _, code in kept], class_ids, size)
    return masks.stack(), class_ids


def _draw(image, instance, files):
    """Draws one instance as a run-length code."""
    shape, size = instance.shape, annotated_size(image)
    if shape is None:
        raise broken(image, instance.name, NO_SHAPE)
    if size is None:
        reason = "the size of its image is missing: give height and width"
        raise broken(image, instance.name, reason)
    if isinstance(shape, Polygons | Rle):
        try:
            return draw_shape(shape, size)
        except ValueError as error:
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
    return mask_to_rle(mask)


def draw_shape(shape: Polygons | Rle, size: tuple[int, int]) -> dict:
    """Draws a shape as a run-length code.

    Args:
        shape: Polygons or Rle.
        size: (height, width) of its image.

    Raises:
        ValueError: if the shape is damaged, or a code of another size.
    """
    if isinstance(shape, Polygons):
        parts, scraps = polygon_parts(shape.points)
        if scraps and not parts:
            raise ValueError("a polygon needs at least three points [x1, y1, x2, y2, ...]")
        return draw_polygons(parts, size)
    code = checked_rle({"size": shape.size, "counts": shape.counts})
    check_rle_size(shape, size)
    return code


def check_rle_size(shape: Rle, size: tuple[int, int]) -> None:
    """Refuses a run-length code of another size than its image.

    Args:
        shape: Rle. Its size is two numbers, as `images.rle` checks.
        size: (height, width) of its image.

    Raises:
        ValueError: if they differ.
    """
    found = tuple(int(side) for side in shape.size)
    if found != size:
        raise ValueError(f"its RLE has size {found}, but its image {size} (height, width)")


def broken(image: Image, name: str, reason: Any) -> ValueError:
    """Returns the error for an instance that cannot be used.

    Args:
        image: Image. The image of the instance.
        name: str. What to call the instance, such as "annotation 17".
        reason: str or exception. What is wrong with it.
    """
    text = str(reason).removesuffix(".")
    return ValueError(f"{image.file}: {name} of image {image.path}: {text}.")


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
