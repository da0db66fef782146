"""`mrcnn train`: from options to a model folder, and on from where a run was interrupted."""

from __future__ import annotations

import argparse
import difflib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from mrcnn.cli.shared import options as values
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.usage import INTERRUPTED, OK, UsageError

HELP = "Train on your own images, or on synthetic shapes."
EXAMPLE = "mrcnn train --data instances.json --name cells --epochs 20"

OPTIONS_FILE = "command.json"  # in a run folder: the options that it was started with
DEFAULTS = {"name": "model", "output": "runs", "epochs": 10, "layers": "all"}
_SOURCES = ("data", "images", "annotations", "labels")
_PATHS = (*_SOURCES, *(f"val_{name}" for name in _SOURCES))
_FIXED = ("weights", "backbone", "no_mask", "image_size", "batch_size")  # in a run that is resumed
_STAGES = ("heads", "3+", "4+", "5+", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments; one that is not given is absent, so that a resumed run keeps its own."""
    parser.argument_default = argparse.SUPPRESS
    values.add_data(parser)
    data = parser.add_argument_group("validation data")
    data.add_argument("--val-count", type=int, metavar="N", help="synthetic images (default: 50)")
    data.add_argument("--val-data", metavar="PATH", help="annotations (default: of --data, if any)")
    data.add_argument("--val-images", metavar="DIR", help="folder of images (default: --images)")
    data.add_argument("--val-annotations", metavar="FILE", help="COCO instances file of them")
    data.add_argument("--val-labels", metavar="DIR", help="label images of them")
    data.add_argument(
        "--val-split",
        type=values.share,
        metavar="SHARE",
        help="share of the images held back where none of these is given (default: 0.1; 0: no "
        "validation)",
    )
    run_options = parser.add_argument_group("run")
    run_options.add_argument(
        "--name", type=values.run_name, help="of the run folder (default: model)"
    )
    run_options.add_argument("--output", metavar="DIR", help="folder of runs (default: runs)")
    run_options.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="RUN_FOLDER",
        help="continue an interrupted run (default: the newest)",
    )
    model = parser.add_argument_group("model and training")
    model.add_argument(
        "--weights",
        metavar="none|demo|last|FILE|FOLDER",
        help="to start from (default: demo, the bundled model; none with --backbone)",
    )
    model.add_argument(
        "--backbone", help="resnet18/34/50/101 or a name in keras.applications (default: of demo)"
    )
    model.add_argument("--no-mask", action="store_true", help="boxes only (Faster R-CNN)")
    model.add_argument(
        "--layers",
        type=_layers,
        help="heads, 3+, 4+, 5+, all or a regular expression of layer names (default: all)",
    )
    model.add_argument("--epochs", type=values.count, metavar="N", help="in all (default: 10)")
    model.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="(default: that of the weights)"
    )
    model.add_argument(
        "--batch-size",
        type=values.count,
        metavar="N",
        help="images per step (default: that of the weights)",
    )
    values.add_set(parser)


def _layers(text):
    near = difflib.get_close_matches(text, _STAGES, n=1)
    if near and text not in _STAGES and re.fullmatch(r"\w+\+?", text):
        raise argparse.ArgumentTypeError(
            f"no layers are called {text!r}: did you mean {near[0]}? There are "
            f"{', '.join(_STAGES)}, or a regular expression of layer names, as 'mrcnn_.*'"
        )
    return text


def run(args: argparse.Namespace) -> int:
    """Trains.

    Returns:
        Exit code: 130 if it was interrupted.
    """
    given = {k: v for k, v in vars(args).items() if k not in ("run", "command", "debug")}
    given["settings"] = values.parse_settings(given.get("settings"))
    load_backend()
    for name in _PATHS:  # a run may be resumed from another folder
        if given.get(name):
            given[name] = str(Path(given[name]).absolute())
    weights = given.get("weights")
    if weights not in (None, "none", "demo", "last") and Path(weights).exists():
        given["weights"] = str(Path(weights).absolute())
    return train(given)


def train(given: dict[str, Any]) -> int:
    """Starts or resumes a run.

    Args:
        given: dict. The options that were given, by name without dashes; "settings" is a dict.

    Returns:
        Exit code.
    """
    from mrcnn.cli.shared.datasets import training_data
    from mrcnn.cli.shared.progress import EpochLines
    from mrcnn.folder import ModelFolder
    from mrcnn.training.run import complete

    model, folder, options = None, None, DEFAULTS | given
    if "resume" in given:
        model, folder, options = _resume(given)
    train_set, val_set = training_data(options)
    if model is None:
        model = _new(options, train_set)
        if folder is not None:
            model.folder = ModelFolder(folder, model.config.NAME)
    elif model.epoch >= options["epochs"]:
        complete(model)
        epochs = options["epochs"]
        print(f"{model.folder.path} has finished its {epochs} epochs; --epochs asks for more.")
        return OK
    model.folder.hold()
    try:
        # First of all, so that a run that is killed at any moment resumes with these options.
        _record(model, options)
        model.train(
            train_set,
            val_set,
            learning_rate=options.get("learning_rate"),
            epochs=options["epochs"],
            layers=options["layers"],
            custom_callbacks=[EpochLines(), _recorder(model, options)],
            resume=False,
            verbose=0,
        )
    except KeyboardInterrupt:
        print(f"mrcnn train: interrupted; {_how_to_resume(model.folder)}", file=sys.stderr)
        return INTERRUPTED
    except Exception:  # a start that fails must leave nothing that looks like a run
        model.folder.abandon()
        if not model.folder.checkpoints():
            (model.folder.path / OPTIONS_FILE).unlink(missing_ok=True)
            model.folder.remove_if_empty()
        raise
    folder = str(model.folder.path)
    print(f"The model is in {folder}. Try: {shlex.join(['mrcnn', 'detect', folder])} IMAGES")
    return OK


def _how_to_resume(folder):
    if not folder.checkpoints():
        return "no epoch was finished, so there is nothing to resume"
    return f"resume it with: {shlex.join(['mrcnn', 'train', '--resume', str(folder.path)])}"


# --- Resuming ------------------------------------------------------------------------------------
def _resume(given):
    """(model, folder, options) of the run to continue; the model is None if it starts over."""
    from mrcnn.folder import ModelFolder
    from mrcnn.models.mask_rcnn import MaskRCNN

    fixed = [name for name in _FIXED if name in given]
    if fixed:
        raise UsageError(f"--{fixed[0].replace('_', '-')} cannot change in a run that is resumed")
    folder = Path(given["resume"] or _choose(given))
    recorded = DEFAULTS | _recorded(folder)
    options = recorded | {name: value for name, value in given.items() if name != "resume"}
    options["settings"] = recorded.get("settings", {}) | given["settings"]
    if not ModelFolder(folder).checkpoints():
        print(f"{folder} has no finished epoch; it starts over.")
        return None, folder, options
    model = MaskRCNN.load(folder, mode="training", **options["settings"])
    print(f"Resuming {folder} after epoch {model.epoch}.")
    return model, folder, options


def _choose(given):
    """The newest run that can be resumed; those that were passed over are named."""
    from mrcnn.folder import ModelFolder

    output, name = given.get("output", DEFAULTS["output"]), given.get("name")
    paths = [path.parent for path in Path(output).glob(f"*/{OPTIONS_FILE}")]
    if name is not None:
        named = {run.path for run in ModelFolder.runs(output, name)}
        paths = [path for path in paths if path in named]
    paths.sort(key=lambda path: (path / OPTIONS_FILE).stat().st_mtime, reverse=True)
    if not paths:
        what = f"named {name} " if name else ""
        raise UsageError(f"--resume: no run {what}in {output}; give its folder after --resume")
    reasons = {path: _why_not(path, given) for path in paths}
    # Without one, the newest says what is the matter: a finished run before an empty one.
    finished = [path for path in paths if "finished its" in (reasons[path] or "")]
    best = next((path for path in paths if reasons[path] is None), (finished or paths)[0])
    for path in paths[: paths.index(best)]:
        print(f"Passing over {path}, which {reasons[path]}.")
    return best


def _why_not(path, given):
    """Why a run cannot be resumed; None if it can."""
    from mrcnn.folder import ModelFolder

    run = ModelFolder(path)
    try:
        if not run.try_hold():
            return "is in use by another training"
        run.release()
    except OSError:
        return "cannot be written to"
    checkpoints = run.checkpoints()
    if not checkpoints:
        return "has no finished epoch"
    try:
        epochs = given.get("epochs") or (DEFAULTS | _recorded(path))["epochs"]
    except ValueError:
        return f"has a damaged {OPTIONS_FILE}"
    return f"has finished its {epochs} epochs" if checkpoints[-1][0] >= epochs else None


def _recorded(folder):
    from mrcnn.images.texts import read_json

    path = folder / OPTIONS_FILE
    if not path.is_file():
        raise UsageError(
            f"--resume {folder}: no {OPTIONS_FILE} there, so it is no run of mrcnn train"
        )
    options = read_json(path, "the options of a run")
    if not isinstance(options, dict) or not isinstance(options.get("settings", {}), dict):
        raise ValueError(f"{path}: not the options of a run: expected an object with settings")
    if type(options.get("epochs", 1)) is not int or options.get("epochs", 1) < 1:
        raise ValueError(f"{path}: not the options of a run: expected whole epochs")
    return options


def _record(model, options):
    from mrcnn.images.atomic import write_text

    recorded = {name: value for name, value in options.items() if name != "resume"}
    text = json.dumps(recorded, indent=2, ensure_ascii=False)
    write_text(Path(model.folder.path) / OPTIONS_FILE, text)


def _recorder(model, options):
    """A callback that writes the options again if the run folder was removed during training."""
    import keras

    def write(epoch, logs):
        if not (model.folder.path / OPTIONS_FILE).exists():
            _record(model, options)

    return keras.callbacks.LambdaCallback(on_epoch_end=write)


# --- Starting ------------------------------------------------------------------------------------
def _new(options, dataset):
    """The model of a new run."""
    from mrcnn.models import start

    weights = options.get("weights") or ("none" if options.get("backbone") else "demo")
    if weights == "last":
        # Recorded as a path: "last" is another run once this one has an epoch.
        weights = options["weights"] = str(_last(options).absolute())
    weights = None if weights == "none" else weights
    try:
        return start.training_model(
            dataset, weights, options["output"], say=print, **_settings(options)
        )
    except FileNotFoundError as error:
        raise UsageError(f"--{error} Expected none, demo, last, FILE or FOLDER") from error


def _last(options):
    from mrcnn.folder import ModelFolder

    runs = ModelFolder.runs(options["output"], options["name"])
    runs = [run for run in runs if run.checkpoints()]
    if not runs:
        raise UsageError(f"--weights last: no run named {options['name']} in {options['output']}")
    return runs[-1].weights(latest=True)


def _settings(options):
    """The settings of Config that options stand for; --set has the last word."""
    settings = {"NAME": options["name"]}
    side = options.get("image_size") or (128 if options.get("dataset") else None)
    if side:
        settings |= {"IMAGE_RESIZE_MODE": "square", "IMAGE_MIN_DIM": side, "IMAGE_MAX_DIM": side}
    for option, name in (
        ("backbone", "BACKBONE"),
        ("batch_size", "IMAGES_PER_GPU"),
        ("seed", "SEED"),
        ("learning_rate", "LEARNING_RATE"),
    ):
        if options.get(option) is not None:
            settings[name] = options[option]
    if options.get("no_mask"):
        settings["USE_MASKS"] = False
    settings |= options["settings"]
    try:
        values.run_name(str(settings["NAME"]))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--set NAME={settings['NAME']}: NAME {error}") from error
    return settings
