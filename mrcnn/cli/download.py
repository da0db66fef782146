"""`mrcnn download`: published weight files by name."""

from __future__ import annotations

from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from mrcnn.cli.common import OK, UsageError
from mrcnn.weights.download import cache_folder, download, known


def run(names=(), folder=None, say=print) -> int:
    """Downloads files and shows their paths; without names, shows which there are.

    Args:
        names: of published files.
        folder: to keep them in; None: the cache folder.
        say: function that shows a line.

    Raises:
        UsageError: no such name; nothing was downloaded then.
        ValueError, OSError: as `weights.download.fetch`.
    """
    published = known()
    for name in names:
        if name not in published:
            raise UsageError(
                f"no published file is called {name!r}; there are: {', '.join(published)}"
            )
    if not names:
        for name, row in published.items():
            size = "size unknown" if row.size is None else f"{row.size / 1e6:.0f} MB"
            say(f"{name:24} {size:>12}  {row.text}")
        say(f"mrcnn download NAME keeps it in {folder or cache_folder()} and shows its path.")
    for name in names:
        with _bar(name) as progress:
            path = download(name, folder, progress)
        say(f"{path}")
    return OK


@contextmanager
def _bar(name):
    """A bar as those of `mrcnn.cli.progress`, which needs Keras; this command does without.

    Yields:
        The `progress` of `weights.download.fetch`.
    """
    console = Console(stderr=True, soft_wrap=True)  # a script may take the path from stdout
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
