"""Checks a dataset before training starts."""

from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mrcnn.data.dataset import Dataset, describe_image
from mrcnn.data.sample import load_fitted_instances, load_sample
from mrcnn.images.files import check_image_file

# How many images are searched for instances that training cannot use, and for how long at most.
SAMPLED_IMAGES = 200
SAMPLED_SECONDS = 3.0

logger = logging.getLogger("mrcnn")


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


def check_dataset(dataset: Dataset, config: Any, name: str = "dataset") -> None:
    """Checks a dataset before the first step of training.

    It also warns (logger "mrcnn") of what training would silently leave out: instances that are
    thinner than a pixel of the network's input, images with more instances than MAX_GT_INSTANCES,
    and data without any instance. For these, at most `SAMPLED_IMAGES` images are looked at.

    Args:
        dataset: Dataset. The dataset to check.
        config: Config.
        name: str. The name of the argument, for errors and warnings. Defaults to "dataset".

    Raises:
        ValueError: if the dataset is not prepared or empty, has more classes than NUM_CLASSES, a
            truncated image file, or an image in the sample whose annotations cannot be used.
        FileNotFoundError: if image files do not exist; the first five are named.
    """
    _check_prepared(dataset, name)
    if dataset.num_classes > config.NUM_CLASSES:
        raise ValueError(
            f"{name} has {dataset.num_classes} classes, the background included "
            f"({', '.join(dataset.class_names[:10])}{', ...' * (dataset.num_classes > 10)}), but "
            f"NUM_CLASSES = {config.NUM_CLASSES}: set NUM_CLASSES = {dataset.num_classes}."
        )
    if dataset.has("files"):
        _check_files(dataset, name)
    if config.USE_MASKS:
        dataset.check_shapes()
    load_sample(dataset, config, int(np.asarray(dataset.image_ids)[0]))
    _warn_of_instances(_count_instances(dataset, config), dataset, config, name)


class _Counts:
    """What a sample of images holds."""

    images = 0
    instances = 0  # those that training could use if they were large enough
    crowds = 0
    thin = 0  # those that would lose most of their pixels, or all, at the network's input
    crowded_images = 0  # with more instances than MAX_GT_INSTANCES
    most = 0  # instances in one image
    fullest = 0  # the id of that image


def _count_instances(dataset, config):
    """Counts the instances in a random sample of images, without reading the images."""
    counts = _Counts()
    if not any(dataset.has(ability) for ability in ("masks", "boxes", "labels")):
        counts.images = dataset.num_images  # the user is told that load_mask is missing
        return counts
    order = np.random.default_rng(0).permutation(np.asarray(dataset.image_ids))
    end = time.monotonic() + SAMPLED_SECONDS
    for image_id in order[:SAMPLED_IMAGES]:
        class_ids, fitted = load_fitted_instances(dataset, config, int(image_id))
        left = fitted.class_ids
        counts.images += 1
        counts.instances += int((class_ids > 0).sum())
        counts.crowds += int((class_ids < 0).sum())
        counts.thin += int(((left > 0) & fitted.thin).sum())
        counts.crowded_images += len(left) > config.MAX_GT_INSTANCES
        if len(left) > counts.most:
            counts.most, counts.fullest = len(left), int(image_id)
        if time.monotonic() > end:
            break
    return counts


def _warn_of_instances(counts, dataset, config, name):
    """Says what training would leave out without a word."""
    seen = f"{counts.images} images"
    if counts.images < dataset.num_images:
        seen += f" looked at, of {dataset.num_images}"
    if not counts.instances:
        crowds = (
            f" ({counts.crowds} crowds, which training ignores: if they are objects, read the file "
            'with crowds="objects", in a shell --crowds objects)'
        )
        logger.warning(
            "%s: no instance in %s%s: there is nothing to learn from. Check the annotations.",
            name,
            seen,
            crowds if counts.crowds else "",
        )
    if counts.thin:
        logger.warning(
            "%s: %d of %d instances (in %s) are thinner than a pixel when the image is scaled with "
            "IMAGE_RESIZE_MODE = %r, IMAGE_MIN_DIM = %s, IMAGE_MAX_DIM = %s: each keeps at least "
            "one pixel, but little is learned from it. Raise IMAGE_MAX_DIM (and IMAGE_MIN_DIM), or "
            "cut the images into tiles.",
            name,
            counts.thin,
            counts.instances,
            seen,
            config.IMAGE_RESIZE_MODE,
            config.IMAGE_MIN_DIM,
            config.IMAGE_MAX_DIM,
        )
    if counts.crowded_images:
        logger.warning(
            "%s: %d of %d images hold more instances than MAX_GT_INSTANCES = %d, up to %d (image "
            "%s): the rest teaches nothing, neither as objects nor as background, with another "
            "choice in each epoch. Set MAX_GT_INSTANCES = %d%s.",
            name,
            counts.crowded_images,
            counts.images,
            config.MAX_GT_INSTANCES,
            counts.most,
            describe_image(dataset, counts.fullest),
            counts.most,
            "" if counts.images == dataset.num_images else f" or more ({seen})",
        )
        dataset._left_out_told = True  # type: ignore[attr-defined]


def warn_of_left_out(dataset: Dataset, config: Any, image_id: int, left_out: np.ndarray) -> None:
    """Warns of an image with more instances than MAX_GT_INSTANCES, once per dataset.

    Args:
        dataset: Dataset.
        config: Config.
        image_id: int. Number of the image.
        left_out: array `[LEFT_OUT_ROWS, 4]`. Boxes of the instances left out of its sample.
    """
    if getattr(dataset, "_left_out_told", False) or not left_out.any():
        return
    dataset._left_out_told = True  # type: ignore[attr-defined]
    total = config.MAX_GT_INSTANCES + int(left_out.any(axis=1).sum())
    logger.warning(
        "Image %s holds %d instances, but MAX_GT_INSTANCES = %d: the rest teaches nothing, neither "
        "as objects nor as background, with another choice in each epoch. Set MAX_GT_INSTANCES = "
        "%d or more. Further images are not mentioned.",
        describe_image(dataset, image_id),
        total,
        config.MAX_GT_INSTANCES,
        total,
    )


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
