"""`mrcnn data convert`: annotations of one format in, of another out."""

from __future__ import annotations

import argparse

from mrcnn.cli.shared import sources
from mrcnn.cli.shared.usage import OK

HELP = "Convert annotations from any format that is read to any that is written."
EXAMPLE = "mrcnn data convert via_project.json instances.json --to coco"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    sources.add_source(parser)
    parser.add_argument("output", metavar="OUTPUT", help="file or folder to write")
    sources.add_target(parser)


def run(args: argparse.Namespace) -> int:
    """Converts.

    Returns:
        OK.
    """
    sources.write(sources.read(args.path, args), args.output, args.to)
    return OK
