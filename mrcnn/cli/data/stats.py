"""`mrcnn data stats`: what a data set holds."""

from __future__ import annotations

import argparse

from mrcnn.cli.shared import sources
from mrcnn.cli.shared.usage import OK

HELP = "Count classes, sizes and crowding of annotated images."
EXAMPLE = "mrcnn data stats instances.json --plot labels.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    sources.add_source(parser)
    parser.add_argument("--plot", metavar="FILE", help="PNG file to draw them into")


def run(args: argparse.Namespace) -> int:
    """Prints the statistics.

    Returns:
        OK.
    """
    from mrcnn import plots
    from mrcnn.cli.shared.progress import bar
    from mrcnn.data.stats import statistics

    record = sources.read(args.path, args)
    with bar("counting", len(record.images)) as advance:
        found = statistics(record, advance=advance)
    print("\n".join(found.lines()))
    if args.plot:
        plots.plot_statistics(found, args.plot)
        print(f"Drawn into {args.plot}.")
    return OK
