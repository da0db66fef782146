"""`MaskRCNN` from end to end on tiny images: train, resume, save, load, detect."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from tiny import TinyConfig

from mrcnn.data.dataset import Dataset
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.folder import ModelFolder
from mrcnn.model import MaskRCNN


def shapes(count=8, seed=0):
    return ShapesDataset(count, 64, 64, seed=seed)


def rows(model):
    return [{k: v for k, v in row.items() if "loss" in k} for row in model.folder.history()]


@pytest.mark.slow
def test_same_seed_same_losses(tmp_path):
    """The losses of 20 steps agree to 1e-4."""
    histories = []
    for run in range(2):
        model = MaskRCNN("training", TinyConfig(), tmp_path / str(run))
        model.train(shapes(40), epochs=2, verbose=0)
        histories.append(rows(model))
    for first, second in zip(*histories, strict=True):
        assert first == pytest.approx(second, rel=1e-4)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    """Epochs, schedule and optimizer state resume, so the losses equal those of one long run."""
    config = TinyConfig(LR_SCHEDULE="cosine", WARMUP_STEPS=2, OPTIMIZER="adamw")
    whole = MaskRCNN("training", config, tmp_path / "whole")
    whole.train(shapes(), shapes(4, 1), epochs=4, verbose=0)

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    broken = MaskRCNN("training", config, tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        broken.train(shapes(), shapes(4, 1), epochs=4, custom_callbacks=[Stop()], verbose=0)
    assert [epoch for epoch, _ in broken.folder.checkpoints()] == [1, 2]

    again = MaskRCNN("training", config, tmp_path / "broken")
    again.train(shapes(), shapes(4, 1), epochs=4, verbose=0)
    assert again.log_dir == broken.log_dir
    resumed, unbroken = again.folder.history(), whole.folder.history()
    assert [row["epoch"] for row in resumed] == [1, 2, 3, 4]
    for a, b in zip(resumed, unbroken, strict=True):
        assert a == pytest.approx(b, rel=1e-3)


HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = """
import sys; sys.path[:0] = {tests!r}
from test_mask_rcnn import *
model = MaskRCNN("training", TinyConfig(), {runs!r})
model.train(shapes(), epochs=500, verbose=0)
"""


@pytest.mark.slow
def test_killed_training_resumes(tmp_path):
    """After a SIGKILL at any moment, no file is damaged and the same call resumes."""
    script = SCRIPT.format(tests=[HERE, os.path.dirname(HERE)], runs=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.time() + 120
    while time.time() < deadline:
        runs = ModelFolder.runs(tmp_path, "tiny")
        if runs and runs[0].checkpoints() and runs[0].checkpoints()[-1][0] >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = ModelFolder.runs(tmp_path, "tiny")[0].checkpoints()[-1][0]
    assert reached >= 3

    class Few(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = MaskRCNN("training", TinyConfig(), tmp_path)
    model.train(shapes(), epochs=500, custom_callbacks=[Few()], verbose=0)
    history = [row["epoch"] for row in model.folder.history()]
    assert history == list(range(1, reached + 2))


@pytest.mark.slow
def test_script_of_two_stages_resumes_in_the_second(tmp_path):
    """Trains the heads, then all layers. Killed in the second stage, the same script resumes."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def script(callbacks):
        model = MaskRCNN("training", TinyConfig(LR_SCHEDULE="cosine"), tmp_path)
        model.train(shapes(), epochs=1, layers="heads", verbose=0)
        model.train(shapes(), epochs=3, custom_callbacks=callbacks, verbose=0)
        return model

    with pytest.raises(KeyboardInterrupt):
        script([Stop()])
    model = script([])
    assert [row["epoch"] for row in model.folder.history()] == [1, 2, 3]
    assert [(s["start"], s["epochs"], s["finished"]) for s in model.folder.stages()] == [
        (0, 1, True),
        (1, 3, True),
    ]


@pytest.mark.slow
def test_a_checkpoint_by_its_path_resumes_its_run(tmp_path):
    """Old scripts resume by loading the last checkpoint and training for more epochs."""
    first = MaskRCNN("training", TinyConfig(), tmp_path)
    first.train(shapes(), epochs=1, verbose=0)
    second = MaskRCNN("training", TinyConfig(), tmp_path)
    second.load_weights(second.find_last(), by_name=True)
    assert (second.log_dir, second.epoch) == (first.log_dir, 1)
    second.train(shapes(), learning_rate=1e-4, epochs=2, verbose=0)
    assert [row["epoch"] for row in second.folder.history()] == [1, 2]
    elsewhere = MaskRCNN("training", TinyConfig(), tmp_path / "other")  # the first may be read-only
    elsewhere.load_weights(second.find_last(), by_name=True)
    assert elsewhere.epoch == 2 and elsewhere.folder.path.parent == tmp_path / "other"
    fresh = MaskRCNN("training", TinyConfig(), tmp_path)
    fresh.load_weights(fresh.find_last(), exclude=["mrcnn_class_logits"])
    assert fresh.epoch == 0 and fresh.log_dir != first.log_dir


def test_resume_true_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no interrupted run"):
        MaskRCNN("training", TinyConfig(), tmp_path).train(shapes(), resume=True, verbose=0)


def test_stages_train_what_they_say_and_epochs_are_absolute(tmp_path):
    model = MaskRCNN("training", TinyConfig(), tmp_path)
    before = {w.path: np.array(w) for w in model.network.training.weights}
    model.train(shapes(), epochs=1, layers="heads", verbose=0)
    changed = {
        w.path.split("/")[0]
        for w in model.network.training.weights
        if not np.array_equal(np.array(w), before[w.path])
    }
    assert not [name for name in changed if name.startswith(("res", "bn", "conv1"))]
    assert {"mrcnn_mask", "rpn_bbox_pred", "fpn_p2", "mrcnn_class_logits"} <= changed
    history = model.train(shapes(), epochs=3, layers="all", verbose=0)
    assert history.epoch == [1, 2] and model.epoch == 3


@pytest.mark.slow
def test_loss_does_not_double_on_a_second_train(tmp_path):
    model = MaskRCNN("training", TinyConfig(LEARNING_RATE=0.0), tmp_path)
    first = model.train(shapes(), epochs=1, verbose=0).history["loss"][0]
    second = model.train(shapes(), epochs=2, verbose=0).history["loss"][0]
    assert second < 1.5 * first


def test_total_is_the_weighted_sum(tmp_path):
    config = TinyConfig(LOSS_WEIGHTS={"mrcnn_mask_loss": 0.5})
    logs = MaskRCNN("training", config, tmp_path).train(shapes(), epochs=1, verbose=0).history
    parts = sum(v[0] for k, v in logs.items() if k.endswith("_loss"))
    assert logs["loss"][0] == pytest.approx(parts, rel=1e-4)


def test_saved_model_needs_nothing_else(tmp_path):
    model = MaskRCNN("training", TinyConfig(), tmp_path / "runs")
    model.train(shapes(), epochs=1, verbose=0)
    images = [shapes(2, seed=5).load_image(i) for i in range(2)]
    expected = model.detect(images)
    model.save(tmp_path / "saved")
    for folder in (tmp_path / "saved", model.log_dir):
        opened = MaskRCNN.load(folder)
        assert opened.class_names == ["BG", "square", "circle", "triangle"]
        for a, b in zip(expected, opened.detect(images), strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
    for name in ("config.json", "classes.json", "history.csv", "curves.png", "best.h5"):
        assert (model.folder.path / name).exists()


def test_validation_writes_ap_and_keeps_the_best(tmp_path):
    config = TinyConfig(EVALUATE_EVERY=1, CHECKPOINTS_TO_KEEP=1)
    model = MaskRCNN("training", config, tmp_path)
    model.train(shapes(), shapes(4, seed=1), epochs=2, verbose=0)
    history = model.folder.history()
    assert all({"val_loss", "val_mask_AP", "val_box_AP"} <= set(row) for row in history)
    assert [epoch for epoch, _ in model.folder.checkpoints()] == [2]


@pytest.mark.slow
def test_every_epoch_is_kept_and_the_newest_two_with_their_optimizers(tmp_path, caplog):
    """Old scripts expect every checkpoint. Two need the optimizer state."""
    model = MaskRCNN("training", TinyConfig(STEPS_PER_EPOCH=1), tmp_path)
    model.train(shapes(), epochs=3, verbose=0)
    kept = model.folder.checkpoints()
    assert [epoch for epoch, _ in kept] == [1, 2, 3]
    sizes = [path.stat().st_size for _, path in kept]
    assert sizes[0] < sizes[1] == sizes[2]  # the second one in case that the newest is damaged
    again = MaskRCNN("inference", TinyConfig())
    assert not again.load_weights(kept[0][1]).missing
    kept[1][1].write_bytes(b"damaged since")
    with caplog.at_level("WARNING", "mrcnn"):
        model.train(shapes(), epochs=4, verbose=0)
    assert "stays in an old checkpoint" in caplog.text and model.epoch == 4


def test_evaluation_on_fewer_classes_than_the_model_has():
    """Old scripts keep all 81 classes of COCO when they train on a part of its data."""
    model = MaskRCNN("inference", TinyConfig(NUM_CLASSES=81))
    found = model.evaluate(shapes(2))
    everything = model.detect([shapes(2).load_image(0)])[0]["class_ids"]
    assert (everything > 3).any() and found.num_images == 2
    model.class_names = list(shapes(2).class_names)  # as after training on that part
    assert model.evaluate(shapes(2)).bbox == found.bbox


def test_faster_rcnn_trains_on_boxes_only(tmp_path):
    class Boxes(ShapesDataset):
        def load_mask(self, image_id):
            raise AssertionError("there are no masks")

        def load_boxes(self, image_id):
            return super().load_boxes(image_id)

    class BoxSet(Dataset):
        def __init__(self):
            super().__init__()
            self.inner = shapes()
            for i, name in enumerate(self.inner.class_names[1:], 1):
                self.add_class("s", i, name)
            for i in range(8):
                self.add_image("s", i, None)
            self.prepare()

        def load_image(self, image_id):
            return self.inner.load_image(image_id)

        def load_boxes(self, image_id):
            return self.inner.load_boxes(image_id)

        def load_mask(self, image_id):
            raise AssertionError("there are no masks")

    model = MaskRCNN("training", TinyConfig(USE_MASKS=False), tmp_path)
    logs = model.train(BoxSet(), epochs=1, verbose=0).history
    assert "mrcnn_mask_loss" not in logs and np.isfinite(logs["loss"][0])
    (found,) = model.detect([shapes().load_image(0)])
    assert set(found) == {"rois", "class_ids", "scores", "boxes"}


def test_detect_any_number_of_any_size():
    model = MaskRCNN("inference", TinyConfig(IMAGE_RESIZE_MODE="pad64"))
    rng = np.random.default_rng(0)
    shapes_in = [(64, 64), (65, 130), (1, 1), (90, 64), (64, 64)]
    images = [rng.integers(0, 255, (*s, 3), dtype="uint8") for s in shapes_in]
    results = model.detect(images)
    for (height, width), image, result in zip(shapes_in, images, results, strict=True):
        n = len(result["scores"])
        assert result["rois"].dtype == np.int32 and result["rois"].shape == (n, 4)
        assert result["masks"].dtype == bool and result["masks"].shape == (height, width, n)
        assert (result["rois"] >= 0).all() and (result["rois"][:, 2:] <= [height, width]).all()
        alone = model.detect([image])[0]
        np.testing.assert_allclose(alone["scores"], result["scores"], atol=1e-4)
    assert model.detect([]) == []


@pytest.mark.slow
def test_100_images_of_mixed_sizes_take_one_graph_per_padded_shape_and_no_more_memory():
    model = MaskRCNN("inference", TinyConfig(IMAGE_RESIZE_MODE="pad64"))
    rng = np.random.default_rng(0)
    images, padded = [], set()
    for height, width in rng.integers(20, 128, (100, 2)):
        scale = max(1, 64 / min(height, width))
        padded.add(tuple(int(np.ceil(round(s * scale) / 64)) for s in (height, width)))
        images.append(rng.integers(0, 255, (height, width, 3), dtype="uint8"))
    assert len(padded) > 4
    peaks = []
    for _ in range(3):  # the first pass builds a graph for every shape
        for start in range(0, 100, 5):
            model.detect(images[start : start + int(rng.integers(1, 6))])
        for image in images:
            model.detect([image])
        assert model.predict.traces == len(padded)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB on Linux
    assert peaks[2] - peaks[1] < 8 * 1024


def test_compact_masks_equal_full_ones():
    from pycocotools import mask as coco_mask

    model = MaskRCNN("inference", TinyConfig())
    image = shapes().load_image(0)
    full, compact = model.detect([image])[0], model.detect([image], masks="rle")[0]
    assert len(compact["rles"]) == full["masks"].shape[-1] > 0
    for index, rle in enumerate(compact["rles"]):
        np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), full["masks"][..., index])


# --- Mistakes of users -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("image", "text"),
    [
        (np.full((8, 8, 3), np.nan), "NaN"),
        (np.random.default_rng(0).random((8, 8, 3)), r"0\.\.1"),
        (np.zeros((8, 8, 3, 1), "uint8"), "shape"),
        (np.zeros((0, 8, 3), "uint8"), "shape"),
    ],
)
def test_unusable_image_is_named(image, text):
    model = MaskRCNN("inference", TinyConfig())
    with pytest.raises(ValueError, match=r"images\[1\].*" + text):
        model.detect([np.zeros((8, 8, 3), "uint8"), image])


def test_class_count_that_disagrees_with_the_weights(tmp_path):
    MaskRCNN("inference", TinyConfig()).save(tmp_path)
    other = MaskRCNN("training", TinyConfig(NUM_CLASSES=3))
    with pytest.raises(ValueError, match="mrcnn_class_logits"):
        other.load_weights(tmp_path)
    report = other.load_weights(
        tmp_path, exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
    )
    assert "conv1" in report.loaded and "mrcnn_mask" not in report.loaded


def test_empty_validation_set_is_named(tmp_path):
    model = MaskRCNN("training", TinyConfig(), tmp_path)
    with pytest.raises(ValueError, match="(?i)val_dataset.*image"):
        model.train(shapes(), ShapesDataset(0, 64, 64), verbose=0)
    assert not (tmp_path).exists() or not list(tmp_path.iterdir())


def test_training_needs_training_mode(tmp_path):
    with pytest.raises(ValueError, match="training"):
        MaskRCNN("inference", TinyConfig(), tmp_path).train(shapes())
    with pytest.raises(ValueError, match="mode"):
        MaskRCNN("train", TinyConfig())


@pytest.mark.slow
def test_full_disk_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    from mrcnn.images import atomic as files

    model = MaskRCNN("training", TinyConfig(), tmp_path)
    flush = files._flush_to_disk

    def full(path):
        if str(path).endswith(".h5") and model.epoch >= 1:
            raise OSError(28, "No space left on device")
        return flush(path)

    monkeypatch.setattr(files, "_flush_to_disk", full)
    with pytest.raises(OSError, match="No space left"):
        model.train(shapes(), epochs=3, verbose=0)
    monkeypatch.undo()
    names = [p.name for p in model.folder.path.iterdir()]
    assert not [name for name in names if name.startswith(".")]
    again = MaskRCNN("training", TinyConfig(), tmp_path)
    again.train(shapes(), epochs=3, verbose=0)
    assert [row["epoch"] for row in again.folder.history()] == [1, 2, 3]


def test_not_a_model_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json"):
        MaskRCNN.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"NO_SUCH": 1}))
    with pytest.raises(ValueError, match="NO_SUCH"):
        MaskRCNN.load(tmp_path)


def test_layers_that_match_nothing(tmp_path):
    model = MaskRCNN("training", TinyConfig(), tmp_path)
    with pytest.raises(ValueError, match="layers='hed'"):
        model.train(shapes(), layers="hed", verbose=0)
