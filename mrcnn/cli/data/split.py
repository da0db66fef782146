"""`mrcnn data split`: one data set in, training, validation and test sets out."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from mrcnn.cli.shared import options, sources
from mrcnn.cli.shared.usage import OK, UsageError

HELP = "Split annotated images for training, validation and test, with the classes alike in each."
EXAMPLE = "mrcnn data split instances.json --output split --val 0.2 --group '(patient\\d+)'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    sources.add_source(parser)
    options.add_output(parser, "split")
    parser.add_argument(
        "--val", type=options.share, default=0.2, help="share of the images (default: %(default)s)"
    )
    parser.add_argument(
        "--test", type=options.share, default=0.0, help="share of the images (default: %(default)s)"
    )
    parser.add_argument(
        "--group",
        metavar="REGEX",
        help="images whose names agree in the first group of this regular expression stay together",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the choice (default: %(default)s)"
    )
    sources.add_target(parser)


def run(args: argparse.Namespace) -> int:
    """Writes one file or folder per part. Equal image files stay together.

    Returns:
        OK.
    """
    from mrcnn.data.combine import take
    from mrcnn.data.split import assign, classes_in, join_groups, same_files

    shares = {"train": 1 - args.val - args.test, "val": args.val, "test": args.test}
    if shares["train"] <= 0:
        raise UsageError(f"--val {args.val} and --test {args.test} leave nothing to train on")
    record = sources.read(args.path, args)
    paths = [image.path for image in record.images]
    groups = join_groups(same_files(paths), _groups(paths, args.group))
    parts = assign(
        [classes_in(image) for image in record.images], list(shares.values()), args.seed, groups
    )
    for number, name in enumerate(shares):
        chosen = [index for index, part in enumerate(parts) if part == number]
        if chosen:
            suffix = ".json" if args.to == "coco" else ""
            sources.write(take(record, chosen), str(Path(args.output) / f"{name}{suffix}"), args.to)
    return OK


def _groups(paths, pattern):
    """Returns the group of each path, or None without a pattern."""
    if pattern is None:
        return None
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group {pattern}: not a regular expression: {error}") from error
    found = []
    for path in paths:
        match = expression.search(str(path))
        if match is None:
            raise UsageError(f"--group {pattern} does not match {path}")
        found.append(match[1] if match.groups() else match[0])
    return found
