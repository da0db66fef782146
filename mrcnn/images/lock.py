"""Locks on folders: the operating system holds them for a process, and frees them when it ends.

A folder is locked through a file in it. It is the operating system's lock on this file that counts,
not the file itself, so a process that was killed never leaves a locked folder behind.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import threading
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        # a byte that nobody writes: Windows lets nobody read a locked one
        os.lseek(handle, 2**40, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


logger = logging.getLogger("mrcnn")

LOCK_FILE = "training.lock"
# Any other error of a lock means that the folder has no locks, as some network folders.
_LOCKED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)

_table = threading.RLock()
# What this process holds: the open lock file by its path, and the FolderLock that uses it at the
# moment.
_files: dict[str, int] = {}
_users: dict[str, FolderLock] = {}


class FolderLock:
    """The right to write into a folder; one object in one process has it at a time.

    Args:
        folder: str or path. The folder, which exists when the lock is acquired.
    """

    def __init__(self, folder: str | os.PathLike):
        self._path = _path_of(folder)

    def is_of(self, folder: str | os.PathLike) -> bool:
        """Returns whether this is the lock of a folder."""
        return self._path == _path_of(folder)

    def acquire(self) -> bool:
        """Takes the lock, or keeps it if this object has it already. Never waits.

        On a file system without locks a warning is logged, and only this process is guarded.

        Returns:
            Whether this object has the lock now.

        Raises:
            OSError: the lock file cannot be made, for example in a read-only folder.
        """
        with _table:
            user = _users.get(self._path)
            if user is not None and user is not self:
                return False
            if not self._is_current():
                _close(self._path)
                try:
                    _files[self._path] = open_locked(self._path)
                except BlockingIOError:
                    return False
            _users[self._path] = self
            return True

    def _is_current(self):
        """Whether this process holds the file in the folder; it may have been removed."""
        return self._path in _files and _same_file(_files[self._path], self._path)

    def is_in_use_here(self) -> bool:
        """Returns whether this object has the lock."""
        return _users.get(self._path) is self

    def rest(self) -> None:
        """Lets other objects of this process take the lock. Other processes still cannot."""
        with _table:
            if self.is_in_use_here():
                del _users[self._path]

    def release(self) -> None:
        """Gives the lock back and removes the lock file."""
        with _table:
            if self.is_in_use_here():
                del _users[self._path]
                _close(self._path, remove=True)


def held_here(folder: str | os.PathLike) -> bool:
    """Returns whether this process has the lock of a folder, in use or not."""
    return _path_of(folder) in _files


def _path_of(folder: str | os.PathLike) -> str:
    return os.path.join(os.path.realpath(folder), LOCK_FILE)


def release_all() -> None:
    """Gives all locks of this process back, at its end."""
    with _table:
        _users.clear()
        for path in list(_files):
            _close(path, remove=True)


def open_locked(path: str | os.PathLike) -> int:
    """Opens a file for reading and writing, and locks it for this process. Never waits.

    The file is made if it does not exist. On a file system without locks a warning is logged, and
    the file is open without a lock.

    Args:
        path: str or path. The file. Its folder exists.

    Returns:
        int. The open file, as `os.open` returns it. The lock ends when it is closed.

    Raises:
        BlockingIOError: another process has locked the file.
        OSError: the file cannot be opened.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _lock(handle)
        except OSError as error:
            if error.errno in _LOCKED:
                os.close(handle)
                text = f"another process is writing to {Path(path).parent}"
                raise BlockingIOError(error.errno, text, str(path)) from error
            logger.warning(
                "%s cannot be locked (%s). Do not write to this folder from a second process.",
                Path(path).parent,
                error.strerror,
            )
            return handle
        # The process that had the lock may have removed the file since it was opened here.
        if _same_file(handle, path):
            return handle
        os.close(handle)


def _same_file(handle: int, path: str | os.PathLike) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _close(path: str, remove: bool = False) -> None:
    if path not in _files:
        return
    handle = _files.pop(path)
    # Windows cannot remove an open file. Elsewhere it is removed while it is locked, so that no
    # other process can lock it in between.
    if remove and os.name != "nt" and _same_file(handle, path):
        _remove(path)
    os.close(handle)
    if remove and os.name == "nt":
        _remove(path)


def _remove(path):
    with contextlib.suppress(OSError):
        os.unlink(path)


def _forget_in_child() -> None:
    """Closes what a forked process inherits: the locks are those of its parent."""
    global _table
    _table = threading.RLock()
    for handle in _files.values():
        os.close(handle)
    _files.clear()
    _users.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
