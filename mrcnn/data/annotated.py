"""The dataset of a record of annotations: what all readers return."""

from __future__ import annotations

import functools
import os
from dataclasses import replace
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.annotations import (
    NO_SHAPE,
    Annotations,
    annotated_size,
    broken,
    is_label_image,
    iterate_rles,
    rasterize,
    read_labels,
)
from mrcnn.data.dataset import ABILITIES, Dataset, image_size, read_cached
from mrcnn.data.review import review
from mrcnn.images.files import read_image, read_size


class AnnotatedDataset(Dataset):
    """A dataset made of a record of annotations; `Dataset.open` returns one.

    Each entry of its `image_info` holds the `Image` of the record as "record".
    """

    def __init__(self, class_map: Any = None):
        super().__init__(class_map)
        self._contents = {"masks", "files", "instances"}

    @classmethod
    def from_annotations(cls, annotations: Annotations) -> AnnotatedDataset:
        """Makes a prepared dataset; every annotation is checked, see `data.review`.

        Args:
            annotations: Annotations.

        Returns:
            A dataset of this class.

        Raises:
            ValueError: if an annotation is damaged.
        """
        annotations = review(annotations)
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
        return read_cached(path, read_image if self._is_upright(image_id) else _read_as_stored)

    def _is_upright(self, image_id):
        """Returns whether the image has the annotated size when it is upright; looks once."""
        info = self.image_info[image_id]
        if "upright" not in info:
            record = info["record"]
            info["upright"] = _fits_upright(info["path"], annotated_size(record), record.file)
        return info["upright"]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the masks of an image; instances without a pixel are left out.

        Args:
            image_id: int. Number of the image.

        Returns:
            (masks, class_ids): bool [H, W, N] and int32 [N], negative for crowds.

        Raises:
            ValueError: if an annotation has no shape or a damaged one.
        """
        self._check_size(image_id)
        record = self.image_info[image_id]["record"]
        if _is_labels(record):
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
            ValueError: if the file cannot be read, does not hold whole numbers, or has another size
                than its image.
        """
        self._check_size(image_id)
        (instance,) = self.image_info[image_id]["record"].instances
        labels = read_labels(instance.shape)
        return labels, np.full(int(labels.max(initial=0)), instance.signed_class_id, np.int32)

    def load_boxes(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the boxes of an image: as annotated, or the bounds of the mask where one lacks.

        Args:
            image_id: int. Number of the image.

        Returns:
            (boxes, class_ids): float32 [N, 4] and int32 [N], see `Dataset.load_boxes`; boxes
            without an area are left out.
        """
        self._check_size(image_id)
        record = self.image_info[image_id]["record"]
        if all(instance.box is None for instance in record.instances):
            return super().load_boxes(image_id)
        found = []
        for instance in record.instances:
            if instance.box is not None:
                found.append((instance.signed_class_id, self._clipped_box(image_id, instance)))
                continue
            for _, code in iterate_rles(replace(record, instances=[instance])):
                found.append((instance.signed_class_id, _bounds(code)))
        found = [(class_id, box) for class_id, box in found if (box[2:] > box[:2]).all()]
        class_ids, boxes = [class_id for class_id, _ in found], [box for _, box in found]
        return np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(class_ids, np.int32)

    def load_instances(self, image_id: int) -> tuple[list[dict], np.ndarray, np.ndarray]:
        """Loads the instances of an image run-length coded; see `Dataset.load_instances`.

        The boxes are those of the annotations, or the bounds of the mask where one lacks.

        Args:
            image_id: int. Number of the image.

        Returns:
            (rles, boxes, class_ids): list of N codes, float32 [N, 4] and int32 [N].

        Raises:
            ValueError: as `load_mask`.
        """
        self._check_size(image_id)
        rles, boxes, class_ids = [], [], []
        for instance, code in iterate_rles(self.image_info[image_id]["record"]):
            bounds = _bounds(code)
            if not (bounds[2:] > bounds[:2]).all():
                continue
            box = bounds if instance.box is None else self._clipped_box(image_id, instance)
            rles.append(code)
            boxes.append(box if (box[2:] > box[:2]).all() else bounds)
            class_ids.append(instance.signed_class_id)
        found = np.asarray(boxes, np.float32).reshape(-1, 4)
        return rles, found, np.asarray(class_ids, np.int32)

    def check_shapes(self) -> None:
        """Refuses annotations that have no mask, unless a subclass brings masks of its own.

        Raises:
            ValueError: for the first such annotation, naming it.
        """
        if not self.has("instances"):
            return
        for info in self.image_info:
            for instance in info["record"].instances:
                if instance.shape is None:
                    raise broken(info["record"], instance.name, NO_SHAPE)

    def _clipped_box(self, image_id, instance):
        """Returns the annotated box of an instance, y1, x1, y2, x2, inside its image."""
        size = annotated_size(self.image_info[image_id]["record"]) or image_size(self, image_id)
        return np.clip(np.asarray(instance.box, np.float64), 0, np.tile(size, 2))

    def _check_size(self, image_id):
        """Compares the annotated size with that of the file, before masks of it take memory."""
        path = self.image_info[image_id]["path"]
        if path is not None and self.has("files") and os.path.isfile(path):
            self._is_upright(image_id)


def _bounds(code):
    """Returns the bounds of a code, float64 [4], y1, x1, y2, x2; zeros if it is empty."""
    x, y, width, height = coco_mask.toBbox(code)
    return np.array([y, x, y + height, x + width])


def _contents(images) -> set[str]:
    """Returns what the annotations hold, as the names of `Dataset.has`."""
    instances = [instance for image in images for instance in image.instances]
    contents = {"files", "instances"}
    if not instances or any(instance.shape is not None for instance in instances):
        contents.add("masks")
    if any(instance.box is not None for instance in instances):
        contents.add("boxes")
    if images and all(_is_labels(image) for image in images):
        contents.add("labels")
    return contents


def _is_labels(image):
    """Whether all instances of an image are in one label image."""
    return len(image.instances) == 1 and is_label_image(image.instances[0].shape)


# --- Images ---------------------------------------------------------------------------------------
_read_as_stored = functools.partial(read_image, upright=False)


def _fits_upright(path, size, file):
    """Returns whether an image is to be read upright; False if only as stored it fits its size.

    Some annotation tools show an image without the rotation that its EXIF data ask for.

    Args:
        path: str. The image file.
        size: (height, width) of the annotations, or None if it is not known.
        file: str. What holds the annotations, for the error.

    Raises:
        ValueError: if neither form has the size.
    """
    if size is None:
        return True
    sizes = {upright: read_size(path, upright) for upright in (True, False)}
    for upright, found in sizes.items():
        if found == tuple(size):
            return upright
    both = " or, as stored, ".join(dict.fromkeys(f"{h}x{w}" for h, w in sizes.values()))
    raise ValueError(
        f"{file}: image {path} is annotated as {size[0]}x{size[1]} (height x width), but the file "
        f"has {both}. Use the image files that were annotated, or correct the size there."
    )
