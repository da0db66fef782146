"""`mrcnn data subset`: some classes or some images of a data set."""

from __future__ import annotations

import argparse

from mrcnn.cli.shared import options, sources
from mrcnn.cli.shared.usage import OK, UsageError

HELP = "Take some classes, or some images with the classes alike, of a data set."
EXAMPLE = "mrcnn data subset instances.json --classes cat dog --count 100 --output pets.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    sources.add_source(parser)
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="to keep (default: all)")
    parser.add_argument("--count", type=options.count, metavar="N", help="images (default: all)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the choice (default: %(default)s)"
    )
    parser.add_argument("--output", required=True, metavar="PATH", help="file or folder to write")
    sources.add_target(parser)


def run(args: argparse.Namespace) -> int:
    """Takes the subset.

    Returns:
        OK.
    """
    from mrcnn.data.combine import subset

    record = sources.read(args.path, args)
    try:
        part = subset(record, args.classes, args.count, args.seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    sources.write(part, args.output, args.to)
    return OK
