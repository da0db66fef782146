"""The record of annotations: every format is read into it and written from it.

A record says where the shape of an instance is described; nothing is decoded before it is needed.
This is the one place that turns shapes into masks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.dataset import ABILITIES, Dataset, image_size, read_cached
from mrcnn.images.files import read_image, read_label_image
from mrcnn.images.masks import boxes_from_masks
from mrcnn.images.rle import decode_rle


# --- The record ----------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Polygons:
    """A shape that is the union of polygons.

    Attributes:
        points: list of lists [x1, y1, x2, y2, ...] in pixels. A single polygon may also be a flat
            list or a list of points [x, y].
    """

    points: Any


@dataclass(frozen=True, slots=True)
class Rle:
    """A shape as a COCO run-length code.

    Attributes:
        size: [height, width].
        counts: list of ints, or str or bytes (compressed).
    """

    size: Any
    counts: Any


@dataclass(frozen=True, slots=True)
class Label:
    """A shape that is one value of a label image.

    Attributes:
        file: str. The path of the label image.
        number: int or None. The value of its pixels. None: every value but 0 is an instance of its
            own, which needs no look at the file beforehand.
    """

    file: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A shape that is an image file of its own, not zero inside.

    Attributes:
        file: str. The path of the image file.
    """

    file: str


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
        if isinstance(instance.shape, (Label, MaskFile)):
            height, width = _read_labels(instance.shape).shape
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
    size = annotated_size(image)
    labels: dict[str, np.ndarray] = {}  # each file is decoded once per image
    for instance in image.instances:
        shape = instance.shape
        class_id = instance.signed_class_id
        if isinstance(shape, Label) and shape.number is None:
            consecutive = _read_labels(shape)
            _check_size(shape.file, consecutive.shape, size)
            for number in range(1, int(consecutive.max(initial=0)) + 1):
                yield class_id, consecutive == number
        elif isinstance(shape, Label):
            if shape.file not in labels:
                labels[shape.file] = _read_labels(shape)
            _check_size(shape.file, labels[shape.file].shape, size)
            yield class_id, labels[shape.file] == shape.number
        elif isinstance(shape, MaskFile):
            mask = _read_labels(shape) > 0
            _check_size(shape.file, mask.shape, size)
            yield class_id, mask
        else:
            yield class_id, _draw(image, instance)


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


def _draw(image, instance):
    """Draws polygons or a run-length code, bool [height, width]."""
    shape = instance.shape
    if shape is None:
        reason = "it has no segmentation. Add one, or set USE_MASKS = False (boxes alone)"
        raise broken(image, instance, reason)
    if image.height is None or image.width is None:
        raise broken(image, instance, "the size of its image is missing: give height and width")
    size = (image.height, image.width)
    try:
        return _decode(shape, size) if isinstance(shape, Rle) else _fill(shape.points, size)
    except (TypeError, ValueError, OverflowError) as error:
        raise broken(image, instance, error) from error


def broken(image: Image, instance: Instance, reason: Any) -> ValueError:
    """Returns the error for an instance that cannot be used.

    Args:
        image: Image. The image of the instance.
        instance: Instance.
        reason: str or exception. What is wrong with it.
    """
    return ValueError(f"{image.file}: {instance.name} of image {image.path}: {reason}.")


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


def _read_labels(shape):
    """Reads the file of a `Label` or `MaskFile`; the same file always in the same way."""
    whole = isinstance(shape, Label) and shape.number is None
    return read_cached(shape.file, _read_consecutive if whole else _read_whole_numbers)


def _read_whole_numbers(path):
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
    labels = _read_whole_numbers(path)
    values = np.unique(labels)
    numbers = np.searchsorted(values[values > 0], labels) + 1
    return np.where(labels > 0, numbers, 0).astype(np.int32)


def _check_size(file, shape, size):
    if tuple(shape) != tuple(size):
        raise ValueError(
            f"{file}: the mask is {shape[0]}x{shape[1]}, but the image is annotated as "
            f"{size[0]}x{size[1]} (height x width). All masks must have the size of their image."
        )


# --- Images of the record ------------------------------------------------------------------------
_read_as_stored = functools.partial(read_image, upright=False)


def _read_as_annotated(path, size, file):
    """Reads an image upright, or as stored where only that has the annotated size.

    Some annotation tools show an image without the rotation that its EXIF data ask for.

    Args:
        path: str. The image file.
        size: (height, width) of the annotations, or None if it is not known.
        file: str. What holds the annotations, for the error.

    Returns:
        The image, and whether it was read upright.

    Raises:
        ValueError: if neither form has the size.
    """
    upright = read_cached(path, read_image)
    if size is None or upright.shape[:2] == tuple(size):
        return upright, True
    stored = read_cached(path, _read_as_stored)
    if stored.shape[:2] == tuple(size):
        return stored, False
    sizes = " or, as stored, ".join(
        dict.fromkeys(f"{image.shape[0]}x{image.shape[1]}" for image in (upright, stored))
    )
    raise ValueError(
        f"{file}: image {path} is annotated as {size[0]}x{size[1]} (height x width), but the file "
        f"has {sizes}. Use the image files that were annotated, or correct the size there."
    )


# --- The dataset ---------------------------------------------------------------------------------
class AnnotatedDataset(Dataset):
    """A dataset made of a record of annotations; `Dataset.open` returns one.

    Each entry of its `image_info` holds the `Image` of the record as "record".
    """

    def __init__(self, class_map: Any = None):
        super().__init__(class_map)
        self._contents = {"masks", "files"}

    @classmethod
    def from_annotations(cls, annotations: Annotations) -> AnnotatedDataset:
        """Makes a prepared dataset.

        Args:
            annotations: Annotations.

        Returns:
            A dataset of this class.
        """
        dataset = cls()
        for class_id, name in annotations.classes:
            dataset.add_class(annotations.source, class_id, name)
        for image in annotations.images:
            size = {"height": image.height, "width": image.width} if image.height else {}
            dataset.add_image(annotations.source, image.id, image.path, record=image, **size)
        dataset._contents = _contents(annotations.images)
        dataset.prepare()
        return dataset

    def has(self, ability: str) -> bool:
        """Returns what the annotations hold, or what a subclass overrides; see `Dataset.has`."""
        if not super().has(ability):
            return False
        method = ABILITIES[ability]
        overridden = getattr(type(self), method) is not getattr(AnnotatedDataset, method)
        return overridden or ability in self._contents

    def image_reference(self, image_id: int) -> str:
        """Returns the path of an image."""
        return str(self.image_info[image_id]["path"])

    def _read_image(self, image_id, path):
        info = self.image_info[image_id]
        if "upright" in info:
            return read_cached(path, read_image if info["upright"] else _read_as_stored)
        record = info["record"]
        image, info["upright"] = _read_as_annotated(path, annotated_size(record), record.file)
        return image

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the masks of an image; instances without a pixel are left out.

        Args:
            image_id: int. Number of the image.

        Returns:
            (masks, class_ids): bool [H, W, N] and int32 [N], negative for crowds.

        Raises:
            ValueError: if an annotation has no shape or a damaged one.
        """
        record = self.image_info[image_id]["record"]
        if _is_label_image(record):
            labels, class_ids = self.load_label(image_id)
            return labels[..., None] == np.arange(1, len(class_ids) + 1), class_ids
        drawn = rasterize(record)
        if drawn is not None:
            return drawn
        shape = self.load_image(image_id).shape[:2]
        return np.zeros((*shape, 0), bool), np.zeros(0, np.int32)

    def load_label(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the label image of an image; only for `has("labels")`.

        Args:
            image_id: int. Number of the image.

        Returns:
            (labels, class_ids): int32 [H, W], 0 for nothing and i + 1 for instance i, and int32
            [N].

        Raises:
            ValueError: if the file cannot be read or does not hold whole numbers.
        """
        (instance,) = self.image_info[image_id]["record"].instances
        labels = _read_labels(instance.shape)
        return labels, np.full(int(labels.max(initial=0)), instance.signed_class_id, np.int32)

    def load_boxes(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the boxes of an image: as annotated, or the bounds of the mask where one lacks.

        Args:
            image_id: int. Number of the image.

        Returns:
            (boxes, class_ids): float32 [N, 4] and int32 [N], see `Dataset.load_boxes`; boxes
            without an area are left out.
        """
        record = self.image_info[image_id]["record"]
        if all(instance.box is None for instance in record.instances):
            return super().load_boxes(image_id)
        limit = np.tile(annotated_size(record) or image_size(self, image_id), 2)
        boxes, class_ids = [], []
        for instance in record.instances:
            if instance.box is None:
                box = boxes_from_masks(_draw(record, instance)[..., None])[0]
            else:
                box = np.clip(np.asarray(instance.box, np.float64), 0, limit)
            if box[2] > box[0] and box[3] > box[1]:
                boxes.append(box)
                class_ids.append(instance.signed_class_id)
        return np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(class_ids, np.int32)


def _contents(images) -> set[str]:
    """Returns what the annotations hold, as the names of `Dataset.has`."""
    instances = [instance for image in images for instance in image.instances]
    contents = {"files"}
    if not instances or any(instance.shape is not None for instance in instances):
        contents.add("masks")
    if any(instance.box is not None for instance in instances):
        contents.add("boxes")
    if images and all(_is_label_image(image) for image in images):
        contents.add("labels")
    return contents


def _is_label_image(image):
    if len(image.instances) != 1:
        return False
    shape = image.instances[0].shape
    return isinstance(shape, Label) and shape.number is None
