"""Where a model comes from: opened under any name, or made to train from another one."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mrcnn.config import Config
from mrcnn.folder import ModelFolder, read_config
from mrcnn.models.mask_rcnn import ASSETS, MaskRCNN
from mrcnn.weights.download import known
from mrcnn.weights.loading import CLASS_LAYERS
from mrcnn.weights.source import open_source

logger = logging.getLogger("mrcnn")

BUNDLED = ASSETS / "demo"
# Settings of a model to start from that belong to its own training, not to the next.
_NOT_INHERITED = ("STEPS_PER_EPOCH", "VALIDATION_STEPS", "GPU_COUNT", "JIT_COMPILE", "LOSS_WEIGHTS")


class NoModelError(FileNotFoundError):
    """There is no model of a name."""


def open_model(name: str | os.PathLike, mode: str = "inference", **settings: Any) -> MaskRCNN:
    """Opens a model whatever names it.

    Args:
        name: str or path. A model folder, a file of weights, the name of published weights, or
            `"demo"` for the bundled model.
        mode: str. `"training"` or `"inference"`. Defaults to `"inference"`.
        **settings: settings of Config to change.

    Returns:
        The model.

    Raises:
        NoModelError: none of these, with the nearest names that exist.
        ValueError: it cannot be read; see `MaskRCNN.load` and `MaskRCNN.from_weights`.
    """
    if str(name) == "demo":
        return MaskRCNN.demo(mode, **settings)
    path = Path(name)
    if path.is_dir():
        return MaskRCNN.load(path, mode, **settings)
    if not path.exists() and str(name) not in known():
        raise NoModelError(_no_model(path))
    return MaskRCNN.from_weights(name, mode, **settings)


def _no_model(path):
    folders = [*_model_folders(path.parent), *_model_folders(Path("runs"))]
    near = [text for text in folders if Path(text).name.startswith(path.name.lower())]
    near += difflib.get_close_matches(str(path), ["demo", *known(), *folders], n=3)
    near = list(dict.fromkeys(near))[-3:]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return (
        f"MODEL {str(path)!r} is not there: give a model folder, a weight file, a name that "
        f'"mrcnn download" lists, or "demo".{hint}'
    )


def _model_folders(parent):
    try:
        return sorted(str(path.parent) for path in parent.glob("*/config.json"))
    except OSError:
        return []


def training_model(
    dataset: Any,
    weights: str | os.PathLike | None = "demo",
    model_dir: str | os.PathLike = "runs",
    say: Callable[[str], Any] = logger.info,
    **settings: Any,
) -> MaskRCNN:
    """Makes a model to train on a data set, starting from another model.

    It takes over the settings of the model that it starts from, except those that belong to the
    other's training. Heads that know other classes than the data set start over.

    ```python
    model = training_model(train, NAME="cells", IMAGE_MIN_DIM=512, IMAGE_MAX_DIM=512)
    model.train(train, val, epochs=20)
    ```

    Args:
        dataset: a prepared `Dataset`. Gives the classes.
        weights: str or path. `"demo"` for the bundled model, a model folder, or a file of weights
            (with the settings of its folder, if it has a config.json). None: the settings of the
            bundled model alone, without weights. Defaults to `"demo"`.
        model_dir: str or path. Folder of the run folders. Defaults to `"runs"`.
        say: function that shows what the model starts from. Defaults to a log message.
        **settings: settings of Config to change.

    Returns:
        The model, in mode "training".

    Raises:
        FileNotFoundError: no such weights.
        ValueError: a setting out of range, or a NUM_CLASSES that is not that of the data set.
    """
    folder, file = starting_point(weights)
    classes = settings.get("NUM_CLASSES", dataset.num_classes)
    if classes != dataset.num_classes:
        raise ValueError(
            f"NUM_CLASSES is {classes!r}, but the data set has {dataset.num_classes} classes, the "
            f"background included ({', '.join(dataset.class_names[:10])}). Leave NUM_CLASSES out."
        )
    values = {}
    if folder is not None:
        values = read_config(folder).to_dict()
        values = {name: value for name, value in values.items() if name not in _NOT_INHERITED}
    values |= {"NUM_CLASSES": dataset.num_classes} | settings
    model = MaskRCNN("training", Config.from_dict(values), model_dir=model_dir)
    if file is not None:
        exclude = heads_of_other_classes(file, folder, dataset.class_names)
        model.load_weights(file, exclude=exclude, resume=False)
        new = " with new heads for these classes" if exclude else ""
        say(f"Starting from {file}{new}.")
    return model


def starting_point(weights: str | os.PathLike | None) -> tuple[Path | None, Path | None]:
    """Finds the settings and the weights that a training starts from.

    Args:
        weights: as in `training_model`.

    Returns:
        (folder of the settings or None, file of weights or None).

    Raises:
        FileNotFoundError: no such weights.
    """
    bundled = BUNDLED if (BUNDLED / "config.json").is_file() else None
    if weights is None:
        return bundled, None
    path = Path(weights)
    if str(weights) == "demo":
        if bundled is None:
            raise FileNotFoundError("weights 'demo': this copy has no bundled model; use none.")
        path = bundled
    if path.is_dir():
        return path, ModelFolder(path).weights()
    if path.is_file():
        return (path.parent if (path.parent / "config.json").is_file() else None), path
    raise FileNotFoundError(f"weights {str(weights)!r}: no such file or folder.")


def heads_of_other_classes(
    weights: str | os.PathLike, folder: str | os.PathLike | None, class_names: list[str]
) -> list[str]:
    """Finds the layers of a file of weights that know other classes than these.

    Args:
        weights: str or path. The file.
        folder: str or path. The model folder that it belongs to, or None.
        class_names: list of str. The wanted classes, background first.

    Returns:
        Names of layers; empty where the classes are the same.
    """
    known_names = ModelFolder(folder).class_names() if folder is not None else []
    with open_source(weights) as source:
        if (known_names or source.class_names) == list(class_names):
            return []
        return [name for name in CLASS_LAYERS if name in source.layers]
