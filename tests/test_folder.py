"""Run folders: correct times, unique names, and no files after a failed start."""

import datetime
import re
import subprocess
import sys
import threading

import pytest

from mrcnn.folder import FolderInUseError, ModelFolder, read_config
from mrcnn.images import atomic


def test_names_have_the_current_time_and_a_number(tmp_path):
    before = datetime.datetime.now().replace(second=0, microsecond=0)
    made = [ModelFolder.new(tmp_path, "Cells") for _ in range(4)]
    assert all(folder.make() for folder in made) and not made[0].make()
    times = [re.fullmatch(r"cells(\d{8}T\d{4})(-\d+)?", folder.path.name) for folder in made]
    for match in times:
        assert before <= datetime.datetime.strptime(match[1], "%Y%m%dT%H%M")
        assert datetime.datetime.strptime(match[1], "%Y%m%dT%H%M") <= datetime.datetime.now()
    found = [folder.path for folder in ModelFolder.runs(tmp_path, "cells")]
    assert found == [folder.path for folder in made]  # oldest first


def test_runs_of_one_minute_sort_by_number(tmp_path):
    names = ["a20261126T1000", *(f"a20261126T1000-{i}" for i in range(2, 12)), "a20261126T1001"]
    others = ["a20261126T1000-", "a20261126T1000-x", "aa20261126T1000"]
    for name in [*others, *reversed(names)]:
        (tmp_path / name).mkdir()
    assert [run.path.name for run in ModelFolder.runs(tmp_path, "a")] == names
    assert ModelFolder.runs(tmp_path, "b") == []


def test_threads_and_processes_reserve_their_own(tmp_path):
    folders = [ModelFolder.new(tmp_path, "cells") for _ in range(20)]
    assert not list(tmp_path.iterdir())  # nothing is made before it is needed
    start = threading.Barrier(20)
    threads = [threading.Thread(target=lambda f=f: (start.wait(), f.make())) for f in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    script = (
        "import sys; from mrcnn.folder import ModelFolder\n"
        "made = [ModelFolder.new(sys.argv[1], 'cells') for _ in range(20)]\n"
        "print(*[f.make() and f.path.name for f in made], sep='\\n')"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    names = [folder.path.name for folder in folders]
    for process in running:
        names += process.communicate()[0].split()
    assert len(names) == len(set(names)) == len(list(tmp_path.iterdir())) == 60


def test_a_checkpoint_in_a_counted_folder_is_one(tmp_path):
    folder = ModelFolder(tmp_path / "cells20261126T1000-2", "cells")
    run, epoch = ModelFolder.of_checkpoint(folder.checkpoint(7), "cells")
    assert run.path == folder.path and epoch == 7
    assert ModelFolder.of_checkpoint(folder.checkpoint(7), "cell") is None


# --- Names ---------------------------------------------------------------------------------------
NAMES = ["my cells", "cells v1.0", "v1.0_0001", "..", "a+(b)", "Zellen \N{MICRO SIGN}m", "x" * 120]


@pytest.mark.parametrize("name", NAMES)
def test_runs_and_checkpoints_are_found_under_any_name(tmp_path, name):
    folder = ModelFolder.new(tmp_path, name)
    folder.make()
    assert folder.path.parent == tmp_path
    path = folder.checkpoint(12)
    path.touch()
    (run,) = ModelFolder.runs(tmp_path, name)
    assert run.path == folder.path and run.checkpoints() == [(12, path)]
    found, epoch = ModelFolder.of_checkpoint(path, name)
    assert found.path == folder.path and epoch == 12


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a\\b", "nul\0", "a\nb", "\ud800", "x" * 121]
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    for make in (ModelFolder.new, ModelFolder):
        with pytest.raises(ValueError, match="^NAME must be text without '/'"):
            make(tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_a_name_never_finds_the_runs_of_another(tmp_path):
    for name in ("abc", "a20260101T0000", "a"):
        ModelFolder.new(tmp_path, name).make()
    (run,) = ModelFolder.runs(tmp_path, "a")
    assert re.fullmatch(r"a\d{8}T\d{4}", run.path.name)


def test_a_checkpoint_of_another_folder_never_shares_a_folder(tmp_path):
    """Two folders of runs may hold runs of one name and minute."""
    here, there = (tmp_path / part / "a20260101T0000-2" for part in ("here", "there"))
    here.mkdir(parents=True)
    there.mkdir(parents=True)
    run = ModelFolder(here, "a")
    assert run.in_parent(tmp_path / "here").path == here
    assert run.in_parent(tmp_path / "new").path == tmp_path / "new" / "a20260101T0000-2"
    other = run.in_parent(tmp_path / "there")
    assert other.make() and other.path.name == "a20260101T0000-3"
    assert len(ModelFolder.runs(tmp_path / "there", "a")) == 2


# --- One training at a time ----------------------------------------------------------------------
def test_a_folder_is_held_by_one_training(tmp_path):
    first = ModelFolder.new(tmp_path, "a")
    first.hold()
    first.hold()
    second = ModelFolder(first.path, "a")
    assert not second.try_hold()
    with pytest.raises(FolderInUseError, match=f"{first.path} is in use"):
        second.hold()
    assert not second.abandon() and first.path.is_dir()
    first.rest()
    second.hold()
    second.release()


def test_a_new_run_leaves_a_folder_that_another_took_before_it_was_locked(tmp_path):
    first = ModelFolder.new(tmp_path, "a")
    make = first.make

    def make_and_lose():
        made = make()
        if not thief:
            thief.append(ModelFolder(first.path, "a"))
            assert thief[0].is_blank() and thief[0].try_hold()
        return made

    thief: list = []
    first.make = make_and_lose
    first.hold()
    assert first.path != thief[0].path and first.path.name.endswith("-2")
    first.release()
    thief[0].release()


def test_a_failed_start_removes_what_it_wrote_and_nothing_else(tmp_path):
    for foreign in ([], ["notes.txt", "command.json", ".hidden"]):
        run = ModelFolder.new(tmp_path, "a")
        run.hold()
        for name in ("config.json", "training.json", "history.csv", *foreign):
            (run.path / name).touch()
        assert not run.abandon()
        assert run.path.is_dir() == bool(foreign)
    assert sorted(path.name for path in run.path.iterdir()) == sorted(foreign)


def test_temporary_files_of_killed_trainings_are_removed(tmp_path):
    run = ModelFolder(tmp_path / "a20260101T0000", "my a")
    run.make()
    ours = [
        ".config-0123abcd.json",
        ".mask_rcnn_my a_0003-x_9y8z7w.h5",  # of an older version
        ".best-00000000.h5",
        ".curves-00000000.png",
    ]
    theirs = [".DS_Store", ".notes-0123abcd.json", ".best-short.h5", "best-0123abcd.h5", "best.h5"]
    for name in ours + theirs:
        (run.path / name).touch()
    assert run.try_hold()
    left = {path.name for path in run.path.iterdir()}
    assert left == {*theirs, "training.lock"}
    run.release()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError, match="runs cannot be made .*Choose another"):
        ModelFolder.new(tmp_path / "runs", "a").hold()


# --- Damaged files -------------------------------------------------------------------------------
STAGE = '{"start": 0, "epochs": 3, "finished": false}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "[1]", "[[]]", '"text"', "\udcff", "[" * 100_000, "[" + "9" * 5000 + "]"),
        *(f"[{STAGE.replace(old, new)}]" for old, new in [(" 0", ' "0"'), (" 3", " null")]),
        *(f"[{STAGE.replace(old, new)}]" for old, new in [("false", "0"), ('"start"', '"s"')]),
    ],
)
def test_a_damaged_training_json_is_named(tmp_path, text):
    (tmp_path / "training.json").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ValueError, match=r"training\.json") as error:
        ModelFolder(tmp_path).stages()
    assert len(str(error.value)) <= 1000
    (tmp_path / "training.json").write_text(f"[{STAGE}]")
    assert ModelFolder(tmp_path).stages()[0]["epochs"] == 3


@pytest.mark.parametrize(
    "text",
    [
        "loss\n1\n",
        "epoch,loss\n1.5,1\n",
        "epoch,loss\n1,one\n",
        "epoch,loss\n1\n",
        "epoch,loss\n1,2,3\n",
        'epoch,loss\n1,"2\n',
        "epoch,loss\n" + "9" * 200_000 + ",1\n",
        "\udcff\udcfe",
        "epoch,loss\n1,\0\n",
    ],
)
def test_a_damaged_history_is_named(tmp_path, text):
    (tmp_path / "history.csv").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(ValueError, match=r"history\.csv") as error:
        ModelFolder(tmp_path).history()
    assert len(str(error.value)) <= 1000


def test_history_comes_back(tmp_path):
    rows = [{"epoch": 1, "loss": 1.5}, {"epoch": 2, "loss": float("inf"), "val_AP": 0.25}]
    folder = ModelFolder(tmp_path)
    assert folder.history() == []
    folder.write_history(rows)
    assert folder.history() == rows


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"a": "b"}'])
def test_damaged_class_names_are_named(tmp_path, text):
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(ValueError, match=r"classes\.json"):
        ModelFolder(tmp_path).class_names()


def test_a_full_disk_leaves_nothing_of_a_new_run(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "_flush_to_disk", full)
    run = ModelFolder.new(tmp_path, "a")
    run.hold()
    with pytest.raises(OSError, match=r"cannot write .*training\.json: No space left"):
        run.write_stages([])
    run.abandon()
    assert not list(tmp_path.iterdir())


def test_a_setting_out_of_range_names_the_file(tmp_path):
    (tmp_path / "config.json").write_text('{"NAME": ["cells"]}')
    with pytest.raises(ValueError, match=r"config\.json cannot be read .*NAME must be text"):
        read_config(tmp_path)
