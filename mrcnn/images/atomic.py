"""Files that are whole or not there: written beside the target, then moved onto it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path):
    """A temporary path in the folder of `path`, moved onto `path` when the block ends well.

    The temporary file keeps the suffix of `path`, since many writers choose a format by it. It is
    flushed to the disk before the move, and the folder after it: killed at any moment, `path` is
    the old file or the new one, never a part. When the block raises, the temporary file is removed
    and `path` stays as it was.

    Args:
        path: the file to write. Its folder is made when missing.

    Yields:
        Path of the (empty) temporary file to write.

    Raises:
        OSError: the file cannot be written, with path, reason and what to do.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent
        )
        os.close(handle)
        yield Path(temporary)
        _flush_to_disk(temporary)
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives the owner alone access
        os.replace(temporary, path)
        temporary = None
        _flush_to_disk(path.parent)
    except OSError as error:
        raise OSError(error.errno, _advice(path, error), str(path)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_text(path, text: str):
    """Writes a UTF-8 text file whole or not at all. Raises OSError as `atomic_path` does."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _advice(path: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    kept = f"; the previous {path} is whole" if path.exists() else ""
    return f"cannot write {path}: {reason}{kept}. Free space or choose a folder that can be written"


def _flush_to_disk(path):
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(path, flags)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
