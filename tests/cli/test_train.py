"""`mrcnn train`: data, starting and resuming."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mrcnn.cli import main
from mrcnn.cli.shared import datasets as cli_data
from mrcnn.cli.shared.usage import UsageError


def test_split_is_fixed_by_the_seed(annotated):
    options = {"images": annotated / "images", "labels": annotated / "labels", "val_split": 0.25}

    def names(dataset):
        return [info["id"] for info in dataset.image_info]

    train, val = cli_data.training_data(options, say=lambda text: None)
    again, _ = cli_data.training_data(options, say=lambda text: None)
    other = [names(cli_data.training_data(options | {"seed": s}, str)[1]) for s in range(1, 8)]
    assert names(train) == names(again) and len(names(train)) == 3
    assert sorted(names(train) + names(val)) == ["0", "1", "2", "3"]
    assert any(value != names(val) for value in other)
    # a validation image keeps its own labels
    whole = cli_data.dataset(options)
    index = names(whole).index(names(val)[0])
    assert np.array_equal(val.load_mask(0)[0], whole.load_mask(index)[0])
    assert cli_data.training_data(options | {"val_split": 0.0}, str)[1] is None


def test_validation_files(annotated):
    images, file = annotated / "images", annotated / "instances.json"
    options = {"images": images, "annotations": file, "val_annotations": file}
    train, val = cli_data.training_data(options, say=str)
    assert train.num_images == val.num_images == 4
    options = {"images": images, "annotations": file, "val_labels": annotated / "labels"}
    with pytest.raises(UsageError, match="No class has the same name: object here"):
        cli_data.training_data(options, say=str)


def test_crowds_can_be_objects(annotated, tmp_path):
    content = json.loads((annotated / "instances.json").read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content))
    options = {"images": annotated / "images", "annotations": file, "val_annotations": file}
    for crowds, sign in ((None, -1), ("ignore", -1), ("objects", 1)):
        for dataset in cli_data.training_data(options | {"crowds": crowds}, say=str):
            assert (np.sign(dataset.load_mask(0)[1]) == sign).all()
    labels = {"images": annotated / "images", "labels": annotated / "labels"}
    with pytest.raises(UsageError, match="--crowds needs --annotations"):
        cli_data.dataset(labels | {"crowds": "objects"})


def test_synthetic_sets_do_not_overlap():
    train, val = cli_data.training_data({"dataset": "shapes", "count": 3, "val_count": 2}, say=str)
    assert (train.num_images, val.num_images) == (3, 2)
    assert not np.array_equal(train.load_image(0), val.load_image(0))


def test_train_and_resume(cli, tiny_folder, annotated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--images", annotated / "images", "--labels", annotated / "labels"]
    words += ["--weights", tiny_folder, "--name", "cells", "--val-split", 0.25]
    words += ["--set", "EVALUATE_EVERY=0"]
    code, out, err = cli(*words, "--epochs", 1, "--batch-size", 1)
    assert code == 0, err
    assert "3 images to train on, 1 for validation; classes: object." in out
    assert "with new heads for these classes" in out
    assert re.search(r"^epoch 1/1  loss \d\S+  val loss \d\S+", out, re.MULTILINE)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("cells2")
    config = json.loads((folder / "config.json").read_text())
    assert (config["NUM_CLASSES"], config["IMAGES_PER_GPU"], config["NAME"]) == (2, 1, "cells")
    assert json.loads((folder / "classes.json").read_text()) == ["BG", "object"]

    code, out, err = cli("train", "--resume")
    assert code == 0 and "has finished its 1 epochs" in out
    code, out, err = cli("train", "--resume", "--batch-size", 2)
    assert code == 2 and "--batch-size cannot change" in err
    code, out, err = cli("train", "--resume", "--epochs", 2)
    assert code == 0, err
    assert "after epoch 1" in out and "epoch 2/2" in out and "epoch 1/" not in out
    assert len(list((tmp_path / "runs").iterdir())) == 1
    history = (folder / "history.csv").read_text().splitlines()
    assert len(history) == 3


def test_resume_after_a_kill(cli, tiny_folder, tmp_path):
    """After a SIGKILL, `mrcnn train --resume` finishes the remaining epochs."""
    words = [sys.executable, "-m", "mrcnn", "train", "--dataset", "shapes", "--epochs", "9"]
    words += ["--weights", str(tiny_folder), "--image-size", "64", "--output", str(tmp_path)]
    words += ["--set", "EVALUATE_EVERY=0", "--set", "STEPS_PER_EPOCH=2", "--set"]
    words += ["VALIDATION_STEPS=1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("*/mask_rcnn_*_0002.h5")):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    code, out, err = cli("train", "--resume", "--output", tmp_path)
    assert code == 0, err
    (folder,) = tmp_path.iterdir()
    history = (folder / "history.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in history] == list(range(1, 10))
    done = int(re.search(r"after epoch (\d+)", out).group(1))
    assert f"epoch {done}/9" not in out and f"epoch {done + 1}/9" in out


SMALL = ["--image-size", "64", "--count", "2", "--val-count", "0", "--set", "EVALUATE_EVERY=0"]


def interrupted(*words, at=1, monkeypatch):
    """Runs `mrcnn train` and interrupts it in the epoch after `at` (counted from 0)."""
    from mrcnn.cli.shared import progress

    class Stop(progress.EpochLines):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            if epoch == at:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(progress, "EpochLines", Stop)
        data = [] if "--resume" in words else ["--dataset", "shapes", *SMALL]
        return main([str(word) for word in ["train", *data, *words]])


@pytest.mark.slow
def test_the_printed_command_resumes_this_run(cli, capsys, tiny_folder, tmp_path, monkeypatch):
    """The named run resumes and no other, with any --output and with spaces in its path."""
    monkeypatch.chdir(tmp_path)
    words = ["--weights", tiny_folder, "--epochs", 3, "--output", "my runs"]
    assert interrupted(*words, monkeypatch=monkeypatch) == 130
    err = capsys.readouterr().err
    (folder,) = (tmp_path / "my runs").iterdir()
    command = re.search(r"mrcnn train --resume .*", err)[0]
    assert shlex.split(command) == ["mrcnn", "train", "--resume", f"my runs/{folder.name}"]
    code, out, err = cli(*shlex.split(command)[1:])
    assert code == 0 and "after epoch 1." in out and "epoch 3/3" in out, err
    assert f"mrcnn detect 'my runs/{folder.name}' IMAGES" in out


def test_nothing_to_resume_before_the_first_epoch(capsys, tiny_folder, tmp_path, monkeypatch):
    words = ["--weights", tiny_folder, "--output", tmp_path]
    assert interrupted(*words, at=0, monkeypatch=monkeypatch) == 130
    err = capsys.readouterr().err
    assert "nothing to resume" in err and "--resume" not in err


@pytest.mark.slow
def test_the_newest_run_that_can_be_resumed(cli, capsys, tiny_folder, tmp_path, monkeypatch):
    """A failed start and a finished run are skipped and reported."""
    words = ["--weights", tiny_folder, "--epochs", 2, "--output", tmp_path]
    assert interrupted(*words, monkeypatch=monkeypatch) == 130
    (wanted,) = tmp_path.iterdir()
    options = json.loads((wanted / "command.json").read_text())
    for seconds, name, epochs in ((60, "finished20300101T0000", 1), (90, "empty20300102T0000", 2)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "command.json"
        file.write_text(json.dumps(options | {"epochs": epochs}))
        os.utime(file, (time.time() + seconds,) * 2)
    checkpoint = next(wanted.glob("mask_rcnn_*_0001.h5"))
    (tmp_path / "finished20300101T0000" / checkpoint.name).write_bytes(checkpoint.read_bytes())
    capsys.readouterr()
    code, out, err = cli("train", "--resume", "--output", tmp_path)
    assert code == 0, err
    assert f"Passing over {tmp_path}/empty20300102T0000, which has no finished epoch." in out
    assert "finished20300101T0000, which has finished its 1 epochs." in out
    assert f"Resuming {wanted} after epoch 1." in out


def test_a_run_that_starts_over_keeps_its_options(cli, tiny_folder, tmp_path, monkeypatch):
    """Killed in its first epoch, a run starts over with the same options, including --set."""
    words = ["--weights", tiny_folder, "--epochs", 1, "--output", tmp_path]
    words += ["--set", "CHECKPOINTS_TO_KEEP=1"]
    assert interrupted(*words, at=0, monkeypatch=monkeypatch) == 130
    (folder,) = tmp_path.iterdir()
    for file in folder.iterdir():  # what is left if the process is killed in its first step
        if file.name != "command.json":
            file.unlink()
    code, out, err = cli("train", "--resume", "--output", tmp_path)
    assert code == 0 and "has no finished epoch; it starts over" in out, err
    (new,) = [path.parent for path in tmp_path.glob("*/config.json")]
    config = json.loads((new / "config.json").read_text())
    assert config["CHECKPOINTS_TO_KEEP"] == 1 and config["IMAGE_MAX_DIM"] == 64


def test_a_resumed_run_keeps_the_options_of_each_start(cli, tiny_folder, tmp_path, monkeypatch):
    """`--resume --epochs 3` that is killed and resumed again still has 3 epochs."""
    words = ["--weights", tiny_folder, "--epochs", 2, "--output", tmp_path]
    assert interrupted(*words, monkeypatch=monkeypatch) == 130
    (folder,) = tmp_path.iterdir()
    words = ["--resume", folder, "--epochs", 3, "--set", "WEIGHT_DECAY=0.5", "--layers", "heads"]
    assert interrupted(*words, monkeypatch=monkeypatch) == 130
    code, out, err = cli("train", "--resume", "--output", tmp_path)
    assert code == 0 and "after epoch 1" in out and "epoch 3/3" in out, err
    options = json.loads((folder / "command.json").read_text())
    assert (options["epochs"], options["layers"]) == (3, "heads")
    assert json.loads((folder / "config.json").read_text())["WEIGHT_DECAY"] == 0.5
    assert json.loads((folder / "training.json").read_text())[-1]["layers"] == "heads"


HOLD = """
import sys, time
from mrcnn.folder import ModelFolder
ModelFolder(sys.argv[1]).hold()
print("ready", flush=True)
time.sleep(100)
"""


def killed_run(parent, tiny_folder, epochs=1):
    """Writes a run of `mrcnn train` as a killed process leaves it; returns its folder."""
    folder = parent / "a20260101T0000"
    folder.mkdir()
    for name in ("config.json", "classes.json"):
        (folder / name).write_bytes((tiny_folder / name).read_bytes())
    for epoch in range(1, epochs + 1):
        checkpoint = folder / f"mask_rcnn_a_{epoch:04d}.h5"
        checkpoint.write_bytes((tiny_folder / "weights.h5").read_bytes())
    (folder / "training.json").write_text('[{"start": 0, "epochs": 2, "finished": false}]')
    (folder / "command.json").write_text('{"dataset": "shapes", "count": 2, "val_count": 0}')
    return folder


def test_a_run_killed_just_before_its_end_is_completed(cli, tiny_folder, tmp_path):
    """Old checkpoints go, and the run is marked as finished."""
    folder = killed_run(tmp_path, tiny_folder, epochs=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"CHECKPOINTS_TO_KEEP": 1}))
    code, out, err = cli("train", "--resume", folder, "--epochs", 2)
    assert code == 0 and "has finished its 2 epochs" in out, err
    assert [path.name for path in folder.glob("*.h5")] == ["mask_rcnn_a_0002.h5"]
    assert json.loads((folder / "training.json").read_text())[0]["finished"]


def test_a_run_that_is_training_is_not_resumed(cli, tiny_folder, tmp_path):
    folder = killed_run(tmp_path, tiny_folder)
    before = {path.name for path in folder.iterdir()}
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        code, _, err = cli("train", "--resume", folder)
        assert code == 1 and "is in use" in err
        process.kill()
    assert {path.name for path in folder.iterdir()} == before | {"training.lock"}
    code, out, err = cli("train", "--resume", folder, "--epochs", 1)
    assert code == 0 and "has finished its 1 epochs" in out


def test_a_name_resumes_the_runs_of_that_name_only(tmp_path):
    from mrcnn.cli import train

    for name in ("abc20260101T0000", "a20260101T0000", "ab20260101T0000"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "command.json").write_text("{}")
    assert train._choose({"output": tmp_path, "name": "a"}).name == "a20260101T0000"
    with pytest.raises(UsageError, match="no run named b"):
        train._choose({"output": tmp_path, "name": "b"})


@pytest.mark.parametrize("text", ["{", "[]", '{"epochs": "9"}', '{"settings": []}', "[" * 10**5])
def test_damaged_options_are_named(cli, tmp_path, text):
    (tmp_path / "command.json").write_text(text)
    code, _, err = cli("train", "--resume", tmp_path)
    assert code == 1 and "command.json" in err and len(err) < 1500


def test_classes_come_from_the_data(cli, tmp_path):
    """Another NUM_CLASSES would add classes without any training data."""
    words = ["train", "--dataset", "shapes", *SMALL, "--output", tmp_path, "--set", "NUM_CLASSES=7"]
    code, _, err = cli(*words)
    assert code == 1 and err.count("\n") == 1
    assert "NUM_CLASSES is 7, but the data set has 4 classes" in err
    assert not list(tmp_path.iterdir())


def test_a_failed_start_leaves_no_run_to_resume(cli, tiny_folder, tmp_path):
    words = ["train", "--dataset", "shapes", *SMALL, "--output", tmp_path, "--weights", tiny_folder]
    code, _, err = cli(*words, "--layers", "no_such_layer.*")
    assert code == 1 and not list(tmp_path.glob("*/command.json"))


def test_warnings_of_the_library_are_shown(cli, tiny_folder, tmp_path):
    words = ["train", "--dataset", "shapes", *SMALL, "--output", tmp_path, "--weights", tiny_folder]
    code, _, err = cli(*words, "--epochs", 1, "--set", "GPU_COUNT=2")
    assert code == 0 and "GPU_COUNT = 2, but" in err
