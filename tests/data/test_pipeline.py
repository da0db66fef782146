from concurrent.futures import ThreadPoolExecutor

import cv2
import keras
import numpy as np
import pytest

from mrcnn.batch import training_specs
from mrcnn.config import Config
from mrcnn.data.augment import Augmenter
from mrcnn.data.batches import Batches
from mrcnn.data.check import check_dataset
from mrcnn.data.dataset import Dataset
from mrcnn.data.formats.label_images import LabelImageDataset
from mrcnn.data.sample import load_sample
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.images.masks import minimize_crop


class Made(Dataset):
    """A dataset of given images and masks."""

    def __init__(self, *samples, classes=1):
        super().__init__()
        self.samples = samples
        for class_id in range(1, classes + 1):
            self.add_class("made", class_id, f"c{class_id}")
        for index in range(len(samples)):
            self.add_image("made", index, None)
        self.prepare()

    def image_reference(self, image_id):
        return f"image-{image_id}"

    def load_image(self, image_id):
        return self.samples[image_id][0]

    def load_mask(self, image_id):
        return self.samples[image_id][1:]


class Numbered(Made):
    """Images whose gray level is their number, without objects."""

    def __init__(self, count):
        empty = (np.zeros((16, 16, 0), bool), np.zeros(0, np.int32))
        super().__init__(*((np.full((16, 16, 3), n, np.uint8), *empty) for n in range(count)))


def config(**changes):
    values = {"NUM_CLASSES": 2, "IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64, "IMAGES_PER_GPU": 2}
    return Config(**{**values, "MAX_GT_INSTANCES": 8, "MINI_MASK_SHAPE": (14, 14), **changes})


def blank(height=64, width=64):
    return np.zeros((height, width, 3), np.uint8)


def numbers(batches, epoch):
    """Returns the images of a Numbered set that the batches of an epoch hold."""
    rows = [batches.get(epoch, index)["input_image"][:, 0, 0, 0] for index in range(len(batches))]
    return np.concatenate(rows).astype(int).tolist()


def same(first, second):
    return set(first) == set(second) and all(np.array_equal(first[k], second[k]) for k in first)


# --- Contents of a sample ------------------------------------------------------------------------
@pytest.mark.parametrize("mini", [True, False])
@pytest.mark.parametrize("use_masks", [True, False])
@pytest.mark.parametrize("mode", ["square", "crop", "pad64", "none"])
def test_arrays_are_as_documented(mini, use_masks, mode):
    settings = config(
        NUM_CLASSES=4, USE_MINI_MASK=mini, USE_MASKS=use_masks, IMAGE_RESIZE_MODE=mode
    )
    sample = load_sample(ShapesDataset(1, 60, 50), settings, 0)
    mask_shape = (14, 14) if mini else (64, 64)
    specs = training_specs((64, 64, 3), 8, mask_shape if use_masks else None)
    if mode in ("pad64", "none"):
        specs["input_image"] = specs["input_image"]._replace(shape=sample["input_image"].shape)
        if use_masks and not mini:
            mask_shape = sample["input_image"].shape[:2]
            specs["input_gt_masks"] = specs["input_gt_masks"]._replace(shape=(8, *mask_shape))
    assert {k: (v.shape, v.dtype.name) for k, v in sample.items()} == {
        k: tuple(v) for k, v in specs.items()
    }
    assert 0 <= sample["input_image"].min() and sample["input_image"].max() <= 255


def test_a_sample_without_scaling_is_exact():
    dataset = ShapesDataset(5, 64, 64)
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        sample = load_sample(dataset, config(NUM_CLASSES=4), image_id)
        n = len(class_ids)
        np.testing.assert_array_equal(sample["input_image"], dataset.load_image(image_id))
        np.testing.assert_array_equal(sample["input_gt_class_ids"][:n], class_ids)
        assert not sample["input_gt_class_ids"][n:].any() and not sample["input_gt_boxes"][n:].any()
        np.testing.assert_array_equal(sample["input_gt_boxes"][:n], dataset.load_boxes(image_id)[0])
        for index, (y1, x1, y2, x2) in enumerate(sample["input_gt_boxes"][:n].astype(int)):
            mini = minimize_crop(masks[y1:y2, x1:x2, index], (14, 14))
            np.testing.assert_array_equal(sample["input_gt_masks"][index], mini)
        full = load_sample(dataset, config(NUM_CLASSES=4, USE_MINI_MASK=False), image_id)
        np.testing.assert_array_equal(full["input_gt_masks"][:n], np.moveaxis(masks, -1, 0) * 255)


def test_padding_is_the_mean_pixel():
    sample = load_sample(ShapesDataset(1, 32, 64), config(NUM_CLASSES=4), 0)
    np.testing.assert_allclose(sample["input_image"][40, 3], Config.MEAN_PIXEL, rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 129, 300])
@pytest.mark.parametrize("by_label", [True, False])
def test_any_number_of_instances(tmp_path, count, by_label):
    label = np.zeros((64, 70), np.uint16)
    places = np.arange(count)
    label[places // 30 * 3, places % 30 * 2] = places + 1  # one pixel each
    for folder, image in (("images", label * 0), ("labels", label)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), image)
    dataset = LabelImageDataset.from_folders(tmp_path / "images", tmp_path / "labels")
    settings = config(IMAGE_RESIZE_MODE="none", MAX_GT_INSTANCES=300)
    augmentation = None if by_label else (lambda image, masks: (image, masks))
    sample = load_sample(dataset, settings, 0, augmentation)
    assert (sample["input_gt_class_ids"] == 1).sum() == count
    sides = sample["input_gt_boxes"][:count, 2:] - sample["input_gt_boxes"][:count, :2]
    assert (sides == 1).all() and (sample["input_gt_masks"][:count] == 255).all()
    few = load_sample(dataset, config(IMAGE_RESIZE_MODE="none"), 0, augmentation)
    assert (few["input_gt_class_ids"] == 1).sum() == min(count, 8)
    rows = {tuple(box) for box in few["input_gt_boxes"][: min(count, 8)]}
    assert rows <= {tuple(box) for box in sample["input_gt_boxes"]} and len(rows) == min(count, 8)


def test_label_path_equals_mask_path(tmp_path):
    rng = np.random.default_rng(0)
    label = np.zeros((90, 110), np.uint16)
    for number in range(1, 40):
        y, x = rng.integers(0, 90), rng.integers(0, 110)
        label[y : y + 9, x : x + 6] = number * 3
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), label)
    dataset = LabelImageDataset.from_folders(tmp_path / "images", tmp_path / "labels")
    plain = Made((dataset.load_image(0), *dataset.load_mask(0)))
    settings = config(IMAGE_RESIZE_MODE="crop", MAX_GT_INSTANCES=50)
    augmenter = Augmenter(0.5, 0.5, 0.75)
    for seed in range(6):
        a = load_sample(dataset, settings, 0, augmenter, np.random.default_rng(seed))
        b = load_sample(plain, settings, 0, augmenter, np.random.default_rng(seed))
        assert same(a, b)


def test_empty_masks_are_dropped_with_their_ids():
    masks = np.zeros((64, 64, 3), np.uint8)
    masks[5:9, 5:9, 1] = 1
    dataset = Made((blank(), masks, np.array([1, 2, 3])), classes=3)
    sample = load_sample(dataset, config(NUM_CLASSES=4), 0)
    assert sample["input_gt_class_ids"].tolist() == [2] + [0] * 7
    assert sample["input_gt_boxes"][0].tolist() == [5, 5, 9, 9]


def test_crowds_keep_their_sign():
    dataset = Made((blank(), np.ones((64, 64, 1), bool), np.array([-1])))
    assert load_sample(dataset, config(), 0)["input_gt_class_ids"][0] == -1


def test_image_without_objects_and_the_default_load_mask():
    dataset = Made((blank(), np.empty([0, 0, 0]), np.empty([0], np.int32)))
    sample = load_sample(dataset, config(), 0, Augmenter(1, 1, 1, (0.5, 2)))
    assert not sample["input_gt_class_ids"].any() and not sample["input_gt_masks"].any()


def test_boxes_only_need_no_masks():
    class Boxes(Made):
        def load_boxes(self, image_id):
            return np.array([[2, 3, 10, 20]], np.float32), np.array([1])

        def load_mask(self, image_id):
            raise RuntimeError("must not be called")

    settings = config(USE_MASKS=False)
    sample = load_sample(Boxes((blank(),)), settings, 0)
    assert "input_gt_masks" not in sample and sample["input_gt_boxes"][0].tolist() == [2, 3, 10, 20]
    flipped = load_sample(Boxes((blank(),)), settings, 0, Augmenter(fliplr=1))
    assert flipped["input_gt_boxes"][0].tolist() == [2, 44, 10, 61]


def test_any_callable_augments():
    masks = np.zeros((64, 64, 1), bool)
    masks[5:9, 0:4] = True
    dataset = Made((blank(), masks, np.array([1])))
    sample = load_sample(dataset, config(), 0, lambda image, m: (image[:, ::-1], m[:, ::-1]))
    assert sample["input_gt_boxes"][0].tolist() == [5, 60, 9, 64]
    with pytest.raises(ValueError, match="image-0.*augmentation"):
        load_sample(dataset, config(), 0, lambda image, m: (image[:9], m))


def test_stretch_and_channels():
    gray = np.linspace(1000, 2000, 64 * 64).reshape(64, 64).astype(np.uint16)
    dataset = Made((gray, np.zeros((64, 64, 0), bool), np.zeros(0)))
    sample = load_sample(dataset, config(IMAGE_STRETCH=(0, 100)), 0)
    assert sample["input_image"].min() == 0 and sample["input_image"].max() == pytest.approx(255)


def test_an_empty_mask_of_class_0_is_no_object():
    """A dataset that returns images without objects as often copied scripts do."""
    dataset = Made((blank(), np.zeros((64, 64, 1), bool), np.zeros(1, np.int32)))
    check_dataset(dataset, config())
    assert not load_sample(dataset, config(), 0)["input_gt_class_ids"].any()


# --- Bad input -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "image, masks, class_ids, words",
    [
        (blank(), np.ones((32, 64, 1), bool), [1], r"image-0.*\(32, 64, 1\).*64x64"),
        (blank(), np.ones((64, 64), bool), [1], r"image-0.*\(64, 64\)"),
        (blank(), np.ones((64, 64, 2), bool), [1], "image-0.*2 masks but 1 class ids"),
        (blank(), np.ones((64, 64, 1), bool), [2], "image-0.*class id 2.*NUM_CLASSES = 2.*Set"),
        (blank(), np.ones((64, 64, 1), bool), [-2], "image-0.*class id -2"),
        (blank(), np.ones((64, 64, 1), bool), [0], "image-0.*class id 0"),
        (blank() * np.nan, np.zeros((64, 64, 0)), [], "image-0.*NaN"),
        (blank() + 0.5, np.zeros((64, 64, 0)), [], "image-0.*multiply by 255"),
        (np.zeros((64, 64, 5), np.uint8), np.zeros((64, 64, 0)), [], "image-0.*5 channels"),
    ],
)
def test_bad_samples_are_named(image, masks, class_ids, words):
    dataset = Made((image, masks, np.array(class_ids, np.int32)))
    for call in (
        lambda: load_sample(dataset, config(), 0),
        lambda: check_dataset(dataset, config()),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_check_dataset(tmp_path):
    check_dataset(ShapesDataset(2), config(NUM_CLASSES=4))
    check_dataset(ShapesDataset(2), config(NUM_CLASSES=9))  # a finetuned model may know more
    with pytest.raises(ValueError, match="4 classes.*NUM_CLASSES = 2.*set NUM_CLASSES = 4"):
        check_dataset(ShapesDataset(2), config())
    with pytest.raises(ValueError, match="empty"):
        check_dataset(ShapesDataset(0), config(NUM_CLASSES=4))
    with pytest.raises(ValueError, match="empty"):
        Batches(ShapesDataset(0), config(NUM_CLASSES=4))
    with pytest.raises(ValueError, match="prepare"):
        check_dataset(Dataset(), config())
    files = Dataset()
    for index in range(7):
        files.add_image("s", index, str(tmp_path / f"{index}.png"))
    files.prepare()
    with pytest.raises(FileNotFoundError, match=r"7 of 7 .*0\.png.*4\.png, \.\.\."):
        check_dataset(files, config())
    for index in range(7):
        (tmp_path / f"{index}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"0\.png.*empty"):
        check_dataset(files, config())


def test_a_damaged_file_anywhere_stops_before_the_first_step(tmp_path):
    files = Dataset()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for index, suffix in enumerate(["png", "jpg", "bmp"]):
        path = tmp_path / f"{index}.{suffix}"
        cv2.imwrite(str(path), noise)
        files.add_image("s", index, str(path))
    files.prepare()
    check_dataset(files, config())
    for name in ("1.jpg", "2.bmp"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2] if name == "1.jpg" else b"text")
        with pytest.raises(ValueError, match=name):
            check_dataset(files, config())
        (tmp_path / name).write_bytes(whole)


def test_a_label_image_of_another_size_is_refused():
    class Labeled(Made):
        def load_label(self, image_id):
            return np.ones((32, 32), np.int32), np.ones(1, np.int32)

    dataset = Labeled((blank(), np.ones((64, 64, 1), bool), [1]))
    with pytest.raises(ValueError, match="image-0.*label image is 32x32.*image is 64x64"):
        load_sample(dataset, config(), 0)


def test_shapes_that_do_not_stack():
    empty = (np.zeros((0, 0, 0)), np.zeros(0, np.int32))
    dataset = Made((blank(), *empty), (blank(100, 64), *empty))
    with pytest.raises(ValueError, match="IMAGE_RESIZE_MODE = 'pad64'.*IMAGES_PER_GPU = 1"):
        Batches(dataset, config(IMAGE_RESIZE_MODE="pad64"))[0]


def test_sources_that_are_never_augmented():
    dataset = ShapesDataset(4, 64, 64)
    plain = Batches(dataset, config(NUM_CLASSES=4))[0]["input_image"]
    source = dataset.image_info[0]["source"]
    flip = Augmenter(fliplr=1)
    for sources, equal in (([source], True), (["another"], False)):
        batches = Batches(dataset, config(NUM_CLASSES=4), flip, plain_sources=sources)
        assert (batches[0]["input_image"] == plain).all() == equal


# --- Order ---------------------------------------------------------------------------------------
def test_every_image_exactly_once_per_epoch():
    batches = Batches(Numbered(9), config(IMAGES_PER_GPU=4))
    assert len(batches) == 3
    epochs = [numbers(batches, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(9)) for order in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert batches.get(0, 2)["input_image"].shape[0] == 1  # the rest
    assert numbers(Batches(Numbered(9), config(), shuffle=False), 5) == list(range(9))
    dropped = Batches(Numbered(9), config(IMAGES_PER_GPU=4), drop_remainder=True)
    assert len(dropped) == 2 and len(set(numbers(dropped, 0))) == 8
    with pytest.raises(ValueError, match="drop_remainder"):
        Batches(Numbered(3), config(IMAGES_PER_GPU=4), drop_remainder=True)


def test_steps_continue_through_permutations():
    batches = Batches(Numbered(5), config(), steps=3)
    assert len(batches) == 3
    stream = sum((numbers(batches, epoch) for epoch in range(5)), [])
    assert len(stream) == 30
    for start in range(0, 30, 5):
        assert sorted(stream[start : start + 5]) == list(range(5))
    few = Batches(Numbered(1), config(IMAGES_PER_GPU=4), steps=2)
    assert numbers(few, 0) == [0] * 8


def test_iteration_ends_and_the_next_epoch_starts():
    batches = Batches(Numbered(4), config(), steps=3)
    assert len(list(batches)) == 3
    first = batches[1]
    batches.on_epoch_end()  # as Keras does before the first epoch
    assert batches.epoch == 0
    batches.on_epoch_begin()
    batches.on_epoch_end()
    assert batches.epoch == 1 and not same(batches[1], first)
    batches.epoch = 0
    assert same(batches[1], first)


def test_seed_decides():
    def one(seed, epoch=0):
        augmenter = Augmenter(0.5, 0.5, 0.5, (0.5, 2), 0.2, 0.2)
        dataset = ShapesDataset(6, 64, 64)
        return Batches(dataset, config(NUM_CLASSES=4), augmenter, seed=seed).get(epoch, 1)

    assert same(one(3), one(3))
    assert not same(one(3), one(4)) and not same(one(3), one(3, epoch=1))
    Batches(Numbered(2), config(), seed=None)[0]


def images_in_fit(batches, **arguments):
    """Returns the numbers of the images in the order that a model sees them."""
    seen = []

    class Spy(keras.Model):
        def call(self, inputs):
            return inputs["input_image"]

        def train_step(self, data):
            seen.extend(np.asarray(data["input_image"])[:, 0, 0, 0].astype(int).tolist())
            return {"loss": 0.0}

    model = Spy()
    model.build({"input_image": (None, 64, 64, 3)})
    model.compile(run_eagerly=True)
    model.fit(batches, shuffle=False, verbose=0, **arguments)
    return seen


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="an eager train_step")
def test_workers_do_not_change_the_batches(workers):
    """`fit` sees the same order and content with any number of threads."""
    settings = config(IMAGES_PER_GPU=4, DATA_WORKERS=workers)
    batches = Batches(Numbered(10), settings, seed=1)
    expected = [numbers(batches, epoch) for epoch in range(3)]
    assert images_in_fit(batches, epochs=3) == sum(expected, [])
    assert batches.epoch == 3
    resumed = Batches(Numbered(10), settings, seed=1)
    callbacks = [resumed.follow_fit()]
    assert images_in_fit(resumed, epochs=3, initial_epoch=2, callbacks=callbacks) == expected[2]


def test_threads_may_ask_in_any_order():
    dataset, settings = ShapesDataset(12, 64, 64), config(NUM_CLASSES=4)
    augmenter = Augmenter(0.5, 0.5, 0.5, (0.7, 1.4), 0.1, 0.1)
    batches = Batches(dataset, settings, augmenter)
    with ThreadPoolExecutor(4) as pool:
        backwards = list(pool.map(batches.__getitem__, reversed(range(6))))
    fresh = Batches(ShapesDataset(12, 64, 64), settings, augmenter)
    assert all(same(fresh[index], backwards[5 - index]) for index in range(6))


# --- More instances than rows --------------------------------------------------------------------
class Bars(Dataset):
    """One image of 20 thin bars, the first `crowds` of which are crowds."""

    def __init__(self, crowds=0):
        super().__init__()
        self.crowds = crowds
        self.add_class("s", 1, "bar")
        self.add_image("s", "full", None)
        self.prepare()

    def load_image(self, image_id):
        return np.zeros((64, 64, 3), np.uint8)

    def load_mask(self, image_id):
        masks = np.zeros((64, 64, 20), bool)
        for index in range(20):
            masks[3 * index : 3 * index + 2, 5:50, index] = True
        return masks, np.where(np.arange(20) < self.crowds, -1, 1)


@pytest.mark.parametrize("crowds", [0, 1, 20])
def test_instances_without_a_row_travel_as_boxes(crowds):
    settings = config(NUM_CLASSES=2)  # 8 rows
    samples = [load_sample(Bars(crowds), settings, 0, rng=np.random.default_rng(i)) for i in (0, 1)]
    for sample in samples:
        left_out = sample["input_left_out_boxes"]
        assert left_out.any(axis=1).sum() == 12 and not left_out[12:].any()
        kept = sample["input_gt_boxes"]
        tops = sorted(np.concatenate([kept, left_out[:12]])[:, 0].tolist())
        assert tops == list(range(0, 60, 3))
        assert (sample["input_gt_class_ids"] < 0).sum() == min(crowds, 8)
    assert (samples[0]["input_gt_boxes"] != samples[1]["input_gt_boxes"]).any()


def test_what_is_left_out_is_said_once(caplog):
    dataset = Bars()
    batches = Batches(dataset, config(NUM_CLASSES=2, IMAGES_PER_GPU=1, GPU_COUNT=1))
    for epoch in range(3):
        batches.get(epoch, 0)
    (text,) = [record.getMessage() for record in caplog.records]
    for words in ("full", "20 instances", "MAX_GT_INSTANCES = 8", "= 20 or more"):
        assert words in text
