"""Folders of one file a mask, the layout of the 2018 Data Science Bowl.

root/<id>/images/<any>.png and root/<id>/masks/*.png
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrcnn.data.dataset import Dataset, read_cached
from mrcnn.images.files import list_images, read_label_image

SOURCE = "masks"


class MaskFolderDataset(Dataset):
    """Images with a folder of masks each, one file an instance, not zero inside. One class."""

    @classmethod
    def from_folder(cls, root, class_name="object"):
        """Takes every folder below `root` that holds a folder "images".

        Args:
            root: folder of folders.
            class_name: name of the one class.

        Returns:
            A prepared dataset. An image without a folder "masks", or with an empty one, has no
            objects.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: no folder has the layout, or one holds another number of pictures than one.
        """
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder. Check the path.")
        dataset = cls()
        dataset.add_class(SOURCE, 1, class_name)
        for folder in sorted(path for path in root.iterdir() if (path / "images").is_dir()):
            pictures = list_images(folder / "images")
            if len(pictures) != 1:
                raise ValueError(
                    f"{folder / 'images'}: expected one picture, found {len(pictures)}."
                )
            dataset.add_image(SOURCE, folder.name, str(pictures[0]), mask_dir=folder / "masks")
        if not dataset.image_info:
            raise ValueError(
                f"{root}: no folder in it has the layout <id>/images/*.png and <id>/masks/*.png."
            )
        dataset.prepare()
        return dataset

    def image_reference(self, image_id) -> str:
        """The path of the picture."""
        return str(self.image_info[image_id]["path"])

    def load_mask(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """bool [H, W, N] in order of the file names, and int32 [N]; see `Dataset.load_mask`.

        Raises:
            ValueError: a mask that cannot be read, or is of another size than the first.
        """
        folder = self.image_info[image_id]["mask_dir"]
        paths = list_images(folder) if folder.is_dir() else []
        masks = [read_cached(str(path), _read_mask) for path in paths]
        for path, mask in zip(paths, masks, strict=True):
            if mask.shape != masks[0].shape:
                raise ValueError(
                    f"{path}: the mask is {mask.shape[0]}x{mask.shape[1]}, but {paths[0].name} is "
                    f"{masks[0].shape[0]}x{masks[0].shape[1]}. All masks must have the size of "
                    "their image."
                )
        if not masks:
            return np.zeros((*self.load_image(image_id).shape[:2], 0), bool), np.zeros(0, np.int32)
        return np.stack(masks, axis=-1), np.ones(len(masks), np.int32)


def _read_mask(path):
    return read_label_image(path) > 0
