"""What `check_dataset` reports before training: lost instances, none, or too many."""

import logging
import time

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.batches import Batches
from mrcnn.data.check import check_dataset
from mrcnn.data.dataset import Dataset


class Given(Dataset):
    """A dataset of given masks, all images of one size."""

    def __init__(self, *samples, side=256, pause=0.0):
        super().__init__()
        self.samples, self.side, self.pause, self.calls = samples, side, pause, 0
        self.add_class("given", 1, "cell")
        for index in range(len(samples)):
            self.add_image("given", index, None)
        self.prepare()

    def load_image(self, image_id):
        return np.zeros((self.side, self.side, 3), np.uint8)

    def load_mask(self, image_id):
        self.calls += 1
        time.sleep(self.pause)
        return self.samples[image_id]


class Labels(Given):
    """The same dataset as label images."""

    def load_label(self, image_id):
        masks, class_ids = self.samples[image_id]
        return (masks * np.arange(1, len(class_ids) + 1)).sum(-1).astype(np.int32), class_ids


class Boxes(Given):
    """The same dataset with boxes only."""

    def load_boxes(self, image_id):
        return super().load_boxes(image_id)

    def load_mask(self, image_id):
        return self.samples[image_id]


def sample(thin=0, thick=0, crowds=0, side=256):
    """Lines 1 pixel wide, squares of 12 pixels, and squares that are crowds, without contact."""
    masks = np.zeros((side, side, thin + thick + crowds), bool)
    for index in range(thin):
        masks[2 + 4 * index, 10:60, index] = True
    for index in range(thin, thin + thick + crowds):
        row, column = divmod(index - thin, 10)
        masks[120 + 16 * row : 132 + 16 * row, 70 + 16 * column : 82 + 16 * column, index] = True
    return masks, np.array([1] * (thin + thick) + [-1] * crowds, np.int32)


def config(**changes):
    values = {"NUM_CLASSES": 2, "IMAGE_MIN_DIM": 64, "IMAGE_MAX_DIM": 64, "MAX_GT_INSTANCES": 20}
    return Config(**{**values, **changes})


def warnings_of(caplog, dataset, settings, **arguments):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        check_dataset(dataset, settings, **arguments)
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    "kind, changes", [(Given, {}), (Labels, {}), (Boxes, {"USE_MASKS": False})]
)
def test_instances_that_vanish_are_counted(caplog, kind, changes):
    dataset = kind(sample(thin=2, thick=3), sample(thick=4), sample(thin=1))
    if kind is Labels:  # nearest-neighbor resizing keeps every fourth row
        dataset.samples[0][0][2, :, 0] = False
        dataset.samples[0][0][1, 10:60, 0] = True
        dataset.samples[0][0][6, :, 1] = False
        dataset.samples[0][0][5, 10:60, 1] = True
        dataset.samples[2][0][2, :, 0] = False
        dataset.samples[2][0][1, 10:60, 0] = True
    (text,) = warnings_of(caplog, dataset, config(**changes), name="val_dataset")
    for words in ("val_dataset", "3 of 10 instances", "IMAGE_MAX_DIM = 64"):
        assert words in text
    large = config(IMAGE_MIN_DIM=256, IMAGE_MAX_DIM=256, **changes)
    assert warnings_of(caplog, dataset, large) == []


def test_data_without_an_instance_gives_a_warning(caplog):
    (text,) = warnings_of(caplog, Given(sample(), sample()), config())
    assert "no instance" in text and "2 images" in text and "iscrowd" not in text
    (text,) = warnings_of(caplog, Given(sample(crowds=2), sample()), config())
    assert "no instance" in text and "2 crowds" in text and 'crowds="objects"' in text


def test_a_dataset_without_annotations_says_so_once(caplog, tmp_path):
    import cv2

    dataset = Dataset()
    for index in range(30):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, 8), np.uint8))
        dataset.add_image("s", index, str(tmp_path / f"{index}.png"))
    dataset.prepare()
    texts = warnings_of(caplog, dataset, config())
    assert len(texts) == 2 and "load_mask" in texts[0] and "no instance" in texts[1]


def test_more_instances_than_fit_give_a_warning(caplog):
    dataset = Given(sample(thick=5), sample(thick=7), sample(thick=2))
    (text,) = warnings_of(caplog, dataset, config(MAX_GT_INSTANCES=4))
    parts = ("2 of 3 images hold", "given.1", "MAX_GT_INSTANCES = 4", "Set MAX_GT_INSTANCES = 7")
    for words in parts:
        assert words in text
    batches = Batches(dataset, config(MAX_GT_INSTANCES=4, IMAGES_PER_GPU=1))
    caplog.clear()
    batches.get(0, 0), batches.get(0, 1)
    assert not caplog.records  # it has been said
    assert warnings_of(caplog, dataset, config(MAX_GT_INSTANCES=7)) == []


def test_at_most_200_images_and_a_few_seconds(caplog):
    many = Given(*[sample(thin=1)] * 500)
    (text,) = warnings_of(caplog, many, config())
    assert (
        many.calls <= 201
        and "200 images looked at, of 500" in text
        and "200 of 200 instances" in text
    )
    slow = Given(*[sample(thin=1)] * 500, pause=0.3)
    start = time.monotonic()
    (text,) = warnings_of(caplog, slow, config())
    assert (
        time.monotonic() - start < 6 and 1 < slow.calls < 25 and "images looked at, of 500" in text
    )
