"""Label images: one picture an image whose pixel values number the instances."""

from __future__ import annotations

import numpy as np

from mrcnn.data.dataset import Dataset, read_cached
from mrcnn.images.files import IMAGE_SUFFIXES, list_images, read_label_image

SOURCE = "labels"


class LabelImageDataset(Dataset):
    """Images with one label image each: 0 is background, every other value one instance.

    Values need not be consecutive. All instances are of one class.
    """

    @classmethod
    def from_folders(cls, images_dir, labels_dir, class_name="object", stems=None):
        """Pairs the files of two folders by their names without suffix.

        Args:
            images_dir: pictures.
            labels_dir: label images of 8 or 16 bits; PNG or TIFF.
            class_name: name of the one class.
            stems: names without suffix to take, in this order; None: all, sorted.

        Returns:
            A prepared dataset.

        Raises:
            FileNotFoundError: a folder, or the picture or label image of a name, does not exist.
            ValueError: two files of one folder share a name, or no pictures.
        """
        images = _by_stem(images_dir, "image folder")
        labels = _by_stem(labels_dir, "label folder")
        if not images:
            raise ValueError(f"{images_dir}: the folder holds no pictures {IMAGE_SUFFIXES}.")
        dataset = cls()
        dataset.add_class(SOURCE, 1, class_name)
        for stem in sorted(images) if stems is None else stems:
            for found, folder in ((images, images_dir), (labels, labels_dir)):
                if stem not in found:
                    raise FileNotFoundError(
                        f"{folder}: no file named {stem} with a suffix of a picture. Every image "
                        "needs a label image of the same name (without objects: all zeros)."
                    )
            dataset.add_image(SOURCE, stem, str(images[stem]), label_path=str(labels[stem]))
        dataset.prepare()
        return dataset

    def image_reference(self, image_id) -> str:
        """The path of the picture."""
        return str(self.image_info[image_id]["path"])

    def load_label(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """Label image int32 [H, W], instance i as i + 1 in ascending order, and class ids [N]."""
        labels = read_cached(self.image_info[image_id]["label_path"], _read_consecutive)
        return labels, np.ones(int(labels.max(initial=0)), np.int32)

    def load_mask(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """bool [H, W, N] and int32 [N]; see `Dataset.load_mask`."""
        labels, class_ids = self.load_label(image_id)
        return labels[..., None] == np.arange(1, len(class_ids) + 1), class_ids


def _by_stem(folder, what):
    files = {}
    for path in list_images(folder, what):
        if path.stem in files:
            raise ValueError(
                f"{folder}: {files[path.stem].name} and {path.name} have the same name without "
                "suffix: keep one of them."
            )
        files[path.stem] = path
    return files


def _read_consecutive(path):
    labels = read_label_image(path)
    if not np.issubdtype(labels.dtype, np.integer) or labels.min(initial=0) < 0:
        raise ValueError(
            f"{path}: a label image must hold whole numbers of at least 0, got {labels.dtype}."
        )
    values = np.unique(labels)
    numbers = np.searchsorted(values[values > 0], labels) + 1
    return np.where(labels > 0, numbers, 0).astype(np.int32)
