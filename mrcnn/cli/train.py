"""`mrcnn train`: from options to a model folder, and on from where a run was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

from mrcnn.cli.common import OK, UsageError
from mrcnn.cli.data import training_data
from mrcnn.cli.progress import EpochLines
from mrcnn.config import Config
from mrcnn.folder import ModelFolder
from mrcnn.images.atomic import write_text
from mrcnn.models.mask_rcnn import ASSETS, MaskRCNN
from mrcnn.weights.loading import CLASS_LAYERS
from mrcnn.weights.source import open_source

OPTIONS_FILE = "command.json"  # in a run folder: the options that it was started with
DEFAULTS = {"name": "model", "output": "runs", "epochs": 10, "layers": "all"}
_PATHS = ("images", "annotations", "labels", "val_images", "val_annotations", "val_labels")
# Settings of a base model that belong to its own training, not to the next.
_NOT_INHERITED = ("STEPS_PER_EPOCH", "VALIDATION_STEPS", "GPU_COUNT", "JIT_COMPILE", "LOSS_WEIGHTS")


def run(given: dict, say=print) -> int:
    """Trains.

    Args:
        given: the options that were given, by name without dashes; "settings" is a dict.
        say: function that shows a line.
    """
    for name in _PATHS:  # a run may be resumed from another folder
        if given.get(name):
            given[name] = str(Path(given[name]).absolute())
    if "resume" in given:
        model, options = _resume(given, say)
    else:
        model, options = None, DEFAULTS | given
    train, val = training_data(options, say)
    if model is None:
        model = _new(options, train, say)
        _record(model, options)
    elif model.epoch >= options["epochs"]:
        say(f"{model.log_dir} has finished its {options['epochs']} epochs; --epochs asks for more.")
        return OK
    model.train(
        train,
        val,
        learning_rate=options.get("learning_rate"),
        epochs=options["epochs"],
        layers=options["layers"],
        custom_callbacks=[EpochLines(say)],
        resume=False,
        verbose=0,
    )
    say(f"The model is in {model.log_dir}. Try: mrcnn detect {model.log_dir} PICTURES")
    return OK


# --- Going on ------------------------------------------------------------------------------------
def _resume(given, say):
    folder = given["resume"] or _newest(given.get("output", DEFAULTS["output"]), given.get("name"))
    options = DEFAULTS | _recorded(Path(folder)) | {k: v for k, v in given.items() if k != "resume"}
    fixed = sorted(set(given) & {"weights", "backbone", "no_mask", "image_size", "batch_size"})
    if fixed:
        raise UsageError(f"--{fixed[0].replace('_', '-')} cannot change in a run that is resumed")
    if not ModelFolder(folder).checkpoints():
        say(f"{folder} has no finished epoch; starting anew.")
        return None, options
    model = MaskRCNN.load(folder, mode="training", **given["settings"])
    say(f"Going on with {folder} after epoch {model.epoch}.")
    return model, options


def _newest(output, name) -> str:
    runs = sorted(Path(output).glob(f"*/{OPTIONS_FILE}"), key=lambda path: path.stat().st_mtime)
    runs = [path for path in runs if name is None or path.parent.name.startswith(name.lower())]
    if not runs:
        what = f"named {name} " if name else ""
        raise UsageError(f"--resume: no run {what}in {output}; give its folder after --resume")
    return str(runs[-1].parent)


def _recorded(folder) -> dict:
    path = folder / OPTIONS_FILE
    if not path.is_file():
        raise UsageError(
            f"--resume {folder}: no {OPTIONS_FILE} there, so it is no run of mrcnn train"
        )
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(options, dict):
            return options
        raise ValueError("expected an object")
    except ValueError as error:
        raise ValueError(f"{path}: not the options of a run: {error}") from error


def _record(model, options):
    values = {name: value for name, value in options.items() if name != "resume"}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    write_text(Path(model.log_dir) / OPTIONS_FILE, text)


# --- Starting ------------------------------------------------------------------------------------
def _new(options, dataset, say):
    folder, weights = _start(options)
    config = _config(folder, options, dataset)
    model = MaskRCNN("training", config, model_dir=options["output"])
    if weights is not None:
        exclude = heads_of_other_classes(weights, folder, dataset.class_names)
        model.load_weights(weights, exclude=exclude, go_on=False)
        new = " with new heads for these classes" if exclude else ""
        say(f"Starting from {weights}{new}.")
    return model


def _start(options):
    """(folder of the settings to start from or None, weight file or None)."""
    bundled = ASSETS / "demo"
    if not (bundled / "config.json").is_file():
        bundled = None
    choice = options.get("weights") or ("none" if options.get("backbone") else "demo")
    if choice == "none":
        return bundled, None
    if choice == "demo":
        if bundled is None:
            raise UsageError("--weights demo: this copy has no bundled model; give --weights none")
        return bundled, ModelFolder(bundled).weights()
    if choice == "last":
        runs = [run for run in ModelFolder.runs(options["output"], options["name"])
                if run.checkpoints()]  # fmt: skip
        if not runs:
            raise UsageError(
                f"--weights last: no run named {options['name']} in {options['output']}"
            )
        return runs[-1].path, runs[-1].weights(latest=True)
    path = Path(choice)
    if path.is_dir():
        return path, ModelFolder(path).weights()
    if path.is_file():
        return (path.parent if (path.parent / "config.json").is_file() else None), path
    raise UsageError(
        f"--weights {choice}: no such file or folder; expected none, demo, last, FILE or FOLDER"
    )


def _config(folder, options, dataset) -> Config:
    """The settings: those of the model to start from, then of the options, then of --set."""
    values = {}
    if folder is not None:
        values = Config.from_json(folder / "config.json").to_dict()
        values = {name: v for name, v in values.items() if name not in _NOT_INHERITED}
    values |= {"NAME": options["name"], "NUM_CLASSES": dataset.num_classes}
    side = options.get("image_size") or (128 if options.get("dataset") else None)
    if side:
        values |= {"IMAGE_RESIZE_MODE": "square", "IMAGE_MIN_DIM": side, "IMAGE_MAX_DIM": side}
    for option, name in (
        ("backbone", "BACKBONE"), ("batch_size", "IMAGES_PER_GPU"), ("seed", "SEED"),
        ("learning_rate", "LEARNING_RATE"),
    ):  # fmt: skip
        if options.get(option) is not None:
            values[name] = options[option]
    if options.get("no_mask"):
        values["USE_MASKS"] = False
    config = Config.from_dict(values | options["settings"])
    config.validate()
    return config


def heads_of_other_classes(weights, folder, class_names) -> list[str]:
    """Names of the layers of a weight file that know other classes than these.

    Args:
        weights: the file.
        folder: the model folder it belongs to, or None.
        class_names: wanted, background first.

    Returns:
        Empty where the classes are the same.
    """
    known = ModelFolder(folder).class_names() if folder is not None else []
    with open_source(weights) as source:
        if (known or source.class_names) == list(class_names):
            return []
        return [name for name in CLASS_LAYERS if name in source.layers]
