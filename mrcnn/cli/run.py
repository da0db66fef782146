"""`mrcnn run`: an old script or notebook, unchanged, with the names of its time."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.usage import OK, PROBLEM, UsageError

HELP = "Run a script or notebook for Matterport's package, with the names of its time."
EXAMPLE = "mrcnn run nucleus.py train --dataset=data --subset=train --weights=imagenet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("script", help=".py or .ipynb, for imgaug, an old NumPy or an old Keras")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="of the script, as it takes them"
    )


def run(args: argparse.Namespace) -> int:
    """Runs it.

    Returns:
        OK; PROBLEM where the script raised an error, whose traceback is shown. A script that
        exits by itself does so with its own code.
    """
    load_backend()
    from mrcnn.compat import run as compat

    path = Path(args.script)
    if not path.is_file() or path.suffix not in (".py", ".ipynb"):
        raise UsageError(f"{path}: no such script (.py) or notebook (.ipynb)")
    try:
        compat.run(path, args.arguments)
    except (SystemExit, KeyboardInterrupt):
        raise
    except Exception as error:
        if args.debug:
            raise
        _show(error, str(path.absolute()))
        return PROBLEM
    return OK


def _show(error, path):
    """Prints the traceback from the script on, without what ran it."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((i for i, frame in enumerate(frames) if frame.filename.startswith(path)), 0)
    sys.stdout.flush()
    print("Traceback (most recent call last):", file=sys.stderr)
    sys.stderr.writelines(traceback.format_list(frames[first:]))
    sys.stderr.writelines(traceback.format_exception_only(error))
