"""`mrcnn detect`: images in, images and tables out."""

from __future__ import annotations

import argparse
import sys

from mrcnn.cli.shared import options
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.models import open_model
from mrcnn.cli.shared.usage import OK, PARTIAL, UsageError

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
    options.add_set(parser)


def run(args: argparse.Namespace) -> int:
    """Detects in all inputs; a file that cannot be used is skipped and named.

    Returns:
        OK, or PARTIAL when a file was skipped.
    """
    settings = options.parse_settings(args.settings)
    if args.score is not None:
        settings["DETECTION_MIN_CONFIDENCE"] = args.score
    if args.max is not None:
        settings["DETECTION_MAX_INSTANCES"] = args.max
    load_backend()
    from mrcnn import results
    from mrcnn.cli.shared.progress import bar
    from mrcnn.images.files import find_images, read_image

    try:
        paths = find_images(args.inputs)
        writer = results.ResultWriter(args.output, paths)
    except (FileNotFoundError, FileExistsError) as error:
        raise UsageError(str(error)) from error
    model = open_model(args.model, **settings)
    skipped = []
    with bar("detecting", len(paths)) as advance:
        for path in paths:
            try:
                image = read_image(path)
                (found,) = model.detect([image], masks="rle")
            except (ValueError, OSError) as error:
                skipped.append((path, error))
            else:
                writer.add(path, image, found, model.class_names)
            advance()
    count = writer.finish()
    print(f"{count} objects in {len(paths) - len(skipped)} images, written to {args.output}.")
    for path, reason in skipped:
        text = " ".join(str(reason).split())
        where = "" if str(path) in text else f"{path}: "
        print(f"mrcnn detect: skipped {where}{text}", file=sys.stderr)
    return PARTIAL if skipped else OK
