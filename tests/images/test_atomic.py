import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from mrcnn.images.atomic import atomic_path, remove_leftovers, write_text


def test_writes_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "deep" / "a.json"
    write_text(target, "één")
    write_text(target, "twee")
    assert target.read_text(encoding="utf-8") == "twee"
    assert os.listdir(target.parent) == ["a.json"]
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0o066 & ~_umask() & 0o077


def test_temporary_has_the_suffix(tmp_path):
    with atomic_path(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path


def test_an_error_keeps_the_old_file(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_is_explained(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(
        OSError, match="No space left.*previous.*a.txt is unchanged.*Free disk space"
    ) as info:
        with atomic_path(target):
            raise OSError(28, "No space left on device")
    assert info.value.errno == 28
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="cannot write.*a is a file, not a folder"):
        write_text(tmp_path / "a" / "b.txt", "")


def test_threads_do_not_change_the_umask(tmp_path):
    """To read the umask, a process has to set it, and a second thread would read the new value."""
    before = _umask()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda i: write_text(tmp_path / f"{i}.txt", "x"), range(64)))
    assert _umask() == before and len(list(tmp_path.iterdir())) == 64


@pytest.mark.parametrize("name", ["x" * 251 + ".txt", "\N{HIRAGANA LETTER A}" * 83 + ".txt"])
def test_the_longest_names(tmp_path, name):
    write_text(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_leftovers_of_killed_writes_go(tmp_path):
    names = [
        ".a.png-12345678.png",
        ".a-12345678.png",
        ".b_labels-abcdefg_.png",
        ".a-x.png",
        "a.png",
    ]
    for name in [*names, ".other-12345678.png", ".a-12345678.json"]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, {"a.png", "b_labels.png"}.__contains__)
    left = {".a.png-12345678.png", ".a-x.png", "a.png", ".other-12345678.png", ".a-12345678.json"}
    assert set(os.listdir(tmp_path)) == left
