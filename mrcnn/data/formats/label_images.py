"""Label images: folders `images` and `labels`, where the pixel values number the instances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Label
from mrcnn.data.formats import _folders
from mrcnn.errors import printable
from mrcnn.images.files import IMAGE_SUFFIXES, is_image_name, list_images, same_name

NAME = "label_images"
SOURCE = "labels"


class LabelImageDataset(AnnotatedDataset):
    """Images with one label image each: 0 is background, every other value is one instance."""

    @classmethod
    def from_folders(
        cls,
        images_dir: str | os.PathLike,
        labels_dir: str | os.PathLike,
        class_name: str = "object",
        stems: Sequence[str] | None = None,
    ) -> LabelImageDataset:
        """Pairs the files of two folders by their names without suffix.

        Args:
            images_dir: str or path. The folder of images.
            labels_dir: str or path. The folder of label images.
            class_name: str; see `read`.
            stems: list of str or None; see `read`.

        Returns:
            A prepared dataset.

        Raises:
            FileNotFoundError, ValueError: as `read`.
        """
        found = read(labels_dir, images=images_dir, class_name=class_name, stems=stems)
        return cls.from_annotations(found)  # type: ignore[return-value]


def looks_like(path: Path) -> bool:
    """Returns whether a path is a folder of images and nothing else, or holds two of these.

    The two are `images` and `labels`; a single one holds the label images.
    """
    if not path.is_dir():
        return False
    if (path / "images").is_dir() and (path / "labels").is_dir():
        return any(is_image_name(entry) for entry in (path / "labels").iterdir())
    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return bool(visible) and all(is_image_name(entry) for entry in visible)


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_name: str = "object",
    stems: Sequence[str] | None = None,
) -> Annotations:
    """Reads label images, paired with their images by the names without suffix.

    The values need not be consecutive; of an image with a palette they are the numbers of the
    colors. All instances are of one class. The label images are decoded when they are needed, and
    must have the size of their image.

    Args:
        path: str or path. The folder of label images, in a format without losses such as PNG or
            TIFF. Without `images`: the folder that holds the folders `images` and `labels`.
        images: str or path. The folder of images. Defaults to None.
        class_name: str. Name of the one class. Defaults to "object".
        stems: list of str. Names without suffix to take, in this order. Defaults to None: all,
            sorted.

    Returns:
        Annotations.

    Raises:
        FileNotFoundError: if a folder, or the image or label image of a name, does not exist.
        ValueError: if two files of one folder share a name, or there are no images.
    """
    if images is None and not (Path(path) / "images").is_dir():
        raise FileNotFoundError(
            f"{path}: it has no folders images and labels. If it holds the label images, give the "
            "folder of their images as images=."
        )
    labels_dir = Path(path) if images is not None else Path(path) / "labels"
    images_dir = Path(path) / "images" if images is None else Path(images)
    found = _Folder(images_dir, "image folder")
    labels = _Folder(labels_dir, "label folder")
    if not found.files:
        raise ValueError(f"{images_dir}: the folder holds no images {IMAGE_SUFFIXES}.")
    records = []
    for stem in sorted(found.files) if stems is None else stems:
        image, label = found.path(stem), labels.path(stem)
        instance = Instance(class_id=1, shape=Label(label))
        records.append(Image(stem, image, instances=[instance], file=label))
    return Annotations(SOURCE, [(1, class_name)], records)


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder `labels` of 16-bit PNG files, and copies the images into `images` beside it.

    Where instances overlap, the smaller one is on top.

    Args:
        annotations: Annotations of one class without crowds, with image files.
        path: str or path. The folder that is to hold both.

    Raises:
        ValueError: if label images cannot hold the annotations.
    """
    _folders.check_one_class(annotations, NAME)
    dataset = AnnotatedDataset.from_annotations(annotations)
    for image_id, (stem, image) in enumerate(_folders.by_stem(annotations).items()):
        masks, _ = dataset.load_mask(image_id)
        count = masks.shape[-1]
        if count > np.iinfo(np.uint16).max:
            raise ValueError(f"{image.path}: {count} instances, but 16 bits count up to 65535.")
        labels = np.zeros(masks.shape[:2], np.uint16)
        for index in np.argsort(-masks.sum(axis=(0, 1)), kind="stable"):
            labels[masks[..., index]] = index + 1
        _folders.write_png(Path(path) / "labels" / f"{stem}.png", labels)
        _folders.copy_image(image, Path(path) / "images")


class _Folder:
    """The images of a folder by their names without suffix."""

    def __init__(self, folder, what):
        self.folder = folder
        self.files: dict[str, Path] = {}
        self._spelled: dict[str, list[Path]] = {}  # by what all spellings have in common
        for path in list_images(folder, what):
            other = self.files.setdefault(path.stem, path)
            if other is not path:
                raise ValueError(
                    f"{printable(folder)}: {printable(other.name)} and {printable(path.name)} have "
                    "the same name without suffix: keep one of them."
                )
            self._spelled.setdefault(same_name(path.stem), []).append(path)

    def path(self, stem):
        """Returns the file of a name, or the only one whose name is spelled otherwise."""
        exact = [self.files[stem]] if stem in self.files else []
        found = exact or self._spelled.get(same_name(stem), [])
        if len(found) != 1:
            raise FileNotFoundError(
                f"{printable(self.folder)}: no file named {printable(stem)} with the suffix of an "
                "image. Every image needs a label image of the same name (without objects: all "
                "zeros)."
            )
        return str(found[0])
