"""Arguments that several commands have, and the values that they accept."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from mrcnn.cli.shared.usage import UsageError

MODEL = 'model folder, weight file, name of published weights, or "demo" for the bundled model'
_CELL = 64  # the coarsest pyramid level has one cell per 64 pixels


def add_data(parser: argparse.ArgumentParser) -> None:
    """Adds what names a data set."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", metavar="PATH", help="annotation file or folder in any format that is read"
    )
    data.add_argument(
        "--format", metavar="NAME", help="of --data and --val-data (default: recognized)"
    )
    data.add_argument("--dataset", choices=["shapes"], help="synthetic images")
    data.add_argument(
        "--style",
        choices=["plain", "textured", "coins", "mixed"],
        help="of the synthetic images (default: plain)",
    )
    data.add_argument("--count", type=count, metavar="N", help="synthetic images (default: 500)")
    data.add_argument(
        "--images", metavar="DIR", help="folder of images, where the format does not say"
    )
    data.add_argument("--annotations", metavar="FILE", help="COCO instances file of --images")
    data.add_argument(
        "--crowds",
        choices=["ignore", "objects"],
        help="what annotations marked iscrowd=1 are (default: ignore)",
    )
    data.add_argument("--labels", metavar="DIR", help="label images of --images, of equal names")
    data.add_argument("--seed", type=int, metavar="N", help="of all random choices (default: 0)")
    data.add_argument(
        "--image-size",
        type=side,
        metavar="N",
        help="side of the network's input in pixels, a multiple of 64 (default: the model's; 128 "
        "for synthetic images)",
    )


def add_set(parser: argparse.ArgumentParser) -> None:
    """Adds `--set`."""
    parser.add_argument(
        "--set",
        action="append",
        metavar="KEY=VALUE",
        dest="settings",
        help="any setting of Config; may be repeated",
    )


def add_output(parser: argparse.ArgumentParser, default: str) -> None:
    """Adds `--output`, a folder."""
    parser.add_argument(
        "--output", default=default, metavar="DIR", help="folder to write to (default: %(default)s)"
    )


def count(text: str) -> int:
    """Reads a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def share(text: str) -> float:
    """Reads a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1, got {text}")
    return value


def side(text: str) -> int:
    """Reads a side of the network's input: a multiple of 64."""
    value = int(text)
    if value < _CELL or value % _CELL:
        below, above = value // _CELL * _CELL, (max(value, 0) // _CELL + 1) * _CELL
        near = f"{below} or {above}" if below >= _CELL else f"{above}"
        raise argparse.ArgumentTypeError(
            f"must be a multiple of {_CELL}, so that every pyramid level has whole cells, "
            f"got {text}: give {near}"
        )
    return value


def run_name(text: str) -> str:
    """Reads the name of a run, which its folder and its files carry."""
    if not re.fullmatch(r"[\w-]+", text):
        safe = re.sub(r"[^\w-]+", "_", text).strip("_") or "model"
        raise argparse.ArgumentTypeError(
            'may hold letters, digits, "_" and "-" only, since files are named after it, '
            f"got {text!r}: give {safe}"
        )
    return text


def parse_settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Reads the settings of `--set KEY=VALUE`.

    Args:
        pairs: list of str. A value is JSON, a Python literal, or else text.

    Returns:
        Values by name.

    Raises:
        UsageError: no "=", or a name that Config does not have, with the nearest that it has.
    """
    from mrcnn.config import Config

    settings = {}
    for pair in pairs or ():
        name, separator, text = pair.partition("=")
        if not separator:
            raise UsageError(f"--set {pair}: expected KEY=VALUE, as LEARNING_RATE=0.001")
        settings[name] = _value(text)
        try:
            Config(**{name: settings[name]})
        except AttributeError as error:
            raise UsageError(f"--set {pair}: {error}") from error
    return settings


def _value(text):
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
            return tuple(value) if isinstance(value, list) else value
        except (ValueError, SyntaxError):
            continue
    return text
