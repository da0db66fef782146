"""A journal: lines of JSON in a file that only grows, so that a killed process loses none of them.

Long work appends one line per finished piece. After a kill, the same work reads the lines again and
continues. A line that was cut by a crash is recognized and removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from mrcnn.images.lock import open_locked

# A kill loses nothing that was written. Only a power failure loses what is not flushed to disk.
FLUSH_SECONDS = 5.0


class Journal:
    """Opens a journal, which is made if it does not exist, and locks it for this process.

    The system releases the lock when the process ends, however it ends.

    Args:
        path: str or path. The file. Its folder is created if it does not exist.

    Attributes:
        path: Path. The file.

    Raises:
        BlockingIOError: another process has opened this journal.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._made_folder = not self.path.parent.exists()
        self._end = 0  # position behind the last whole line that was read or written
        self._flushed = time.monotonic()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._handle: Any = open_locked(self.path)  # int; None once it is closed
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._explained(error) from error
        self._reader: BinaryIO | None = None

    def lines(self) -> Iterator[tuple[int, Any]]:
        """Yields the position and the value of each whole line.

        When all are read, the rest of the file is cut off: a line that a crash has left incomplete.
        """
        self._end = 0
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    value = json.loads(line) if line.endswith(b"\n") else None
                except (ValueError, RecursionError):
                    break
                if value is None:
                    break
                start, self._end = self._end, self._end + len(line)
                yield start, value
        os.ftruncate(self._handle, self._end)

    def at(self, position: int) -> Any:
        """Returns the value of the line at a position."""
        if self._reader is None:
            self._reader = open(self.path, "rb")
        self._reader.seek(position)
        return json.loads(self._reader.readline())

    def append(self, value: Any) -> int:
        """Appends a line. After an error, the file is as it was before.

        Args:
            value: dict or list. JSON can hold it.

        Returns:
            int. The position of the line.

        Raises:
            OSError: the line cannot be written. All lines before it are kept.
        """
        start = self._end
        rest = memoryview(json.dumps(value).encode("ascii") + b"\n")
        try:
            os.lseek(self._handle, start, os.SEEK_SET)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
            self._end = os.lseek(self._handle, 0, os.SEEK_CUR)
        except BaseException as error:
            self._end = start
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, start)
            if isinstance(error, OSError):
                raise self._explained(error) from error
            raise
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            os.fsync(self._handle)
            self._flushed = time.monotonic()
        return start

    def clear(self) -> None:
        """Removes all lines."""
        os.ftruncate(self._handle, 0)
        self._end = 0

    def close(self) -> None:
        """Closes the file. A journal without lines is removed, with its folder if that is new."""
        if self._handle is None:
            return
        if os.fstat(self._handle).st_size:
            os.fsync(self._handle)
            self._close()
            return
        self.remove()
        if self._made_folder:
            with contextlib.suppress(OSError):  # it is not empty
                self.path.parent.rmdir()

    def remove(self) -> None:
        """Closes and removes the file: the work is finished."""
        if sys.platform == "win32":  # an open file cannot be removed there
            self._close()
        self.path.unlink(missing_ok=True)
        self._close()

    def _close(self):
        if self._handle is not None:
            if self._reader is not None:
                self._reader.close()
            os.close(self._handle)
            self._handle = None

    def _explained(self, error):
        return OSError(
            error.errno,
            f"cannot write {self.path}: {error.strerror}. Free disk space, or choose a folder that "
            "you may write to",
            str(self.path),
        )
