"""Dataset: images with their instances, for training and evaluation.

Open annotation files with `Dataset.open`. For anything else subclass `Dataset`: call `add_class`
and `add_image`, override `load_mask` (and `load_image` for images that are not in files), then
call `prepare`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.data.instances import SourceMasks
from mrcnn.images.files import read_image
from mrcnn.images.masks import boxes_from_masks
from mrcnn.images.rle import labels_to_rles, masks_to_rles, rle_region

if TYPE_CHECKING:
    from mrcnn.data.annotated import AnnotatedDataset
    from mrcnn.data.annotations import Annotations

IMAGE_CACHE_BYTES = 512 * 2**20  # of decoded files, shared by all datasets of the process
ABILITIES = {  # and the method that each belongs to
    "masks": "load_mask",
    "boxes": "load_boxes",
    "labels": "load_label",
    "instances": "load_instances",
    "files": "load_image",
}

logger = logging.getLogger("mrcnn")


class Dataset:
    """A set of images with their instances, numbered from 0.

    Args:
        class_map: ignored; older scripts pass it.

    Attributes:
        image_info: list of dicts. The "id", "source" and "path" of each image, and what else
            `add_image` was given.
        class_info: list of dicts. The "source", "id" and "name" of each class; the first is the
            background, "BG".
        num_images: int. Number of images, after `prepare`.
        num_classes: int. Number of classes including the background, after `prepare`.
        image_ids: int array, 0 to `num_images - 1`, after `prepare`.
        class_ids: int array, 0 to `num_classes - 1`, after `prepare`.
        class_names: list of str. The names up to their first comma, "BG" first, after `prepare`.
        sources: list of str. The sources of the classes; "" is that of the background.
        source_class_ids: dict from source to the list of its class ids; each list holds 0.
        class_from_source_map: dict from "source.id" to class id.
        image_from_source_map: dict from "source.id" to image id.
    """

    def __init__(self, class_map: Any = None):
        self._image_ids: Any = []
        self.image_info = []
        self.class_info = [{"source": "", "id": 0, "name": "BG"}]
        self.source_class_ids = {}

    # --- Opening annotations -----------------------------------------------------------------
    @staticmethod
    def open(
        path: str | os.PathLike,
        format: str = "auto",
        images: str | os.PathLike | None = None,
        **options: Any,
    ) -> AnnotatedDataset:
        """Opens annotations of any format in `mrcnn.data.formats`.

        Args:
            path: str or path. The annotation file or folder.
            format: str. The name of the format. Defaults to "auto": the one that `path` looks like.
            images: str or path. The folder of images, if it is not where the format expects it.
                Defaults to None.
            **options: options of the format, such as `crowds="objects"` of "coco" or
                `class_name="cell"` of "label_images" and "mask_folders".

        Returns:
            A prepared dataset.

        Raises:
            FileNotFoundError: if `path` does not exist.
            ValueError: if no format or several fit, or the annotations cannot be used.
        """
        from mrcnn.data import formats

        return Dataset.from_annotations(formats.read(path, format, images, **options))

    @classmethod
    def from_annotations(cls, annotations: Annotations) -> AnnotatedDataset:
        """Makes a dataset of a record of annotations.

        Args:
            annotations: Annotations.

        Returns:
            A prepared dataset.
        """
        from mrcnn.data.annotated import AnnotatedDataset

        return AnnotatedDataset.from_annotations(annotations)

    # --- Filling it --------------------------------------------------------------------------
    def add_class(self, source: str, class_id: Any, class_name: str) -> None:
        """Adds a class. A class with the same source and id is kept as it is.

        Args:
            source: str. Name of the origin of the ids, such as "coco", without a dot.
            class_id: int or str. The id of the class in its source.
            class_name: str.

        Raises:
            ValueError: if `source` holds a dot.
        """
        if "." in source:
            raise ValueError(f"A source name cannot contain a dot, got {source!r}: leave it out.")
        if any((info["source"], info["id"]) == (source, class_id) for info in self.class_info):
            return
        self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(
        self, source: str, image_id: Any, path: str | os.PathLike | None, **kwargs: Any
    ) -> None:
        """Adds an image.

        Args:
            source: str. Name of its origin.
            image_id: int or str. The id of the image in its source.
            path: str or path. Its file, or None if `load_image` is overridden.
            **kwargs: anything else to keep in its `image_info`.
        """
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def prepare(self, class_map: Any = None) -> None:
        """Numbers the classes and images. Call it after the last `add_class` and `add_image`.

        Args:
            class_map: ignored; older scripts pass it.
        """
        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = [str(info["name"]).split(",")[0] for info in self.class_info]
        self.num_images = len(self.image_info)
        self._image_ids = np.arange(self.num_images)
        self.class_from_source_map = {
            f"{info['source']}.{info['id']}": index for index, info in enumerate(self.class_info)
        }
        self.image_from_source_map = {
            f"{info['source']}.{info['id']}": index for index, info in enumerate(self.image_info)
        }
        self.sources = list({info["source"] for info in self.class_info})
        self.source_class_ids = {
            source: [
                index
                for index, info in enumerate(self.class_info)
                if index == 0 or info["source"] == source
            ]
            for source in self.sources
        }

    # --- Looking up --------------------------------------------------------------------------
    @property
    def image_ids(self) -> Any:
        """The ids of all images: an int array after `prepare`, an empty list before."""
        return self._image_ids

    def map_source_class_id(self, source_class_id: str) -> int:
        """Returns the class id of "source.id"."""
        return self.class_from_source_map[source_class_id]

    def get_source_class_id(self, class_id: int, source: str) -> Any:
        """Returns the id that a class has in its source.

        Raises:
            ValueError: if the class comes from another source.
        """
        info = self.class_info[class_id]
        if info["source"] != source:
            raise ValueError(
                f"Class {class_id} ({info['name']}) comes from {info['source']!r}, not {source!r}."
            )
        return info["id"]

    def source_image_link(self, image_id: int) -> Any:
        """Returns the path of an image."""
        return self.image_info[image_id]["path"]

    def image_reference(self, image_id: int) -> str:
        """Returns a text that helps to find an image; "" by default."""
        return ""

    def has(self, ability: str) -> bool:
        """Returns what a dataset can say about its images.

        This looks at which methods a class overrides, so that training and evaluation need not.

        Args:
            ability: str. "masks": `load_mask`, `load_label` or `load_instances` brings them.
                "boxes": `load_boxes` brings its own. "labels": the instances of an image never
                overlap, and `load_label` returns them as one label image. "instances":
                `load_instances` returns them run-length coded. "files": the images are files, and
                `load_image` reads them.

        Returns:
            bool.

        Raises:
            ValueError: if there is no such ability.
        """
        methods = [vars(base) for base in type(self).__mro__]  # the class itself first
        depths = {
            name: next((depth for depth, own in enumerate(methods) if method in own), len(methods))
            for name, method in ABILITIES.items()
        }
        if ability not in depths:
            raise ValueError(f"{ability!r} is no ability of a dataset: use {', '.join(ABILITIES)}.")
        base = type(self).__mro__.index(Dataset)
        if ability == "files":
            return depths["files"] == base
        if ability in ("labels", "instances"):
            # A subclass that overrides load_mask or load_boxes alone wants those to be used.
            rivals = ("masks",) if ability == "labels" else ("masks", "boxes")
            own = depths[ability]
            return own < base and all(own <= depths[rival] for rival in rivals)
        if ability == "masks":
            return min(depths[name] for name in ("masks", "labels", "instances")) < base
        return depths[ability] < base

    # --- Loading -----------------------------------------------------------------------------
    def load_image(self, image_id: int) -> np.ndarray:
        """Loads an image from its file; override it for images that are not in files.

        Args:
            image_id: int. Number of the image.

        Returns:
            RGB [H, W, 3] in the dtype of the file: uint8, uint16 or others. Gray is repeated, alpha
            is dropped and the EXIF rotation is applied. The caller may change the array.

        Raises:
            FileNotFoundError: if the file does not exist.
            ValueError: if there is no path, or the file is truncated or not an image; naming it.
        """
        path = self.image_info[image_id]["path"]
        if path is None:
            raise ValueError(
                f"Image {describe_image(self, image_id)} has no path: give one to add_image, "
                f"or override load_image in {type(self).__name__}."
            )
        return self._read_image(image_id, path)

    def _read_image(self, image_id, path):
        """Reads the file of an image; readers of annotation files override it."""
        return read_cached(path, read_image)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the instances of an image. Override it, or `load_label` or `load_instances`.

        Args:
            image_id: int. Number of the image.

        Returns:
            (masks, class_ids): bool [H, W, N] and int32 [N]; a negative class id is a crowd.
        """
        if self.has("instances") or self.has("labels"):
            rles, _, class_ids = self.load_instances(image_id)
            shape = rles[0]["size"] if rles else (0, 0)
            return SourceMasks.from_rles(rles, class_ids, shape).stack(), class_ids
        logger.warning(
            "%s does not override load_mask: image %s is taken to have no instances.",
            type(self).__name__,
            describe_image(self, image_id),
        )
        return np.empty([0, 0, 0]), np.empty([0], np.int32)

    def load_boxes(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Loads the boxes of an image: the bounds of its masks. Override it if there are no masks.

        Args:
            image_id: int. Number of the image.

        Returns:
            (boxes, class_ids): float32 [N, 4], y1, x1, y2, x2 in pixels, upper bounds exclusive,
            and int32 [N]; a negative class id is a crowd.
        """
        if self.has("instances") or self.has("labels"):
            _, boxes, class_ids = self.load_instances(image_id)
            return boxes, class_ids
        masks, class_ids = self.load_mask(image_id)
        return boxes_from_masks(masks), np.asarray(class_ids, np.int32)

    def load_instances(self, image_id: int) -> tuple[list[dict], np.ndarray, np.ndarray]:
        """Loads the instances of an image run-length coded, for images with hundreds of them.

        Override it instead of `load_mask` where the masks of an image are not at hand as one
        array: training and evaluation then never build it.

        Args:
            image_id: int. Number of the image.

        Returns:
            rles: list of N codes {"size": [H, W], "counts": bytes}, none empty.
            boxes: float32 [N, 4], y1, x1, y2, x2 in pixels, upper bounds exclusive; of evaluation.
            class_ids: int32 [N]. Negative for crowds.
        """
        if self.has("labels"):
            labels, class_ids = self.load_label(image_id)  # type: ignore[attr-defined]
            rles = labels_to_rles(labels, len(class_ids))
        else:
            masks, class_ids = self.load_mask(image_id)
            rles = masks_to_rles(masks)
        boxes = np.array([rle_region(rle) for rle in rles], np.float32).reshape(-1, 4)
        filled = np.flatnonzero(boxes[:, 2])
        rles = [rles[index] for index in filled]
        return rles, boxes[filled], np.asarray(class_ids, np.int32)[filled]

    def check_shapes(self) -> None:
        """Checks before training that every instance has a mask, without drawing any.

        Readers of annotation files override it. Here nothing is known before masks are loaded.
        """


def describe_image(dataset: Dataset, image_id: int) -> str:
    """Returns what messages call an image: its reference, or its path, or its number and source."""
    info = dataset.image_info[image_id]
    reference = dataset.image_reference(image_id) or info["path"]
    return str(reference or f"{image_id} ({info['source']}.{info['id']})")


def image_size(dataset: Dataset, image_id: int) -> tuple[int, int]:
    """Returns the (height, width) of an image: from its `image_info`, or else by loading it."""
    info = dataset.image_info[image_id]
    if info.get("height") and info.get("width"):
        return int(info["height"]), int(info["width"])
    height, width = dataset.load_image(image_id).shape[:2]
    return int(height), int(width)


class FileCache:
    """Keeps decoded files in memory up to a limit; safe for threads.

    What does not fit is read again each time. Nothing is ever dropped, because every epoch reads
    all files in another order, so that no file is needed sooner than another.

    Args:
        limit_bytes: int. The most bytes that are kept.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._arrays = {}
        self._lock = threading.Lock()

    def read(self, path: str | os.PathLike, reader: Callable) -> np.ndarray:
        """Returns a copy of `reader(path)`, from memory if the file has not changed since."""
        try:
            stat = os.stat(path)
        except OSError:
            return reader(path)  # raises the error that says what is wrong
        key = (reader, os.fspath(path), stat.st_mtime_ns, stat.st_size)
        array = self._arrays.get(key)
        if array is None:
            array = reader(path)
            with self._lock:
                if key not in self._arrays and self.bytes + array.nbytes <= self.limit_bytes:
                    self._arrays[key] = array
                    self.bytes += array.nbytes
        return array.copy()


_CACHE = FileCache(IMAGE_CACHE_BYTES)


def read_cached(path: str | os.PathLike, reader: Callable) -> np.ndarray:
    """Reads a file through the cache of the process.

    Args:
        path: str or path. The file.
        reader: callable. Takes a path and returns an array.

    Returns:
        array, which the caller may change.
    """
    return _CACHE.read(path, reader)
