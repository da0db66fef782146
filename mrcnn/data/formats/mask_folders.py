"""Folders of masks: `<id>/images/*.png` and one file per instance in `<id>/masks/*.png`.

This is the layout of the 2018 Data Science Bowl.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import (
    Annotations,
    Image,
    Instance,
    MaskFile,
    iterate_masks,
)
from mrcnn.data.formats import _folders
from mrcnn.images.files import list_images

NAME = "mask_folders"
SOURCE = "masks"


class MaskFolderDataset(AnnotatedDataset):
    """Images with a folder of masks each: one file per instance, not zero inside. One class."""

    @classmethod
    def from_folder(cls, root: str | os.PathLike, class_name: str = "object") -> MaskFolderDataset:
        """Takes every folder in `root` that holds a folder `images`.

        Args:
            root: str or path. The folder of folders.
            class_name: str; see `read`.

        Returns:
            A prepared dataset.

        Raises:
            FileNotFoundError, ValueError: as `read`.
        """
        return cls.from_annotations(read(root, class_name=class_name))  # type: ignore[return-value]


def looks_like(path: Path) -> bool:
    """Returns whether a path is a folder of folders that hold `images` and `masks`.

    It may also hold one folder that is.
    """
    return _root(path) is not None


def _root(path: Path) -> Path | None:
    """Returns the folder of folders: a path, or the only one in it that is."""
    if not path.is_dir():
        return None
    for roots in ([path], [entry for entry in path.iterdir() if entry.is_dir()]):
        found = [root for root in roots if _holds_masks(root)]
        if len(found) == 1:
            return found[0]
    return None


def _holds_masks(root):
    return any(
        (folder / "images").is_dir() and (folder / "masks").is_dir() for folder in root.iterdir()
    )


def read(
    path: str | os.PathLike, images: str | os.PathLike | None = None, class_name: str = "object"
) -> Annotations:
    """Reads every folder in `path` that holds a folder `images`.

    The masks are decoded when they are needed.

    Args:
        path: str or path. The folder of folders, or a folder that holds one such.
        images: None. The images lie beside their masks.
        class_name: str. Name of the one class. Defaults to "object".

    Returns:
        Annotations. An image without a folder `masks`, or with an empty one, has no instances.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if no folder has the layout, one holds another number of images than one, or
            `images` is given.
    """
    root = _root(Path(path)) or Path(path)
    if images is not None:
        raise ValueError(f"{root}: leave out images={images}: they lie in <id>/images/.")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder. Check the path.")
    records = []
    for folder in sorted(entry for entry in root.iterdir() if (entry / "images").is_dir()):
        found = list_images(folder / "images")
        if len(found) != 1:
            raise ValueError(f"{folder / 'images'}: expected one image, found {len(found)}.")
        masks = list_images(folder / "masks") if (folder / "masks").is_dir() else []
        instances = [Instance(class_id=1, shape=MaskFile(str(mask))) for mask in masks]
        records.append(
            Image(folder.name, str(found[0]), instances=instances, file=str(folder / "masks"))
        )
    if not records:
        raise ValueError(
            f"{root}: no folder in it has the layout <id>/images/*.png and <id>/masks/*.png."
        )
    return Annotations(SOURCE, [(1, class_name)], records)


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder per image: a copy of the image and one PNG file per instance.

    Args:
        annotations: Annotations of one class without crowds, with image files.
        path: str or path. The folder that is to hold the folders.

    Raises:
        ValueError: if mask folders cannot hold the annotations.
    """
    _folders.check_one_class(annotations, NAME)
    for stem, image in _folders.by_stem(annotations).items():
        _folders.copy_image(image, Path(path) / stem / "images")
        masks = (mask for _, mask in iterate_masks(image) if mask.any())
        for number, mask in enumerate(masks):
            name = Path(path) / stem / "masks" / f"{number:05d}.png"
            _folders.write_png(name, mask.astype(np.uint8) * np.uint8(255))
