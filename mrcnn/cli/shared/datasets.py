"""Data sets from the options of `mrcnn train` and `mrcnn evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mrcnn.cli.shared.usage import UsageError
from mrcnn.data import formats
from mrcnn.data.classes import match_classes
from mrcnn.data.dataset import Dataset
from mrcnn.data.split import split
from mrcnn.data.synthetic.shapes import ShapesDataset

SHAPES_SIDE, SHAPES_COUNT, SHAPES_VAL_COUNT = 128, 500, 50
_VAL_SEED = 1_000_000  # far from any seed that a user gives to the training images
HOW = "--data PATH, --dataset shapes, --images DIR --annotations FILE, or --images DIR --labels DIR"


def training_data(
    options: dict[str, Any], say: Callable[[str], Any] = print
) -> tuple[Dataset, Dataset | None]:
    """Makes the training and the validation set of `mrcnn train`.

    Args:
        options: dict. Options by name without dashes; None and absent mean the same.
        say: function that shows a line. Defaults to `print`.

    Returns:
        (train, val); val is None without validation.

    Raises:
        UsageError: options that name no data, or contradict each other.
    """
    train, val = _own_splits(options)
    if train is None:
        train = dataset(options)
    if val is not None:
        pass
    elif options.get("dataset"):
        count = options.get("val_count")
        count = SHAPES_VAL_COUNT if count is None else count
        val = _shapes(options, count, _seed(options) + _VAL_SEED) if count > 0 else None
    elif any(options.get(f"val_{name}") for name in ("data", "images", "annotations", "labels")):
        given = {name: options.get(f"val_{name}") for name in ("data", "annotations", "labels")}
        given["format"] = options.get("format")
        # one folder may hold the images of both sets
        given["images"] = options.get("val_images") or options.get("images")
        given["crowds"] = None if given["labels"] else options.get("crowds")
        val = dataset(given, "val-")
        try:
            match_classes(val.class_names, train.class_names)
        except ValueError as error:
            raise UsageError(f"the validation and training set do not fit: {error}") from error
    else:
        share = options.get("val_split")
        train, val = split(train, 0.1 if share is None else share, _seed(options))
    held = f"{val.num_images} for validation" if val is not None else "none for validation"
    classes = ", ".join(train.class_names[1:])
    say(f"{train.num_images} images to train on, {held}; classes: {classes}.")
    return train, val


def dataset(options: dict[str, Any], prefix: str = "") -> Dataset:
    """Makes the data set that --dataset, --images, --annotations and --labels name.

    Args:
        options: dict. Options by name without dashes.
        prefix: str. `"val-"` in errors about validation data. Defaults to none.

    Returns:
        A prepared data set.

    Raises:
        UsageError: they name none, or more than one.
    """
    if options.get("dataset"):
        if options.get("images") or options.get("data"):
            raise UsageError("--dataset excludes --images and --data")
        return _shapes(options, options.get("count") or SHAPES_COUNT, _seed(options))
    images, annotations, labels = (options.get(k) for k in ("images", "annotations", "labels"))
    if options.get("data"):
        if annotations or labels:
            raise UsageError(f"--{prefix}data excludes --{prefix}annotations and --{prefix}labels")
        return _open(options)
    if not images:
        raise UsageError(f"no data: give {HOW}")
    if bool(annotations) == bool(labels):
        raise UsageError(
            f"--{prefix}images needs either --{prefix}annotations FILE (COCO instances) or "
            f"--{prefix}labels DIR (label images)"
        )
    crowds = options.get("crowds")
    if annotations:
        return Dataset.open(annotations, "coco", images, crowds=crowds or "ignore")
    if crowds:
        raise UsageError("--crowds needs --annotations: label images have no crowds")
    return Dataset.open(str(labels), "label_images", images)


def _open(options, **more):
    """Opens --data."""
    crowds = {"crowds": options["crowds"]} if options.get("crowds") else {}
    path, form = options["data"], options.get("format") or "auto"
    try:
        return Dataset.open(path, form, options.get("images"), **crowds, **more)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error


def _own_splits(options):
    """Opens the parts "train" and "val" of --data, or returns (None, None) if it has none."""
    asked = ("val_data", "val_images", "val_annotations", "val_labels", "val_split")
    if not options.get("data") or any(options.get(name) is not None for name in asked):
        return None, None
    name = formats.recognize(options["data"], options.get("format") or "auto")
    if name is None or not {"train", "val"} <= set(formats.splits(options["data"], name)):
        return None, None
    options = options | {"format": name}
    return _open(options, split="train"), _open(options, split="val")


def _shapes(options, count, seed):
    side = options.get("image_size") or SHAPES_SIDE
    return ShapesDataset(count, side, side, seed=seed, style=options.get("style") or "plain")


def _seed(options) -> int:
    return options.get("seed") or 0
