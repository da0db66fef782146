"""Atomic writes: a file is written beside its target, then moved onto it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# The name of a temporary file: ".<stem>-<8 random characters><suffix>" of the file to write.
_TEMPORARY = re.compile(r"\.(.+)-[a-z0-9_]{8}(\.\w+)?", re.DOTALL)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary file that replaces `path` when the `with` block ends without an error.

    The temporary file lies in the same folder and has the suffix of `path`, because many writers
    choose a format by it. The file is flushed to disk before the move and the folder after it. So
    if the process is killed at any moment, `path` is the old file or the complete new one. If the
    block raises, the temporary file is removed and `path` is unchanged.

    Args:
        path: str or path. The file to write. Its folder is created if it does not exist.

    Yields:
        Path of the empty temporary file to write.

    Raises:
        OSError: if the file cannot be written. The message holds the path, the reason and what to
            do.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _new_file(path)
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
        temporary = None
        _flush_to_disk(path.parent)
    except OSError as error:
        raise OSError(error.errno, _advice(path, error), str(path)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _new_file(path: Path) -> Path:
    """Makes the empty temporary file for `path`; the umask of the process sets its permissions."""
    stem, longest = path.stem, 255 - len(os.fsencode(path.suffix)) - 10
    while len(os.fsencode(stem)) > longest:  # file systems limit a name to 255 bytes
        stem = stem[:-1]
    while True:
        temporary = path.parent / f".{stem}-{secrets.token_hex(4)}{path.suffix}"
        with contextlib.suppress(FileExistsError):
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))
            return temporary


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 text file atomically.

    Args:
        path: str or path. The file to write. Its folder is created if it does not exist.
        text: str. The contents.

    Raises:
        OSError: if the file cannot be written, as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove_leftovers(folder: str | os.PathLike, is_ours: Callable[[str], Any]) -> None:
    """Removes the temporary files that processes left behind when they were killed.

    Call it only if nobody else writes into the folder.

    Args:
        folder: str or path.
        is_ours: callable. Whether the temporary files of a file of this name are removed.
    """
    for path in Path(folder).iterdir():
        found = _TEMPORARY.fullmatch(path.name)
        if found and is_ours(found[1] + (found[2] or "")):
            with contextlib.suppress(OSError):
                path.unlink()


def _advice(path: Path, error: OSError) -> str:
    """Returns the text of an error: what failed, whether the old file is safe, what to do."""
    for parent in path.parents:
        if parent.is_file():
            return f"cannot write {path}: {parent} is a file, not a folder. Choose another path"
    reason = error.strerror or str(error)
    kept = f"; the previous {path} is unchanged" if path.is_file() else ""
    return (
        f"cannot write {path}: {reason}{kept}. Free disk space, or choose a folder that you may "
        "write to"
    )


def _flush_to_disk(path):
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except PermissionError:  # Windows cannot open a folder
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
