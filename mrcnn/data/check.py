"""Checks of a data set before training starts."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.sample import load_sample
from mrcnn.images.files import check_image_file


# --- Checks before training ----------------------------------------------------------------------
def _check_prepared(dataset, name="dataset"):
    if not hasattr(dataset, "num_images"):
        raise ValueError(
            f"{name}: the {type(dataset).__name__} is not prepared: call its prepare() "
            "after the last add_class and add_image."
        )
    if dataset.num_images == 0:
        raise ValueError(
            f"{name}: the {type(dataset).__name__} is empty: it has no images. Check the "
            "folder or the annotation file that it was made from."
        )


def check_dataset(dataset, config, name="dataset"):
    """Checks a dataset before the first step of training.

    Args:
        dataset: to be checked.
        config: a Config.
        name: of the argument, for the errors.

    Raises:
        ValueError: not prepared, empty, more classes than NUM_CLASSES, a truncated image file, an
            unusable first image.
        FileNotFoundError: image files that do not exist; the first five are named.
    """
    _check_prepared(dataset, name)
    if dataset.num_classes > config.NUM_CLASSES:
        raise ValueError(
            f"{name} has {dataset.num_classes} classes, the background included "
            f"({', '.join(dataset.class_names[:10])}{', ...' * (dataset.num_classes > 10)}), but "
            f"NUM_CLASSES = {config.NUM_CLASSES}: set NUM_CLASSES = {dataset.num_classes}."
        )
    if type(dataset).load_image is Dataset.load_image:
        _check_files(dataset, name)
    load_sample(dataset, config, int(np.asarray(dataset.image_ids)[0]))


def _check_files(dataset, name):
    paths = [info["path"] for info in dataset.image_info if info["path"] is not None]
    missing = [str(path) for path in paths if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            f"{name}: {len(missing)} of {len(dataset.image_info)} image files do not exist: "
            f"{', '.join(missing[:5])}{', ...' * (len(missing) > 5)}. Check the image folder."
        )
    with ThreadPoolExecutor() as threads:
        for _ in threads.map(check_image_file, paths):  # raises what a file raised
            pass
