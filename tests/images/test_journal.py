"""Lines that a killed process has written are there; one that it could not write is not."""

import errno
import os
import subprocess
import sys

import pytest

from mrcnn.images.journal import Journal


def values(path):
    journal = Journal(path)
    try:
        return [value for _, value in journal.lines()]
    finally:
        journal.close()


def test_lines_come_back(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    journal = Journal(path)
    lines = [{"name": "caf\udce9 日本"}, [1.5, 2], {"deep": [[]] * 3}]
    places = [journal.append(value) for value in lines]
    assert [journal.at(place) for place in places] == lines
    assert list(journal.lines()) == list(zip(places, lines, strict=True))
    journal.append({"more": 1})
    journal.close()
    assert values(path) == [*lines, {"more": 1}]


@pytest.mark.parametrize(
    "rest", [b'{"cut', b"[1]", b"\0" * 99, b"\xff\xfe\n[3]\n", b"null\n", b"[" * 9999]
)
def test_what_a_crash_left_is_cut_off(tmp_path, rest):
    path = tmp_path / "a.jsonl"
    whole = b"[1]\n[2]\n"
    path.write_bytes(whole + rest)
    journal = Journal(path)
    assert [value for _, value in journal.lines()] == [[1], [2]]
    assert path.read_bytes() == whole
    journal.append([3])
    journal.close()
    assert values(path) == [[1], [2], [3]]


def test_a_full_disk_keeps_all_earlier_lines(tmp_path, monkeypatch):
    """The disk takes half of a line."""
    path = tmp_path / "a.jsonl"
    journal = Journal(path)
    journal.append([1])
    write, calls = os.write, []

    def full(handle, data):
        calls.append(len(data))
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(
            OSError, match=r"cannot write .*a\.jsonl: No space left.*Free disk space"
        ):
            journal.append(["a long line"])
    assert path.read_bytes() == b"[1]\n"
    journal.append([2])
    journal.close()
    assert values(path) == [[1], [2]]


def test_one_process_at_a_time(tmp_path):
    path = tmp_path / "a.jsonl"
    journal = Journal(path)
    with pytest.raises(BlockingIOError, match="another process is writing to"):
        Journal(path)
    journal.append([1])
    journal.close()
    assert values(path) == [[1]]  # now it is free


def test_a_killed_process_blocks_nobody(tmp_path):
    code = (
        "import os, signal, sys; from mrcnn.images.journal import Journal\n"
        "Journal(sys.argv[1]).append([1]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "a.jsonl"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert values(path) == [[1]]


def test_a_journal_without_lines_leaves_nothing(tmp_path):
    Journal(tmp_path / "new" / "a.jsonl").close()
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    journal = Journal(tmp_path / "old" / "a.jsonl")
    journal.append([1])
    journal.clear()
    journal.close()
    journal.close()
    assert list((tmp_path / "old").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write .*a.jsonl: .*choose a folder"):
        Journal(tmp_path / "file" / "a.jsonl")
