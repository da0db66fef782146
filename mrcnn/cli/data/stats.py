"""`mrcnn data stats`: what a data set holds."""

from __future__ import annotations

import argparse

from mrcnn.cli.shared import annotations
from mrcnn.cli.shared.usage import OK

HELP = "Count classes, sizes and crowding of annotated images."
EXAMPLE = "mrcnn data stats instances.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    annotations.add_source(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the statistics.

    Returns:
        OK.
    """
    from mrcnn.cli.shared.progress import bar
    from mrcnn.data.stats import statistics

    record = annotations.read(args.path, args)
    with bar("counting", len(record.images)) as advance:
        found = statistics(record, advance=advance)
    print("\n".join(found.lines()))
    return OK
