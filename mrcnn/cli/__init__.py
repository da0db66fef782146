"""The command line: ``mrcnn demo | train | detect | evaluate | convert | download | info``.

Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 3 partial (some inputs were skipped).
"""

from __future__ import annotations

import argparse
import ast
import json
import logging
import os
import sys

import mrcnn
from mrcnn.cli.common import INTERRUPTED, OK, PROBLEM, USAGE, UsageError, load_backend


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(USAGE)


def main(argv=None) -> int:
    """Runs one command.

    Args:
        argv: the words after `mrcnn`; None: those of the process.

    Returns:
        The exit code. Wrong usage raises SystemExit(2), as argparse does.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors reach us as exceptions
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # it warns of every tag of a GeoTIFF
    args = build_parser().parse_args(argv)
    debug = getattr(args, "debug", False)
    _log_to_stderr(logging.DEBUG if debug else logging.WARNING)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        hint = "; mrcnn train --resume goes on from the last epoch" * (args.command == "train")
        print(f"mrcnn {args.command}: interrupted{hint}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if debug:
            raise
        print(f"mrcnn {args.command}: error: {_one_line(error)}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else PROBLEM


# Our own checks raise these with a text that needs no more.
_EXPLAINED = (UsageError, ValueError, OSError, FloatingPointError)


def _one_line(error) -> str:
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        text = error.strerror
    if isinstance(error, _EXPLAINED):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"


def _log_to_stderr(level):
    logger = logging.getLogger("mrcnn")
    logger.setLevel(level)
    for handler in [h for h in logger.handlers if getattr(h, "of_cli", False)]:
        logger.removeHandler(handler)
    handler = logging.StreamHandler()
    handler.of_cli = True
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)


# --- Words ---------------------------------------------------------------------------------------
def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="mrcnn", description="Mask R-CNN for Keras 3.")
    parser.add_argument("--version", action="version", version=f"mrcnn {mrcnn.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name, run, text, **options):
        sub = commands.add_parser(name, help=text, description=text, **options)
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show tracebacks and details")
        return sub

    demo = command("demo", run_demo, "Train for a moment, then find the coins in a photograph.")
    demo.add_argument("--output", default="mrcnn-demo", metavar="DIR", help="default: %(default)s")

    _add_train(command("train", run_train, "Train on your own pictures, or on synthetic shapes.",
                       argument_default=argparse.SUPPRESS))  # fmt: skip

    detect = command("detect", run_detect, "Find the objects in pictures.")
    detect.add_argument("model", help=_MODEL)
    detect.add_argument("inputs", nargs="+", help="pictures, folders of pictures, or globs")
    detect.add_argument(
        "--output", default="detections", metavar="DIR", help="default: %(default)s"
    )
    detect.add_argument("--score", type=_share, help="least score shown, 0 to 1")
    detect.add_argument("--max", type=_count, help="most objects an image")
    _add_set(detect)

    evaluate = command("evaluate", run_evaluate, "Score a model on annotated pictures.")
    evaluate.add_argument("model", help=_MODEL)
    _add_data(evaluate)
    evaluate.add_argument(
        "--output", default="evaluation", metavar="DIR", help="default: %(default)s"
    )
    _add_set(evaluate)

    convert = command("convert", run_convert,
                      "Turn weights of torchvision, Detectron2 or Matterport into a model folder, "
                      "or a model folder into weights for torchvision.")  # fmt: skip
    convert.add_argument("source", help=_MODEL)
    convert.add_argument("--to", choices=["folder", "torchvision"], default="folder",
                         help="default: %(default)s")  # fmt: skip
    convert.add_argument("--output", metavar="PATH", help="default: named after the source")
    _add_set(convert)

    download = command("download", run_download, "Fetch published weights, or list them.")
    download.add_argument("names", nargs="*", metavar="NAME", help="of published weights")
    download.add_argument("--folder", metavar="DIR", help="to keep them in (default: the cache)")

    info = command("info", run_info, "Show versions, devices and what a model is.")
    info.add_argument("model", nargs="?", help=_MODEL)
    return parser


_MODEL = 'model folder, weight file, name of published weights, or "demo" for the bundled model'


def _add_data(parser):
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", choices=["shapes"], help="synthetic pictures")
    data.add_argument(
        "--style", choices=["plain", "textured", "coins", "mixed"], help="of the shapes"
    )
    data.add_argument("--count", type=_count, metavar="N", help="synthetic pictures (default: 500)")
    data.add_argument("--images", metavar="DIR", help="folder of pictures")
    data.add_argument("--annotations", metavar="FILE", help="COCO instances file of --images")
    data.add_argument("--labels", metavar="DIR", help="label images of --images, of equal names")
    data.add_argument("--seed", type=int, help="of everything drawn (default: 0)")
    data.add_argument("--image-size", type=_count, metavar="N",
                      help="side of the network's input in pixels, a multiple of 64")  # fmt: skip


def _add_train(parser):
    _add_data(parser)
    data = parser.add_argument_group("validation data")
    data.add_argument("--val-count", type=int, metavar="N", help="synthetic (default: 50)")
    data.add_argument("--val-images", metavar="DIR")
    data.add_argument("--val-annotations", metavar="FILE")
    data.add_argument("--val-labels", metavar="DIR")
    data.add_argument("--val-split", type=_share, metavar="SHARE",
                      help="share of the images held back where none of these is given "
                      "(default: 0.1; 0: no validation)")  # fmt: skip
    run = parser.add_argument_group("run")
    run.add_argument("--name", help="of the run folder (default: model)")
    run.add_argument("--output", metavar="DIR", help="folder of run folders (default: runs)")
    run.add_argument("--resume", nargs="?", const="", metavar="RUN_FOLDER",
                     help="go on with an interrupted run (default: the newest)")  # fmt: skip
    model = parser.add_argument_group("model and training")
    model.add_argument("--weights", metavar="none|demo|last|FILE|FOLDER",
                       help="to start from (default: demo, the bundled model)")  # fmt: skip
    model.add_argument("--backbone", help="resnet18/34/50/101 or a name in keras.applications")
    model.add_argument("--no-mask", action="store_true", help="boxes only (Faster R-CNN)")
    model.add_argument("--layers", help="heads, 3+, 4+, 5+, all (default) or a regular expression")
    model.add_argument("--epochs", type=_count, metavar="N", help="default: 10")
    model.add_argument("--learning-rate", type=float, metavar="RATE")
    model.add_argument("--batch-size", type=_count, metavar="N")
    _add_set(parser)


def _add_set(parser):
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", dest="settings",
                        help="any setting of Config; may be repeated")  # fmt: skip


def _count(text) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _share(text) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {text}")
    return value


def parse_settings(pairs) -> dict:
    """Settings of `--set KEY=VALUE`; a value is JSON, a Python literal, or else text.

    Raises:
        UsageError: no "=", or a name that Config does not have, with the nearest that it has.
    """
    from mrcnn.config import DERIVED, Config, unknown_setting

    settings = {}
    for pair in pairs or ():
        name, separator, text = pair.partition("=")
        if not separator:
            raise UsageError(f"--set {pair}: expected KEY=VALUE, as LEARNING_RATE=0.001")
        if name in DERIVED:
            raise UsageError(f"--set {pair}: {name} is derived: set {DERIVED[name]} instead")
        if name not in Config.names():
            raise UsageError(f"--set {pair}: {unknown_setting(name, Config.names())}")
        settings[name] = _value(text)
    return settings


def _value(text):
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            return tuple(value) if isinstance(value, list) else value
        except (ValueError, SyntaxError):
            continue
    return text


# --- Commands ------------------------------------------------------------------------------------
# Imported when a command runs: `mrcnn --help` does not wait for TensorFlow.
def run_demo(args) -> int:
    """`mrcnn demo`."""
    load_backend()
    from mrcnn.cli import demo
    from mrcnn.cli.progress import EpochLines

    demo.run(args.output, callbacks=[EpochLines()])
    return OK


def run_train(args) -> int:
    """`mrcnn train`."""
    given = {k: v for k, v in vars(args).items() if k not in ("run", "command", "debug")}
    given["settings"] = parse_settings(given.get("settings"))
    load_backend()
    from mrcnn.cli import train

    return train.run(given)


def run_detect(args) -> int:
    """`mrcnn detect`."""
    settings = parse_settings(args.settings)
    load_backend()
    from mrcnn.cli import detect

    if args.score is not None:
        settings["DETECTION_MIN_CONFIDENCE"] = args.score
    if args.max is not None:
        settings["DETECTION_MAX_INSTANCES"] = args.max
    return detect.run(args.model, args.inputs, args.output, settings)


def run_evaluate(args) -> int:
    """`mrcnn evaluate`."""
    settings = parse_settings(args.settings)
    load_backend()
    from mrcnn.cli import evaluate

    return evaluate.run(vars(args) | {"settings": settings})


def run_convert(args) -> int:
    """`mrcnn convert`."""
    settings = parse_settings(args.settings)
    load_backend()
    from mrcnn.cli import convert

    return convert.run(args.source, args.output, args.to, settings)


def run_download(args) -> int:
    """`mrcnn download`."""
    from mrcnn.cli import download

    return download.run(args.names, args.folder)


def run_info(args) -> int:
    """`mrcnn info`."""
    load_backend()
    from mrcnn.cli import info

    return info.run(args.model)
