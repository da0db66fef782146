"""`mrcnn download`: published weight files by name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mrcnn.cli.shared.usage import OK, UsageError, did_you_mean

HELP = "Fetch published weights, or list them."
EXAMPLE = "mrcnn download coco-torchvision-r50"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="of published weights")
    parser.add_argument("--folder", metavar="DIR", help="to keep them in (default: the cache)")


def run(args: argparse.Namespace) -> int:
    """Downloads files and prints their paths; without names, lists which there are.

    Nothing is downloaded if one of the names does not exist. This needs no Keras.
    """
    from mrcnn.weights.download import cache_folder, download, known

    published = known()
    for name in args.names:
        if name not in published:
            raise UsageError(
                f"no published file is called {name!r}."
                f"{did_you_mean(name, list(published))} There are: {', '.join(published)}"
            )
    if not args.names:
        for name, row in published.items():
            size = "size unknown" if row.size is None else f"{row.size / 1e6:.0f} MB"
            verified = "" if row.is_verified else " [not verified: no whole checksum is published]"
            print(f"{name:24} {size:>12}  {row.text}{verified}")
        print(
            f"mrcnn download NAME keeps it in {args.folder or cache_folder()} and shows its path."
        )
    for name in args.names:
        with _bar(name) as progress:
            path = download(name, args.folder, progress)
        print(path)
    return OK


@contextmanager
def _bar(name: str) -> Iterator[Callable]:
    """Shows a bar as `mrcnn.cli.shared.progress` does, which needs Keras.

    Yields:
        The `progress` of `weights.download.fetch`.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, soft_wrap=True)  # a script may take the path from stdout
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
