"""The arguments that name annotations, for the commands of `mrcnn data`."""

from __future__ import annotations

import argparse
from typing import Any

from mrcnn.cli.shared.usage import UsageError


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds `PATH` and how to read it."""
    parser.add_argument("path", metavar="PATH", help="annotation file, or folder of annotations")
    add_reading(parser)


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Adds how to read annotations."""
    reading = parser.add_argument_group("reading")
    reading.add_argument(
        "--format", default="auto", metavar="NAME", help="of PATH (default: recognized)"
    )
    reading.add_argument(
        "--images", metavar="DIR", help="folder of images (default: where the format expects it)"
    )
    reading.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of the format, as crowds=objects or class_name=cell; may be repeated",
    )


def add_target(parser: argparse.ArgumentParser, default: str = "coco") -> None:
    """Adds the format to write."""
    parser.add_argument(
        "--to", default=default, metavar="NAME", help="format to write (default: %(default)s)"
    )


def read(path: str, args: argparse.Namespace) -> Any:
    """Reads annotations as the arguments say.

    Args:
        path: str. The file or folder.
        args: argparse.Namespace. With what `add_reading` added.

    Returns:
        Annotations.

    Raises:
        UsageError: if there is no such file, no such format, or an option is not NAME=VALUE.
        ValueError: if the annotations cannot be read.
    """
    from mrcnn.data import formats

    options = {}
    for pair in args.option:
        name, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"--option {pair}: expected NAME=VALUE, as crowds=objects")
        options[name] = value
    try:
        return formats.read(path, args.format, args.images, **options)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from error


def write(annotations: Any, path: str, name: str) -> None:
    """Writes annotations in a format.

    Args:
        annotations: Annotations.
        path: str. The file or folder.
        name: str. The format.
    """
    from mrcnn.data import formats

    formats.write(annotations, path, name)
    objects = sum(len(image.instances) for image in annotations.images)
    print(f"{path}: {len(annotations.images)} images, {objects} objects, format {name}.")
