"""Locks on folders: the operating system holds them for a process, and frees them when it ends.

A folder is locked through a file in it. It is the operating system's lock on this file that counts,
not the file itself, so a process that was killed never leaves a locked folder behind.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from pathlib import Path
from typing import Any

logger = logging.getLogger("mrcnn")

LOCK_FILE = "training.lock"

_table = threading.RLock()
# What this process holds: the open lock file (None where there are no locks) by its path, and the
# FolderLock that uses it at the moment.
_files: dict[str, int | None] = {}
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
                locked, handle = _open(self._path)
                if not locked:
                    return False
                _files[self._path] = handle
            _users[self._path] = self
            return True

    def _is_current(self):
        """Whether this process holds the file that is in the folder, which may have been removed"""
        if self._path not in _files:
            return False
        handle = _files[self._path]
        return handle is None or _same_file(handle, self._path)

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


def _open(path: str) -> tuple[bool, int | None]:
    """Opens and locks a file; returns (whether it worked, the file or None without locks)."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            taken = _lock(handle)
        except OSError as error:
            os.close(handle)
            logger.warning(
                "%s cannot be locked (%s). Do not start a second training in this folder.",
                Path(path).parent,
                error.strerror,
            )
            return True, None
        if taken and _same_file(handle, path):
            return True, handle
        os.close(handle)
        if not taken:
            return False, None
        # The process that had the lock has just removed the file: try again with a new one.


def _lock(handle: int) -> bool:
    """Locks an open file; returns False if another process has it locked.

    Raises:
        OSError: the file system has no locks.
    """
    if os.name == "nt":
        import msvcrt

        locking: Any = msvcrt
        try:
            locking.locking(handle, locking.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _same_file(handle: int, path: str) -> bool:
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
    if remove and os.name != "nt" and (handle is None or _same_file(handle, path)):
        _remove(path)
    if handle is not None:
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
        if handle is not None:
            os.close(handle)
    _files.clear()
    _users.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
