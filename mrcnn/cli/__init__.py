"""The command line `mrcnn COMMAND ...`: each module in this folder is a command.

A command is one file with

    HELP: str. One line for `mrcnn --help`.
    EXAMPLE: str. One command line, shown by `mrcnn COMMAND --help`.
    add_arguments(parser): adds its arguments to an `argparse.ArgumentParser`.
    run(args): does the work and returns the exit code.

The parser of `mrcnn --help` asks all of them, so they import Keras and what needs it inside `run`.
A folder is a group of commands, `mrcnn GROUP COMMAND ...`, with a `HELP` and an `EXAMPLE`. What
commands share is in the folder `shared`, which is no group.
"""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import pkgutil
import sys
from collections.abc import Sequence

import mrcnn
from mrcnn.cli.shared.usage import (
    EXIT_CODES,
    INTERRUPTED,
    OK,
    PROBLEM,
    USAGE,
    Parser,
    UsageError,
    is_explained,
    one_line,
)


def commands(package: str = __name__) -> list[str]:
    """Returns the names of all commands and groups: the modules and folders of a package.

    Args:
        package: str. Defaults to this package.
    """
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [row.name for row in found if row.name != "shared" and not row.name.startswith("_")]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: list of str. The words after `mrcnn`. Defaults to those of the process.

    Returns:
        The exit code: 0 fine, 1 a problem was found, 2 wrong usage, 3 some inputs were skipped,
        130 interrupted. Wrong options raise SystemExit(2), as argparse does.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors reach us as exceptions
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # it warns of every tag of a GeoTIFF
    args = build_parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):  # names may have letters that the terminal has not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _log_to_stderr(logging.DEBUG if args.debug else logging.WARNING)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"mrcnn {args.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        if args.debug:
            raise
        hint = "" if is_explained(error) else " (--debug shows where)"
        print(f"mrcnn {args.command}: error: {one_line(error)}{hint}", file=sys.stderr)
        return USAGE if isinstance(error, UsageError) else PROBLEM


def build_parser() -> Parser:
    """Returns the parser of all commands."""
    parser = Parser(prog="mrcnn", description="Mask R-CNN for Keras 3.", epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"mrcnn {mrcnn.__version__}")
    _add_commands(parser, __name__)
    return parser


def _add_commands(parser, package):
    """Adds the commands of a package to a parser, and those of its groups to theirs."""
    rows = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in commands(package):
        command = importlib.import_module(f"{package}.{name}")
        sub = rows.add_parser(
            name,
            help=command.HELP,
            description=command.HELP,
            epilog=f"Example:\n  {command.EXAMPLE}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if hasattr(command, "__path__"):  # a group
            _add_commands(sub, command.__name__)
            continue
        sub.is_command = True
        sub.set_defaults(run=command.run, command=sub.prog.removeprefix("mrcnn "))
        sub.add_argument("--debug", action="store_true", help="show tracebacks and details")
        command.add_arguments(sub)


_HANDLER = "mrcnn.cli"  # so that a second command in a process does not log twice


def _log_to_stderr(level):
    logger = logging.getLogger("mrcnn")
    logger.setLevel(level)
    for old in [h for h in logger.handlers if h.get_name() == _HANDLER]:
        logger.removeHandler(old)
    handler = logging.StreamHandler()
    handler.set_name(_HANDLER)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
