"""Label images: folders `images` and `labels`, where the pixel values number the instances."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Label
from mrcnn.data.formats import _folders
from mrcnn.errors import printable, shorten
from mrcnn.images.files import IMAGE_SUFFIXES, is_image_name, list_images, same_name
from mrcnn.images.texts import read_json

NAME = "label_images"
SOURCE = "labels"
SPLIT_FILE = "split.json"


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

    The two are `images` and `labels`, in the folder itself or in one folder of it; a single one
    holds the label images.
    """
    if not path.is_dir():
        return False
    root = _root(path)
    if root is not None:
        return any(is_image_name(entry) for entry in (root / "labels").iterdir())
    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return bool(visible) and all(is_image_name(entry) for entry in visible)


def read(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    class_name: str = "object",
    stems: Sequence[str] | None = None,
    split: str | None = None,
) -> Annotations:
    """Reads label images, paired with their images by the names without suffix.

    The values need not be consecutive; of an image with a palette they are the numbers of the
    colors. All instances are of one class. The label images are decoded when they are needed, and
    must have the size of their image.

    Args:
        path: str or path. The folder of label images, in a format without losses such as PNG or
            TIFF. Without `images`: the folder that holds the folders `images` and `labels`, or
            holds one folder that does.
        images: str or path. The folder of images. Defaults to None.
        class_name: str. Name of the one class. Defaults to "object".
        stems: list of str. Names without suffix to take, in this order. Defaults to None: all,
            sorted.
        split: str. The part to read, a key of the file split.json in `path`, which holds a list of
            stems for each. Defaults to None: all.

    Returns:
        Annotations.

    Raises:
        FileNotFoundError: if a folder, or the image or label image of a name, does not exist.
        ValueError: if two files of one folder share a name, or there are no images.
    """
    root = _root(Path(path))
    if images is None and root is None:
        raise FileNotFoundError(
            f"{path}: it has no folders images and labels. If it holds the label images, give the "
            "folder of their images as images=."
        )
    if images is None and root is not None:
        images_dir, labels_dir = root / "images", root / "labels"
    else:
        images_dir, labels_dir = Path(images or ""), Path(path)
    if split is not None:
        stems = _stems(Path(path), split)
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


def splits(path: Path) -> list[str]:
    """Returns the parts that the file split.json names: each key that holds a list of stems."""
    file = path / SPLIT_FILE
    if not file.is_file():
        return []
    parts = read_json(file, "a list of stems for each part")
    if not isinstance(parts, dict):
        raise ValueError(
            f'{file}: expected {{"train": [...], "val": [...]}}, got {shorten(parts)}.'
        )
    return [name for name, stems in parts.items() if isinstance(stems, list)]


def _stems(path, split):
    known = splits(path)
    if split not in known:
        listed = ", ".join(shorten(name) for name in known[:10]) or "none"
        raise ValueError(
            f"{path}: there is no split {split!r} in {SPLIT_FILE}. Its splits: {listed}."
        )
    stems = read_json(path / SPLIT_FILE, "a list of stems for each part")[split]
    wrong = [stem for stem in stems if not isinstance(stem, str)]
    if wrong:
        raise ValueError(f"{path / SPLIT_FILE}: a stem must be text, got {shorten(wrong[0])}.")
    return stems


def _root(path: Path) -> Path | None:
    """Returns the folder that holds `images` and `labels`: a folder, or the only one in it."""
    if not path.is_dir():
        return None
    for folders in ([path], [entry for entry in path.iterdir() if entry.is_dir()]):
        found = [f for f in folders if (f / "images").is_dir() and (f / "labels").is_dir()]
        if len(found) == 1:
            return found[0]
    return None


def write(annotations: Annotations, path: str | os.PathLike) -> None:
    """Writes a folder `labels` of 16-bit PNG files, and copies the images into `images` beside it.

    Where instances overlap, the smaller one is on top.

    Args:
        annotations: Annotations of one class without crowds, with image files.
        path: str or path. The folder that is to hold both.

    Raises:
        ValueError: if label images cannot hold the annotations, or one lies wholly under others.
    """
    _folders.check_one_class(annotations, NAME)
    for stem, image in _folders.by_stem(annotations).items():
        labels, instances = _folders.paint(image, NAME)
        if len(instances) > np.iinfo(np.uint16).max:
            raise ValueError(
                f"{image.path}: {len(instances)} instances, but 16 bits count up to 65535."
            )
        _folders.write_png(Path(path) / "labels" / f"{stem}.png", labels.astype(np.uint16))
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
