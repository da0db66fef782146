"""Shared by the formats that write folders of images of one class."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np

from mrcnn.data.annotations import Annotations, Image
from mrcnn.images.atomic import atomic_path


def check_one_class(annotations: Annotations, name: str) -> None:
    """Refuses annotations that need classes or crowds.

    Args:
        annotations: Annotations.
        name: str. The format, for the error.

    Raises:
        ValueError: if there is more than one class, or a crowd.
    """
    if len(annotations.classes) > 1:
        raise ValueError(
            f"The format {name!r} holds one class, but there are {len(annotations.classes)}: "
            f"{', '.join(str(label) for _, label in annotations.classes[:10])}. Write 'coco'."
        )
    for image in annotations.images:
        if any(instance.crowd for instance in image.instances):
            raise ValueError(
                f"The format {name!r} cannot mark crowds, but {image.path} holds some. Write "
                "'coco', or read with crowds=\"objects\"."
            )


def by_stem(annotations: Annotations) -> dict[str, Image]:
    """Returns the images by their file names without suffix, in their order.

    Raises:
        ValueError: if an image has no file, or two have the same name.
    """
    found: dict[str, Image] = {}
    for image in annotations.images:
        if image.path is None:
            raise ValueError(f"Image {image.id!r} has no file that could be copied.")
        other = found.setdefault(Path(image.path).stem, image)
        if other is not image:
            raise ValueError(
                f"{other.path} and {image.path} have the same name without suffix: rename one."
            )
    return found


def copy_image(image: Image, folder: Path) -> None:
    """Copies the file of an image into a folder."""
    source = Path(image.path or "")
    with atomic_path(folder / source.name) as temporary:
        shutil.copyfile(source, temporary)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes a PNG file of one channel, 8 or 16 bits."""
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"{path}: cannot write {pixels.dtype} {pixels.shape} as PNG.")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
