"""`mrcnn detect`: images in, images and tables out."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from typing import Any

import mrcnn
from mrcnn.cli.shared import options
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.models import open_model
from mrcnn.cli.shared.usage import INTERRUPTED, OK, PARTIAL, UsageError, one_line

HELP = "Find the objects in images."
EXAMPLE = "mrcnn detect demo images 'more/*.tif' --output detections"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("model", help=options.MODEL)
    parser.add_argument("inputs", nargs="+", help="images, folders of images, or globs")
    options.add_output(parser, "detections")
    parser.add_argument(
        "--score",
        type=options.share,
        help="lowest score shown, 0 to 1 (default: DETECTION_MIN_CONFIDENCE of the model)",
    )
    parser.add_argument(
        "--max",
        type=options.count,
        help="most objects per image (default: DETECTION_MAX_INSTANCES of the model)",
    )
    parser.add_argument(
        "--start-over",
        action="store_true",
        help="discard what an interrupted command has written to the output folder (default: "
        "resume it)",
    )
    options.add_set(parser)


def run(args: argparse.Namespace) -> int:
    """Detects in all inputs; a file that cannot be used is skipped and named.

    Returns:
        OK, PARTIAL when a file was skipped, or INTERRUPTED.
    """
    settings = options.parse_settings(args.settings)
    if args.score is not None:
        settings["DETECTION_MIN_CONFIDENCE"] = args.score
    if args.max is not None:
        settings["DETECTION_MAX_INSTANCES"] = args.max
    load_backend()
    from mrcnn import results
    from mrcnn.images.files import find_images

    try:
        writer = results.ResultWriter(args.output, find_images(args.inputs))
    except (FileNotFoundError, FileExistsError) as error:
        raise UsageError(str(error)) from error
    with writer:
        model = open_model(args.model, **settings)
        try:
            done = writer.resume(_made_by(model), args.start_over)
        except FileExistsError as error:
            raise UsageError(f"{error} (--start-over)") from error
        if done:
            print(f"Resuming: {done} of {len(writer.paths)} images are done.", flush=True)
        return _detect(model, writer)


def _detect(model: Any, writer: Any) -> int:
    """Detects in what remains, then writes the tables; returns the exit code."""
    total = len(writer.paths)
    skipped: list[str] = []  # lines, not errors: an error keeps its image in memory
    code, kept = OK, ""
    try:
        _detect_remaining(model, writer, skipped)
        count = writer.finish()
    except KeyboardInterrupt:
        count = writer.write_tables()
        code, kept = INTERRUPTED, "; interrupted, the same command resumes"
    except OSError as error:  # nothing can be written to the output folder
        raise OSError(
            f"{one_line(error)}. {total - len(writer.remaining)} of {total} images are done; the "
            "same command resumes"
        ) from error
    finally:
        for line in skipped:
            print(f"mrcnn detect: skipped {line}", file=sys.stderr)
    done = total - len(writer.remaining)
    print(f"{count} objects in {done} images, written to {writer.folder}{kept}.")
    for name, output in writer.renamed:
        print(f"mrcnn detect: {name}: the outputs are named {output}", file=sys.stderr)
    return PARTIAL if skipped and code == OK else code


def _detect_remaining(model, writer, skipped):
    from mrcnn.cli.shared.progress import bar

    remaining = writer.remaining
    with bar("detecting", len(writer.paths)) as advance:
        advance(len(writer.paths) - len(remaining))
        for path in remaining:
            try:
                _detect_in(path, model, writer)
            except _Skipped as error:
                skipped.append(str(error))
            advance()


class _Skipped(Exception):
    """One image cannot be used. Any other error means that no image can."""


def _detect_in(path, model, writer):
    from mrcnn.images.files import read_image

    try:
        image = read_image(path)
        (found,) = model.detect([image], masks="rle")
    except Exception as error:
        raise _Skipped(_reason(path, error)) from None
    try:
        writer.add(path, image, found, model.class_names)
    except OSError:  # of the output folder
        raise
    except Exception as error:
        raise _Skipped(_reason(path, error)) from None


def _reason(path, error):
    text = one_line(error)
    return text if str(path) in text else f"{path}: {text}"


def _made_by(model: Any) -> dict:
    """Returns what the detections of a model depend on."""
    weights = hashlib.sha256()
    for values in model.network.detector.get_weights():
        weights.update(values.tobytes())
    return {
        "version": mrcnn.__version__,
        "config": json.loads(model.config.to_json()),
        "class_names": list(model.class_names),
        "weights": weights.hexdigest(),
    }
