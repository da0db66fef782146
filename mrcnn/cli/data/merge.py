"""`mrcnn data merge`: several data sets in, one out."""

from __future__ import annotations

import argparse

from mrcnn.cli.shared import sources
from mrcnn.cli.shared.usage import OK

HELP = "Merge annotated images into one set; classes of one name become one."
EXAMPLE = "mrcnn data merge a.json b.json --output both.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("paths", metavar="PATH", nargs="+", help="annotation files or folders")
    sources.add_reading(parser)
    parser.add_argument("--output", required=True, metavar="PATH", help="file or folder to write")
    sources.add_target(parser)


def run(args: argparse.Namespace) -> int:
    """Merges.

    Returns:
        OK.
    """
    from mrcnn.data.combine import merge

    merged = merge([sources.read(path, args) for path in args.paths])
    sources.write(merged, args.output, args.to)
    return OK
