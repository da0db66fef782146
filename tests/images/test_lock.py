"""Locks on folders: one user at a time, none left behind by a killed process."""

import logging
import os
import signal
import subprocess
import sys

import pytest

from mrcnn.images import lock
from mrcnn.images.lock import LOCK_FILE, FolderLock

HOLD = """
import sys, time
from mrcnn.images.lock import FolderLock
held = FolderLock(sys.argv[1])
print(held.acquire(), flush=True)
time.sleep(60)
"""


def holder(folder):
    """Starts a process that has the lock."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "True"
    return process


def end(process, how):
    process.send_signal(how)
    process.wait()
    process.stdout.close()


def test_one_object_at_a_time(tmp_path):
    one, other = FolderLock(tmp_path), FolderLock(tmp_path / ".." / tmp_path.name)
    assert one.acquire() and one.acquire() and not other.acquire()
    assert lock.held_here(tmp_path)
    one.rest()  # this process still has it
    assert lock.held_here(tmp_path) and other.acquire() and not one.acquire()
    one.release()  # not its own: nothing happens
    assert not one.acquire()
    other.release()
    assert not lock.held_here(tmp_path) and not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_lock(tmp_path):
    process, mine = holder(tmp_path), FolderLock(tmp_path)
    assert not mine.acquire()
    end(process, signal.SIGKILL)
    assert (tmp_path / LOCK_FILE).exists() and mine.acquire()
    mine.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_process_neither_has_nor_keeps_the_lock(tmp_path):
    mine = FolderLock(tmp_path)
    assert mine.acquire()
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"%d" % FolderLock(tmp_path).acquire())
        os.read(go[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"0"
    mine.release()
    process = holder(tmp_path)  # although the child lives
    end(process, signal.SIGKILL)
    os.write(go[1], b"x")
    os.waitpid(child, 0)
    for handle in (*ready, *go):
        os.close(handle)


def test_a_folder_that_was_removed_and_made_again(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    mine = FolderLock(folder)
    assert mine.acquire()
    (folder / LOCK_FILE).unlink()
    folder.rmdir()
    folder.mkdir()
    assert mine.acquire() and (folder / LOCK_FILE).exists()
    process = subprocess.run(
        [sys.executable, "-c", HOLD.replace("60", "0"), str(folder)], capture_output=True, text=True
    )
    assert process.stdout.strip() == "False"
    mine.release()


def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, caplog):
    def no_locks(handle):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock, "_lock", no_locks)
    mine = FolderLock(tmp_path)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert mine.acquire() and mine.acquire()
    (message,) = caplog.messages
    assert str(tmp_path) in message and "No locks available" in message
    assert not FolderLock(tmp_path).acquire()
    mine.release()
    assert not list(tmp_path.iterdir())
