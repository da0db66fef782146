"""`load_image_gt` and `data_generator`, as notebooks call them."""

import itertools
import sys
import types

import numpy as np
import pytest
from tiny import TinyConfig

from mrcnn.compat.augment import augmenter
from mrcnn.compat.generator import compute_backbone_shapes, data_generator, load_image_gt
from mrcnn.data.augment import Augmenter
from mrcnn.data.dataset import Dataset
from mrcnn.data.synthetic.shapes import ShapesDataset


class SmallConfig(TinyConfig):
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    MAX_GT_INSTANCES = 3
    MINI_MASK_SHAPE = (56, 56)
    TRAIN_ROIS_PER_IMAGE = 16


CONFIG = SmallConfig()


@pytest.fixture(scope="module")
def shapes():
    return ShapesDataset(5, 96, 128, seed=3)


def test_load_image_gt(shapes):
    image, meta, class_ids, bbox, mask = load_image_gt(shapes, CONFIG, 0)
    n = len(class_ids)
    assert image.shape == (128, 128, 3) and image.dtype == np.uint8
    assert meta.shape == (16,) and meta[1:4].tolist() == [96, 128, 3] and meta[12:].all()
    assert meta[7:11].tolist() == [16, 0, 112, 128]
    assert bbox.shape == (n, 4) and bbox.dtype == np.int32
    assert mask.shape == (128, 128, n) and mask.dtype == bool
    np.testing.assert_array_equal(mask[16:112], shapes.load_mask(0)[0])
    mini = load_image_gt(shapes, CONFIG, 0, use_mini_mask=True)[4]
    assert mini.shape == (56, 56, n) and mini.dtype == bool


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmenter(fliplr=1),
        lambda image, masks: (image[:, ::-1], masks[:, ::-1]),
    ],
)
def test_augmentation(shapes, augmentation):
    plain = load_image_gt(shapes, CONFIG, 0)
    image, _, _, bbox, mask = load_image_gt(shapes, CONFIG, 0, augmentation=augmentation)
    np.testing.assert_array_equal(image, plain[0][:, ::-1])
    np.testing.assert_array_equal(mask, plain[4][:, ::-1])
    np.testing.assert_array_equal(bbox[:, [1, 3]], 128 - plain[3][:, [3, 1]])


def test_the_deprecated_augment_flips_half(shapes):
    plain = load_image_gt(shapes, CONFIG, 0)[0]
    images = [load_image_gt(shapes, CONFIG, 0, augment=True)[0] for _ in range(20)]
    flipped = sum((image == plain[:, ::-1]).all() for image in images)
    assert 0 < flipped < 20
    assert all((image == plain).all() or (image == plain[:, ::-1]).all() for image in images)


class Fliplr:
    """What imgaug's augmenters are to a caller."""

    def to_deterministic(self):
        return self

    def augment_image(self, image, hooks=None):
        assert image.shape[-1] <= 4
        if hooks is not None and not hooks.activator([image], self, [], True):
            return image
        return image[:, ::-1]


class Multiply(Fliplr):
    """Changes values, not places: nothing for masks."""

    def augment_image(self, image, hooks=None):
        if hooks is not None and not hooks.activator([image], self, [], True):
            return image
        return image // 2


class Smaller(Fliplr):
    def augment_image(self, image, hooks=None):
        return image[1:]


@pytest.fixture
def imgaug(monkeypatch):
    module = types.SimpleNamespace(HooksImages=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "imgaug", module)


def test_imgaug_objects(imgaug):
    rng = np.random.default_rng(0)
    image, masks = rng.integers(0, 255, (8, 9, 3), np.uint8), rng.random((8, 9, 130)) > 0.5
    new_image, new_masks = augmenter(Fliplr())(image, masks)
    np.testing.assert_array_equal(new_image, image[:, ::-1])
    np.testing.assert_array_equal(new_masks, masks[:, ::-1])
    assert new_masks.dtype == bool
    new_image, new_masks = augmenter(Multiply())(image, masks)
    np.testing.assert_array_equal(new_image, image // 2)
    np.testing.assert_array_equal(new_masks, masks)
    assert augmenter(Fliplr())(image, masks[..., :0])[1].shape == (8, 9, 0)
    with pytest.raises(ValueError, match=r"\(8, 9, 3\) to \(7, 9, 3\)"):
        augmenter(Smaller())(image, masks)


def test_backbone_shapes():
    shapes = compute_backbone_shapes(CONFIG, (1024, 1000, 3))
    assert shapes.tolist() == [[256, 250], [128, 125], [64, 63], [32, 32], [16, 16]]


# --- The generator -------------------------------------------------------------------------------
def test_inputs(shapes):
    inputs, outputs = next(data_generator(shapes, CONFIG, batch_size=2))
    anchors = sum(3 * (128 // stride) ** 2 for stride in (4, 8, 16, 32, 64))
    assert outputs == []
    assert [array.shape for array in inputs] == [
        (2, 128, 128, 3), (2, 16), (2, anchors, 1), (2, 64, 4), (2, 3), (2, 3, 4), (2, 56, 56, 3),
    ]  # fmt: skip
    assert inputs[0].dtype == np.float32 and inputs[6].dtype == bool
    assert ((inputs[4] > 0).sum(axis=1) > 0).all() and (inputs[2] == 1).any(axis=1).all()


def test_random_rois_and_targets(shapes):
    generator = data_generator(
        shapes, CONFIG, shuffle=True, random_rois=4, batch_size=4, detection_targets=True
    )
    inputs, outputs = next(generator)
    assert inputs[7].shape == (4, 4, 4) and inputs[8].shape == (4, 16, 4)
    assert [array.shape for array in outputs] == [(4, 16, 1), (4, 16, 4, 4), (4, 16, 28, 28, 4)]


def test_every_image_once_a_pass(shapes):
    """No image is repeated or left out, and a batch may straddle two passes."""
    for shuffle in (False, True):
        batches = itertools.islice(data_generator(shapes, CONFIG, shuffle, batch_size=2), 5)
        ids = [int(row[0]) for inputs, _ in batches for row in inputs[1]]
        assert sorted(ids[:5]) == sorted(ids[5:]) == [0, 1, 2, 3, 4]
        assert shuffle or ids[:5] == [0, 1, 2, 3, 4]


def test_sources_that_are_never_augmented(shapes):
    def fail(image, masks):
        raise AssertionError("augmented")

    source = shapes.image_info[0]["source"]
    generator = data_generator(shapes, CONFIG, augmentation=fail, no_augmentation_sources=[source])
    next(generator)


class Broken(Dataset):
    """One good image among broken ones, or none with an object."""

    def __init__(self, good):
        super().__init__()
        self.good = good
        self.add_class("x", 1, "thing")
        for index in range(3):
            self.add_image("x", index, None)
        self.prepare()

    def load_image(self, image_id):
        if self.good and image_id:
            raise OSError("no such image")
        return np.zeros((128, 128, 3), np.uint8)

    def load_mask(self, image_id):
        masks = np.zeros((128, 128, int(self.good)), bool)
        masks[5:50, 5:50] = True
        return masks, np.ones(int(self.good), np.int32)


def test_a_broken_image_is_named_and_the_sixth_raises(caplog):
    generator = data_generator(Broken(good=True), CONFIG, shuffle=False)
    with pytest.raises(OSError, match="no such image"):
        for _ in range(10):
            next(generator)
    assert caplog.text.count("Error processing image {'id': 1") == 3


def test_a_data_set_without_objects_does_not_hang():
    with pytest.raises(ValueError, match="no image with an instance"):
        next(data_generator(Broken(good=False), CONFIG))
