"""Subclasses of the old class that bring their own `train`, as many scripts do."""

import os

import keras
import numpy as np
import pytest
from tiny import TinyConfig

import mrcnn.model as modellib
from mrcnn import batch
from mrcnn.data.synthetic.shapes import ShapesDataset


class OwnTrain(modellib.MaskRCNN):
    """The body of the old `train`, through `fit_generator` or `fit`."""

    method = "fit_generator"

    def train(self, train_dataset, val_dataset, learning_rate, epochs, layers):
        layers = {"heads": r"(mrcnn\_.*)|(rpn\_.*)|(fpn\_.*)"}.get(layers, layers)
        size = self.config.BATCH_SIZE
        train_generator = modellib.data_generator(
            train_dataset, self.config, shuffle=True, batch_size=size
        )
        val_generator = modellib.data_generator(
            val_dataset, self.config, shuffle=True, batch_size=size
        )
        if not os.path.exists(self.log_dir):
            os.makedirs(self.log_dir)
        callbacks = [
            keras.callbacks.TensorBoard(
                log_dir=self.log_dir, histogram_freq=0, write_graph=False, write_images=False
            ),
            keras.callbacks.ModelCheckpoint(
                self.checkpoint_path, verbose=0, save_weights_only=True
            ),
        ]
        self.set_trainable(layers, verbose=0)
        self.compile(learning_rate, self.config.LEARNING_MOMENTUM)
        history = getattr(self.keras_model, self.method)(
            train_generator,
            initial_epoch=self.epoch,
            epochs=epochs,
            steps_per_epoch=self.config.STEPS_PER_EPOCH,
            callbacks=callbacks,
            validation_data=val_generator,
            validation_steps=self.config.VALIDATION_STEPS,
            max_queue_size=100,
            workers=modellib.multiprocessing.cpu_count(),
            use_multiprocessing=True,
            verbose=0,
        )
        self.epoch = max(self.epoch, epochs)
        return history


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fit_generator", "fit"])
@pytest.mark.parametrize("numerics", ["auto", "matterport"])
def test_the_old_body_trains(tmp_path, method, numerics):
    config = TinyConfig(NUMERICS=numerics, STEPS_PER_EPOCH=2, VALIDATION_STEPS=1)
    model = OwnTrain("training", config, str(tmp_path))
    model.method = method
    weights = {w.path: np.array(w) for w in model.keras_model.weights}
    data = ShapesDataset(8, 64, 64)
    logs = model.train(data, data, 1e-3, epochs=1, layers="heads").history
    assert {"loss", "val_loss", "mrcnn_mask_loss", "val_rpn_class_loss"} <= logs.keys()
    assert all(np.isfinite(value).all() for value in logs.values())
    changed = {w.path for w in model.keras_model.weights if (np.array(w) != weights[w.path]).any()}
    expected = {"fpn_", "rpn_", "mrcnn_class_"}
    if logs["mrcnn_mask_loss"][0] > 0:  # Matterport adds no boxes of objects to the proposals
        expected |= {"mrcnn_mask"}
    assert not [name for name in expected if not any(name in path for path in changed)]
    assert not any(path.startswith(("res", "conv1")) for path in changed)

    path = model.find_last()
    assert path == os.path.join(model.log_dir, "mask_rcnn_tiny_0001.h5")
    other = OwnTrain("inference", TinyConfig(NUMERICS=numerics), str(tmp_path))
    report = other.load_weights(path, by_name=True)
    assert not report.missing
    image = data.load_image(0)
    for found, expected in zip(other.detect([image]), model.detect([image]), strict=True):
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)

    again = OwnTrain("training", config, str(tmp_path))  # the script runs a second time
    again.load_weights(again.find_last(), by_name=True)
    assert again.epoch == 1 and again.log_dir == model.log_dir
    again.train(data, data, 1e-3, epochs=2, layers="all")
    assert again.find_last().endswith("_0002.h5")


def test_the_generator_says_what_the_batches_of_training_say():
    """Where nothing is random: images, windows, classes, boxes and masks."""
    from mrcnn.compat.generator import new_inputs
    from mrcnn.data.batches import Batches
    from mrcnn.network.mask_rcnn import training_specs

    config = TinyConfig(NUMERICS="matterport")
    config = modellib.MaskRCNN("inference", config).config
    data = ShapesDataset(4, 48, 40)
    inputs, _ = next(modellib.data_generator(data, config, shuffle=False, batch_size=4))
    found = new_inputs(inputs, config)
    expected = Batches(data, config, None, shuffle=False, seed=0)[0]
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert found.keys() == expected.keys() == training_specs(config).keys()
    np.testing.assert_allclose(found[batch.IMAGE], expected[batch.IMAGE], atol=1e-4)
    for name in found:
        if "window" in name or "class" in name:
            np.testing.assert_array_equal(found[name], expected[name])
    boxes = next(name for name in found if "boxes" in name)
    assert np.abs(found[boxes] - expected[boxes]).max() <= 2  # masks are scaled by another rule


def test_other_data_are_told():
    model = modellib.MaskRCNN("training", TinyConfig())
    model.compile(1e-3, 0.9)
    with pytest.raises(Exception, match="seven inputs"):
        model.keras_model.fit(iter([([1, 2], [])]), steps_per_epoch=1, verbose=0)


NAMES = (
    "multiprocessing datetime math os re random logging OrderedDict keras KE KL KM K tf np scipy "
    "skimage utils log"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_names_that_scripts_reach_through_modellib(name):
    assert getattr(modellib, name)
    if name == "KE":
        assert modellib.KE.Layer is keras.layers.Layer
