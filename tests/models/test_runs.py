"""The folders of runs: their names, which run gets which, and what a failed start leaves."""

import shutil

import h5py
import keras
import pytest
from tiny import TinyConfig

from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.folder import ModelFolder
from mrcnn.models.mask_rcnn import MaskRCNN
from mrcnn.training import fit
from mrcnn.training.resume import describe_call


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


def test_two_models_of_one_name_never_share(tmp_path):
    first, second = (MaskRCNN("training", TinyConfig(), tmp_path) for _ in range(2))
    first.train(shapes(), epochs=1, verbose=0)
    second.train(shapes(), epochs=1, verbose=0)
    assert first.folder.path != second.folder.path
    assert len(second.folder.history()) == len(first.folder.history()) == 1


def test_a_folder_that_is_removed_during_training_is_made_again(start_model, tmp_path):
    class Remove(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            assert not ModelFolder(model.folder.path, "tiny").try_hold()  # in use
            if epoch == 1:
                shutil.rmtree(model.folder.path)

    model = fresh(start_model, tmp_path)
    model.train(shapes(), epochs=2, custom_callbacks=[Remove()], verbose=0)
    folder = model.folder
    names = {path.name for path in folder.path.iterdir()}
    assert {"config.json", "classes.json", "training.json", "training.lock"} <= names
    assert [row["epoch"] for row in folder.history()] == [1, 2]
    assert folder.stages()[0]["finished"] and folder.checkpoints()[-1][0] == 2


def test_damaged_files_are_found_before_the_first_step(start_model, tmp_path, monkeypatch):
    def no_step(*args, **options):
        raise AssertionError("the training began")

    monkeypatch.setattr(fit, "fit", no_step)
    model = fresh(start_model, tmp_path)
    model.folder = ModelFolder(tmp_path / "tiny20260101T0000", "tiny")
    model.folder.write_stages([])
    model.folder.checkpoint(1).touch()
    model.epoch = 1
    for name in ("history.csv", "training.json"):
        (model.folder.path / name).write_text("loss\n1\n")
        with pytest.raises(ValueError, match=name):
            model.train(shapes(), epochs=2, verbose=0)
        (model.folder.path / name).unlink()
    with pytest.raises(AssertionError, match="began"):
        model.train(shapes(), epochs=2, verbose=0)
    assert not (model.folder.path / "training.lock").exists()


def test_batches_of_validation_follow_the_epoch(start_model, tmp_path, monkeypatch):
    """Not the number of validations in this process: a resumed run would see others."""
    seen = []

    def fake(model, config, batches, val_batches, *, callbacks, **options):
        for epoch in (5, 2):
            for callback in callbacks[:1]:
                callback.on_epoch_begin(epoch, {})
            seen.append(val_batches.plan(val_batches.epoch, 0))
        return keras.callbacks.History()

    monkeypatch.setattr(fit, "fit", fake)
    monkeypatch.setattr(start_model.config, "VALIDATION_STEPS", 1)
    val = ShapesDataset(11, 64, 64)
    for _ in range(2):
        fresh(start_model, tmp_path).train(shapes(), val, epochs=9, verbose=0, resume=False)
    assert seen[0] != seen[1] and seen[:2] == seen[2:]


def test_finished_calls_of_a_script_are_passed_over(start_model, tmp_path, monkeypatch):
    """Also a call that a callback ended early, whose epochs were not reached."""
    trained = []

    def fake(model, config, batches, val_batches, *, first_epoch, epochs, callbacks, **options):
        trained.append((first_epoch, epochs))
        return keras.callbacks.History()

    monkeypatch.setattr(fit, "fit", fake)
    monkeypatch.setattr(start_model, "read_checkpoint", lambda path: None)
    calls = [{"epochs": 9, "layers": "heads"}, {"epochs": 12, "layers": "all"}]
    model = fresh(start_model, tmp_path)
    described = [
        describe_call(model.config, shapes(), None, learning_rate=None, **c) for c in calls
    ]
    run = ModelFolder(tmp_path / "tiny20260101T0000", "tiny")
    run.describe(model.config, shapes().class_names)
    first = described[0] | {"start": 0, "finished": True, "ended": False, "end": 4}
    run.write_stages([first, described[1] | {"start": 4, "finished": False, "ended": False}])
    with h5py.File(run.checkpoint(6), "w"):
        pass
    for call in calls:
        model.train(shapes(), verbose=0, **call)
    assert trained == [(6, 12)] and model.folder.path == run.path


def test_weights_that_lack_a_layer_are_refused(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "model")
    with h5py.File(tmp_path / "model" / "weights.h5", "a") as file:
        names = [name for name in file.attrs["layer_names"] if name != b"mrcnn_bbox_fc"]
        file.attrs["layer_names"] = names
        del file["mrcnn_bbox_fc"]
    with pytest.raises(ValueError, match="weights.h5 is incomplete.*mrcnn_bbox_fc"):
        MaskRCNN.load(tmp_path / "model")
