"""Subclasses of the old class that bring their own train(), as many projects do."""

import keras
import numpy as np
import pytest
from tiny import TinyConfig

import mrcnn.model as modellib
from mrcnn.data.synthetic.shapes import ShapesDataset


class OwnConfig(TinyConfig):
    NAME = "own"
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 2
    VALIDATION_STEPS = 1


class OwnModel(modellib.MaskRCNN):
    """With the training loop that projects copied and changed."""

    method = "fit"

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers):
        layers = {"heads": r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)", "all": ".*"}.get(layers, layers)
        train_generator = modellib.data_generator(
            train_dataset, self.config, shuffle=True, batch_size=self.config.BATCH_SIZE
        )
        val_generator = modellib.data_generator(
            val_dataset, self.config, shuffle=True, batch_size=self.config.BATCH_SIZE
        )
        modellib.os.makedirs(self.log_dir, exist_ok=True)
        callbacks = [
            keras.callbacks.ModelCheckpoint(
                self.checkpoint_path, verbose=0, save_weights_only=True
            ),
        ]
        modellib.log(f"Starting at epoch {self.epoch}. LR={learning_rate}")
        self.set_trainable(layers, verbose=0)
        self.compile(learning_rate, self.config.LEARNING_MOMENTUM)
        workers = modellib.multiprocessing.cpu_count()
        history = getattr(self.keras_model, self.method)(
            train_generator,
            initial_epoch=self.epoch,
            epochs=epochs,
            steps_per_epoch=self.config.STEPS_PER_EPOCH,
            callbacks=callbacks,
            validation_data=val_generator,
            validation_steps=self.config.VALIDATION_STEPS,
            max_queue_size=100,
            workers=workers,
            use_multiprocessing=True,
        )
        self.epoch = max(self.epoch, epochs)
        return history


@pytest.mark.parametrize("numerics", ["standard", "matterport"])
@pytest.mark.parametrize("method", ["fit", "fit_generator"])
def test_their_loop_trains(method, numerics, tmp_path):
    backbone = "resnet50" if numerics == "matterport" else "resnet18"
    config = OwnConfig(NUMERICS=numerics, BACKBONE=backbone)
    model = OwnModel(mode="training", config=config, model_dir=str(tmp_path))
    model.method = method
    before = [np.array(w) for w in model.keras_model.trainable_weights]
    history = model.train(
        ShapesDataset(6, 64, 64), ShapesDataset(2, 64, 64, seed=1), 1e-3, 1, "all"
    )
    assert np.isfinite(history.history["loss"][0]) and "val_loss" in history.history
    after = model.keras_model.trainable_weights
    assert any((a != np.array(b)).any() for a, b in zip(before, after, strict=True))
    path = model.find_last()
    assert path.endswith("mask_rcnn_own_0001.h5")
    again = modellib.MaskRCNN("inference", OwnConfig(NUMERICS=numerics, BACKBONE=backbone), "x")
    assert not again.load_weights(path, by_name=True).missing


def test_the_batch_of_the_generator_is_that_of_the_pipeline():
    """Both ways to train: the same arrays reach the graph."""
    from mrcnn.compat.generator import data_generator, to_batch
    from mrcnn.data.batches import Batches

    config = OwnConfig(NUMERICS="matterport", IMAGES_PER_GPU=1)
    config.resolve()
    data = ShapesDataset(1, 64, 64)
    inputs, _ = next(data_generator(data, config, shuffle=False, batch_size=1))
    (old,), new = to_batch(inputs, config), Batches(data, config, shuffle=False)[0]
    assert set(old) == set(new)
    for name, value in new.items():
        assert old[name].shape == value.shape and old[name].dtype == value.dtype, name
    np.testing.assert_allclose(old["input_image"], new["input_image"], atol=1e-3)
    np.testing.assert_array_equal(old["input_window"], new["input_window"])
    np.testing.assert_array_equal(old["input_active_class_ids"], new["input_active_class_ids"])
    np.testing.assert_array_equal(old["input_gt_class_ids"], new["input_gt_class_ids"])
    np.testing.assert_array_equal(old["input_gt_boxes"], new["input_gt_boxes"])


@pytest.mark.parametrize(
    "name",
    ["os", "re", "math", "random", "logging", "datetime", "multiprocessing", "OrderedDict", "np",
     "tf", "keras", "K", "KL", "KM", "KE", "utils", "log"],
)  # fmt: skip
def test_names_that_scripts_reach_through_the_module(name):
    assert getattr(modellib, name) is not None
