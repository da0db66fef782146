"""Random numbers of the process: ours are ours, and the user's stay as they are."""

import random

import keras
import numpy as np
import pytest
from tiny import TinyConfig

import mrcnn
from mrcnn import visualize
from mrcnn.data.augment import Augmenter
from mrcnn.data.sample import load_sample
from mrcnn.data.split import split
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.model import MaskRCNN as OldMaskRCNN

CONFIG = TinyConfig(AUGMENTATION={"fliplr": 0.5}, IMAGES_PER_GPU=1)


def states():
    """Returns what the next random numbers of a user would be, without drawing them."""
    keras_state = keras.src.random.seed_generator.global_seed_generator().state
    numpy_state = np.random.get_state()
    return (
        random.getstate(),
        numpy_state[1].tolist(),
        numpy_state[2:],
        keras.ops.convert_to_numpy(keras_state).tolist(),
    )


def kernels(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.keras_model.trainable_weights]


def synthetic():
    shapes = ShapesDataset(4, 64, 64)
    split(shapes, 0.5, 0)
    load_sample(shapes, CONFIG, 1, Augmenter(fliplr=0.5), np.random.default_rng(0))


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: mrcnn.MaskRCNN("training", CONFIG),
        lambda folder: mrcnn.MaskRCNN("inference", TinyConfig(SEED=None)),
        lambda folder: OldMaskRCNN(mode="inference", config=CONFIG, model_dir="logs"),
        lambda folder: OldMaskRCNN("training", TinyConfig(NUMERICS="matterport"), "logs"),
        lambda folder: mrcnn.MaskRCNN.load(folder),
        lambda folder: mrcnn.MaskRCNN.from_weights(folder, "training"),
        lambda folder: mrcnn.MaskRCNN("training", CONFIG).detect([np.zeros((64, 64, 3), "uint8")]),
        lambda folder: mrcnn.MaskRCNN.demo(),
        lambda folder: synthetic(),
        lambda folder: visualize.random_colors(5),
    ],
)
def test_the_random_numbers_of_the_user_stay_as_they_are(use, tiny_folder):
    random.seed(5)
    np.random.seed(5)
    before = states()
    use(tiny_folder)
    assert states() == before


def test_a_seed_gives_the_same_weights_whatever_the_user_drew():
    first = kernels(mrcnn.MaskRCNN("training", CONFIG))
    random.random()
    np.random.rand()
    again = kernels(mrcnn.MaskRCNN("training", CONFIG))
    other = kernels(mrcnn.MaskRCNN("training", TinyConfig(SEED=1)))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_without_a_seed_weights_differ():
    random.seed(0)
    first = kernels(mrcnn.MaskRCNN("training", TinyConfig(SEED=None)))
    random.seed(0)
    other = kernels(mrcnn.MaskRCNN("training", TinyConfig(SEED=None)))
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_training_returns_the_random_numbers_of_the_user(tmp_path):
    """An augmentation of the user draws from the global generators, which SEED seeds meanwhile."""
    drawn = []

    def augmentation(image, masks):
        drawn.append((random.random(), np.random.rand()))
        return image, masks

    config = TinyConfig(DATA_WORKERS=1, IMAGES_PER_GPU=2)
    model = mrcnn.MaskRCNN("training", config, tmp_path)
    shapes = ShapesDataset(4, 64, 64)
    runs = []
    for epochs in (1, 2):
        random.seed(epochs)
        np.random.seed(epochs)
        before = states()[:3]
        model.train(shapes, epochs=epochs, augmentation=augmentation, verbose=0)
        assert states()[:3] == before
        runs.append(sorted(drawn[:4]))
        drawn.clear()
    assert runs[0] == runs[1]
