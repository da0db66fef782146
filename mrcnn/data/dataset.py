"""Dataset: what a set of images with instances offers to training and evaluation.

Subclass it, call `add_class` and `add_image`, override `load_mask` (and, for pictures that do not
lie in files, `load_image`), then call `prepare`.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.images.files import read_image
from mrcnn.images.masks import boxes_from_masks

if TYPE_CHECKING:
    from mrcnn.data.annotated import AnnotatedDataset
    from mrcnn.data.annotations import Annotations

IMAGE_CACHE_BYTES = 512 * 2**20  # decoded files kept in memory, over all datasets of the process
ABILITIES = {  # and the method that each belongs to
    "masks": "load_mask",
    "boxes": "load_boxes",
    "labels": "load_label",
    "files": "load_image",
}

logger = logging.getLogger("mrcnn")


class Dataset:
    """A set of images with their instances, numbered from 0.

    Attributes:
        image_info: list of dicts with "id", "source", "path" and what `add_image` was given.
        class_info: list of dicts "source", "id", "name"; the first is the background, "BG".
        num_images, num_classes: counts, the background included; after `prepare`.
        image_ids, class_ids: int arrays 0..n-1; after `prepare`.
        class_names: the names up to the first comma, "BG" first; after `prepare`.
        sources: list of the sources of classes, "" of the background among them.
        source_class_ids: class ids by source; each list holds 0.
        class_from_source_map: class id by "source.id".
        image_from_source_map: image id by "source.id".
    """

    def __init__(self, class_map=None):
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
    def add_class(self, source, class_id, class_name):
        """Adds a class; one that is there already (same source and id) is left as it is.

        Args:
            source: name of the origin of the ids, as "coco"; without a dot.
            class_id: the id there.
            class_name: text.

        Raises:
            ValueError: a dot in `source`.
        """
        if "." in source:
            raise ValueError(f"A source name cannot contain a dot, got {source!r}: leave it out.")
        if any((info["source"], info["id"]) == (source, class_id) for info in self.class_info):
            return
        self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source, image_id, path, **kwargs):
        """Adds an image.

        Args:
            source: name of its origin.
            image_id: its id there.
            path: its file, or None where `load_image` is overridden.
            **kwargs: anything else to keep in its `image_info`.
        """
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def prepare(self, class_map=None):
        """Numbers classes and images; to be called once all are added. `class_map` is ignored."""
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
    def image_ids(self):
        """Ids of all images: int array after `prepare`, an empty list before."""
        return self._image_ids

    def map_source_class_id(self, source_class_id) -> int:
        """The class id of "source.id"."""
        return self.class_from_source_map[source_class_id]

    def get_source_class_id(self, class_id, source):
        """The id that a class has in its source.

        Raises:
            ValueError: the class comes from another source.
        """
        info = self.class_info[class_id]
        if info["source"] != source:
            raise ValueError(
                f"Class {class_id} ({info['name']}) comes from {info['source']!r}, not {source!r}."
            )
        return info["id"]

    def source_image_link(self, image_id):
        """The path of an image."""
        return self.image_info[image_id]["path"]

    def image_reference(self, image_id) -> str:
        """Text that helps to find an image again; "" where a dataset does not say."""
        return ""

    def has(self, ability: str) -> bool:
        """Returns what a dataset can say about its images.

        This looks at which methods a class overrides, so that training and evaluation need not.

        Args:
            ability: str. "masks" or "boxes": `load_mask` or `load_boxes` brings its own. "labels":
                the instances of an image never overlap, and `load_label` returns them as one label
                image. "files": the images are files, and `load_image` reads them.

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
        if ability == "labels":
            # A subclass that overrides load_mask alone wants its masks to be used.
            return depths["labels"] < base and depths["labels"] <= depths["masks"]
        return depths[ability] < base

    # --- Loading -----------------------------------------------------------------------------
    def load_image(self, image_id) -> np.ndarray:
        """The picture: RGB [H, W, 3], uint8, uint16 or what else its file holds.

        Grey is repeated, alpha dropped, EXIF rotation applied. The array is the caller's own.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no path, a truncated file or not a picture; naming it.
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

    def load_mask(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """The instances of an image; to be overridden.

        Returns:
            (masks, class_ids): bool [H, W, N] and int32 [N]; a negative class id is a crowd.
        """
        logger.warning(
            "%s does not override load_mask: image %s counts as one without objects.",
            type(self).__name__,
            describe_image(self, image_id),
        )
        return np.empty([0, 0, 0]), np.empty([0], np.int32)

    def load_boxes(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """The boxes of an image; here the bounds of its masks. Sets without masks override it.

        Returns:
            (boxes, class_ids): float32 [N, 4] y1, x1, y2, x2 in pixels, upper bound exclusive,
            and int32 [N]; a negative class id is a crowd.
        """
        masks, class_ids = self.load_mask(image_id)
        return boxes_from_masks(masks), np.asarray(class_ids, np.int32)


def describe_image(dataset, image_id) -> str:
    """Text for messages: the reference of an image, else its path, else its number and source."""
    info = dataset.image_info[image_id]
    reference = dataset.image_reference(image_id) or info["path"]
    return str(reference or f"{image_id} ({info['source']}.{info['id']})")


def image_size(dataset, image_id) -> tuple[int, int]:
    """Returns (height, width) of an image: as its `image_info` says, else by loading it."""
    info = dataset.image_info[image_id]
    if info.get("height") and info.get("width"):
        return int(info["height"]), int(info["width"])
    height, width = dataset.load_image(image_id).shape[:2]
    return int(height), int(width)


class FileCache:
    """Decoded files in memory up to a limit, safe for threads.

    What does not fit is read anew each time: nothing is thrown out, since every epoch passes over
    all files in another order and no file is likelier than another.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self._arrays = {}
        self._lock = threading.Lock()

    def read(self, path, reader) -> np.ndarray:
        """A copy of `reader(path)`, from memory when the file has not changed since."""
        try:
            stat = os.stat(path)
        except OSError:
            return reader(path)  # says what is wrong
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


def read_cached(path, reader) -> np.ndarray:
    """Reads a file through the cache of the process; the array is the caller's own."""
    return _CACHE.read(path, reader)
