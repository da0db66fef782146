"""Which run a call continues, without a network: runs are folders of small files."""

import json
import logging
import subprocess
import sys

import h5py
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.folder import ModelFolder
from mrcnn.training import resume

CONFIG = Config(NAME="my a", NUM_CLASSES=4)
DATA = ShapesDataset(4, 64, 64)


def call(data=DATA, val=None, epochs=2, layers="heads", learning_rate=None):
    arguments = {"epochs": epochs, "layers": layers, "learning_rate": learning_rate}
    return resume.describe_call(CONFIG, data, val, **arguments)


def make_run(parent, stages, epochs=1, config=CONFIG, minute=0):
    """Writes a run folder as a killed process leaves it."""
    run = ModelFolder(parent / f"my a20260101T00{minute:02}", "my a")
    run.describe(config, ["BG"])
    run.write_stages(stages)
    for epoch in range(1, epochs + 1):
        run.checkpoint(epoch).touch()
    return run


def find(parent, stage, config=CONFIG, **options):
    found = resume.find_interrupted(parent, config, stage, **options)
    if found is not None:
        found.release()
        return found.path.name[-2:]
    return None


def running(finished=False, start=0, **options):
    return call(**options) | {"start": start, "finished": finished, "ended": False}


def test_the_newest_interrupted_run_of_the_call(tmp_path):
    make_run(tmp_path, [running()], minute=1)
    make_run(tmp_path, [running()], minute=2)
    make_run(tmp_path, [running(layers="all")], minute=3)
    make_run(tmp_path, [running()], config=Config(NAME="my a", NUM_CLASSES=5), minute=4)
    make_run(tmp_path, [running()], epochs=0, minute=5)  # killed in its first epoch
    assert find(tmp_path, call()) == "02"
    assert find(tmp_path, call(epochs=3)) is None
    assert find(tmp_path, call(learning_rate=0.5)) is None


def test_a_run_killed_in_its_first_epoch_is_taken_over(tmp_path):
    make_run(tmp_path, [running()], epochs=0)
    assert find(tmp_path, call()) == "00"
    assert find(tmp_path, call(), required=True) is None
    (tmp_path / "my a20260101T0007").mkdir()  # killed before it wrote which training it is
    (tmp_path / "my a20260101T0007" / ".config-0123abcd.json").touch()
    assert find(tmp_path, call()) == "07"
    assert not list((tmp_path / "my a20260101T0007").iterdir())
    (tmp_path / "my a20260101T0007" / "notes.txt").touch()  # somebody else's folder
    assert find(tmp_path, call()) == "00"


class Fold(Dataset):
    def __init__(self, names):
        super().__init__()
        self.add_class("cells", 1, "cell")
        for index, name in enumerate(names):
            self.add_image("cells", index, name)
        self.prepare()


def test_the_parts_of_a_cross_validation_are_different_calls(tmp_path):
    """They have the same Config and as many images."""
    folds = [Fold(["/data/a.png", "/data/b.png"]), Fold(["/data/a.png", "/data/c.png"])]
    stage = call(folds[0]) | {"start": 0, "finished": False}
    make_run(tmp_path, [stage])
    assert find(tmp_path, call(folds[0])) == "00"
    assert find(tmp_path, call(folds[1])) is None
    assert find(tmp_path, call(folds[0], val=folds[1])) is None
    moved = Fold(["/elsewhere/a.png", "/elsewhere/b.png"])
    assert find(tmp_path, call(moved)) == "00"


def test_a_run_of_an_older_version_resumes(tmp_path):
    """It has no fingerprints of the data, and does not say whether it has ended."""
    stage = {name: value for name, value in call().items() if name not in ("data", "validation")}
    make_run(tmp_path, [stage | {"start": 0, "finished": False}], minute=1)
    make_run(tmp_path, [stage | {"start": 0, "finished": True}], minute=2)
    assert find(tmp_path, call()) == "01"


def test_a_script_killed_between_two_calls_is_interrupted(tmp_path):
    run = make_run(tmp_path, [running(finished=True)], epochs=2)
    assert find(tmp_path, call()) == "00"
    run.write_stages([running(finished=True) | {"ended": True}])
    assert find(tmp_path, call()) is None
    # The process that trains is still there: its next call continues, another model does not.
    run.write_stages([running(finished=True)])
    run.hold()
    assert resume.find_interrupted(tmp_path, CONFIG, call()) is None
    run.rest()
    assert resume.find_interrupted(tmp_path, CONFIG, call()) is None
    assert run.try_hold()
    run.release()


DAMAGE = {
    "training.json": ["{", "[1]", '[{"start": 0}]', "\0", "[" * 100_000],
    "config.json": ["{", "[]", '{"NO_SUCH": 1}', '{"BATCH_SIZE": 7}', "[" * 100_000],
}
CASES = [(name, text) for name, texts in DAMAGE.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), [*CASES, ("config.json", None)])
def test_a_damaged_run_does_not_block_the_others(tmp_path, caplog, name, text):
    make_run(tmp_path, [running()], minute=1)
    damaged = make_run(tmp_path, [running()], minute=2).path / name
    damaged.unlink()
    if text is not None:
        damaged.write_text(text)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert find(tmp_path, call()) == "01"
    assert f"Passing over the run {damaged.parent}" in caplog.text


HOLD = """
import sys, time
from mrcnn.folder import ModelFolder
ModelFolder(sys.argv[1], "my a").hold()
print("ready", flush=True)
time.sleep(60)
"""


def test_a_run_in_use_is_left_alone_and_free_after_a_kill(tmp_path):
    run = make_run(tmp_path, [running()])
    command = [sys.executable, "-c", HOLD, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert find(tmp_path, call()) is None
        process.kill()
    assert find(tmp_path, call()) == "00"


# --- Checkpoints ---------------------------------------------------------------------------------
def whole(path):
    """Writes a file with the state of an optimizer."""
    with h5py.File(path, "w") as file:
        file.create_group("optimizer_weights")["momentum/kernel"] = np.ones(3)


def read(path):
    if path.read_bytes()[:4] == b"bad!":
        raise ValueError(f"{path} is damaged")


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    run = make_run(tmp_path, [running()], epochs=3)
    for _, path in run.checkpoints():
        whole(path)
    assert resume.read_newest(run, read) == run.checkpoints()[2]
    run.checkpoint(3).write_bytes(b"bad!")
    with h5py.File(run.checkpoint(2), "a") as file:  # the weights are whole, the optimizer is not
        file["optimizer_weights/momentum/kernel"][1] = np.nan
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert resume.read_newest(run, read) == (1, run.checkpoint(1))
    assert str(run.checkpoint(3)) in caplog.text and "continues from" in caplog.text
    run.checkpoint(1).write_bytes(b"bad!")
    with pytest.raises(ValueError, match="_0003.h5 is damaged"):
        resume.read_newest(run, read)
    assert resume.read_newest(ModelFolder(tmp_path / "none"), read) == (0, None)


def test_stages_that_a_lost_checkpoint_was_part_of_are_not_finished(tmp_path):
    first, second = running(finished=True), running(True, 2, epochs=4)
    third = running(False, 4, epochs=6)
    run = make_run(tmp_path, [first, second, third])
    assert [resume.finished_stages(run, epoch) for epoch in (1, 2, 3, 4, 6)] == [
        [],
        [first],
        [first],
        [first, second],
        [first, second],
    ]
    early = running(finished=True, epochs=9) | {"end": 5}  # ended by a callback
    run.write_stages([early])
    assert resume.finished_stages(run, 4) == [] and resume.finished_stages(run, 5) == [early]
    run.write_stages([])
    assert resume.finished_stages(run, 5) == []


def test_a_run_killed_after_its_last_checkpoint_is_finished(tmp_path):
    run = make_run(tmp_path, [running()], epochs=2)
    run.hold()
    resume.mark_finished(run, 1)
    assert not run.stages()[0]["finished"]
    resume.mark_finished(run, 2)
    assert run.stages()[0]["finished"]
    resume._end(resume._open_runs.pop(run.path))
    assert run.stages()[0]["ended"] and find(tmp_path, call()) is None


FINISH = """
import os, sys
from mrcnn.folder import ModelFolder
from mrcnn.training import resume
def work():
    run = ModelFolder(sys.argv[1], "my a")
    run.hold()
    run.rest()
    resume.keep_open(run)
if "process" in sys.argv[2]:
    import multiprocessing
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
else:
    work()
exec(sys.argv[2])
"""


@pytest.mark.parametrize(
    ("end", "ended"),
    [("pass", True), ("sys.exit(3)", True), ("os._exit(0)", False), ("1 / 0", False)]
    + [("'process'", True)],
)
def test_a_run_is_marked_as_ended_when_its_process_ends(tmp_path, end, ended):
    run = make_run(tmp_path, [running(finished=True)], epochs=2)
    subprocess.run([sys.executable, "-c", FINISH, str(run.path), end], capture_output=True)
    assert json.loads((run.path / "training.json").read_text())[0]["ended"] is ended
    assert (find(tmp_path, call()) is None) == ended
    assert not (run.path / "training.lock").exists()


def test_few_lock_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "MOST_OPEN_RUNS", 2)
    monkeypatch.setattr(resume, "_open_runs", {})
    runs = [make_run(tmp_path, [running(finished=True)], minute=minute) for minute in range(4)]
    for run in runs:
        run.hold()
        run.rest()
        resume.keep_open(run)
    assert [run.stages()[0]["ended"] for run in runs] == [True, True, False, False]
    for run in runs[2:]:
        resume._end(run)
