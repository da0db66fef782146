"""The folders of runs: their names, which run gets which, and what a failed start leaves."""

import datetime
import subprocess
import sys
import threading

import keras
import pytest
from tiny import TinyConfig

from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.folder import ModelFolder
from mrcnn.models.mask_rcnn import MaskRCNN


def shapes():
    return ShapesDataset(4, 64, 64)


@pytest.fixture(scope="module")
def start_model():
    return MaskRCNN("training", TinyConfig())


def fresh(model, folder):
    model.model_dir, model.epoch = str(folder), 0
    model.folder = ModelFolder.new(folder, "tiny")
    return model


def test_bad_layers_leave_no_folder(start_model, tmp_path):
    with pytest.raises(ValueError, match="layers"):
        fresh(start_model, tmp_path / "runs").train(shapes(), layers="hed", verbose=0)
    assert not (tmp_path / "runs").exists()


def test_bad_data_leave_no_folder(start_model, tmp_path):
    class Broken(ShapesDataset):
        def load_image(self, image_id):
            if image_id == 3:
                raise OSError("broken file")
            return super().load_image(image_id)

    model = fresh(start_model, tmp_path)
    with pytest.raises(Exception, match="broken file"):
        model.train(Broken(4, 64, 64), verbose=0)
    assert not list(tmp_path.iterdir())
    model.train(shapes(), verbose=0)
    assert [run.path for run in ModelFolder.runs(tmp_path, "tiny")] == [model.folder.path]


@pytest.mark.slow
def test_the_files_of_others_stay_in_a_failed_run(start_model, tmp_path):
    class Logs(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            (start_model.folder.path / "events").write_text("log")

        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model = fresh(start_model, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        model.train(shapes(), custom_callbacks=[Logs()], verbose=0)
    assert [path.name for path in model.folder.path.iterdir()] == ["events"]
    again = fresh(start_model, tmp_path)
    again.train(shapes(), verbose=0)
    assert again.folder.path.name.endswith("-2") or len(list(tmp_path.iterdir())) == 2


def test_names_have_the_time_and_are_sorted(tmp_path):
    before = datetime.datetime.now().replace(second=0, microsecond=0)
    made = [ModelFolder.new(tmp_path, "cells") for _ in range(12)]
    for folder in made:
        assert folder.make()
    assert not made[0].make()
    names = [folder.path.name for folder in made]
    assert len(set(names)) == 12
    for name in names:
        stamp = datetime.datetime.strptime(name.split("-")[0], "cells%Y%m%dT%H%M")
        assert before <= stamp <= datetime.datetime.now()
    assert [run.path.name for run in ModelFolder.runs(tmp_path, "cells")] == names
    checkpoint = made[10].checkpoint(7)
    found, epoch = ModelFolder.of_checkpoint(checkpoint, "cells")
    assert (found.path, epoch) == (made[10].path, 7)
    for other in ("cells20261123T1000-", "cells20261123T1000-x", "cell20261123T1000"):
        (tmp_path / other).mkdir()
    assert len(ModelFolder.runs(tmp_path, "cells")) == 12


def test_two_models_of_one_name_never_share(tmp_path):
    first, second = (MaskRCNN("training", TinyConfig(), tmp_path) for _ in range(2))
    first.train(shapes(), epochs=1, verbose=0)
    second.train(shapes(), epochs=1, verbose=0)
    assert first.folder.path != second.folder.path
    assert len(second.folder.history()) == len(first.folder.history()) == 1


def test_threads_and_processes_reserve_their_own(tmp_path):
    folders = [ModelFolder.new(tmp_path, "cells") for _ in range(20)]
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
