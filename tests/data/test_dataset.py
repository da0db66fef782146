import logging

import cv2
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.dataset import ABILITIES, Dataset, FileCache, describe_image
from mrcnn.data.sample import load_sample
from mrcnn.evaluation import coco as ev
from mrcnn.images.rle import masks_to_rles


def test_golden_of_the_old_contract():
    dataset = Dataset()
    assert dataset.image_ids == []
    dataset.add_class("s", 1, "cat, feline")
    dataset.add_class("s", 1, "dup")
    dataset.add_class("t", 1, "dog")
    dataset.add_image("s", "a", "a.png", width=7)
    dataset.prepare()
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.class_from_source_map == {".0": 0, "s.1": 1, "t.1": 2}
    assert dataset.image_from_source_map == {"s.a": 0}
    assert dataset.source_class_ids == {"": [0], "s": [0, 1], "t": [0, 2]}
    assert sorted(dataset.sources) == ["", "s", "t"]
    assert dataset.num_classes == 3 and dataset.num_images == 1
    assert dataset.class_ids.tolist() == [0, 1, 2] and dataset.image_ids.tolist() == [0]
    assert dataset.map_source_class_id("t.1") == 2
    assert dataset.get_source_class_id(2, "t") == 1
    assert dataset.source_image_link(0) == "a.png"
    assert dataset.image_reference(0) == ""
    assert dataset.image_info == [{"id": "a", "source": "s", "path": "a.png", "width": 7}]


def test_errors_name_the_argument():
    dataset = Dataset()
    with pytest.raises(ValueError, match="a.b"):
        dataset.add_class("a.b", 1, "x")
    dataset.add_class("s", 1, "cat")
    with pytest.raises(ValueError, match="'s', not 't'"):
        dataset.get_source_class_id(1, "t")
    dataset.add_image("s", "a", None)
    with pytest.raises(ValueError, match="override load_image"):
        dataset.load_image(0)
    assert "s.a" in describe_image(dataset, 0)


def test_default_load_mask_warns(caplog):
    dataset = Dataset()
    dataset.add_image("s", "a", "a.png")
    with caplog.at_level(logging.WARNING, "mrcnn"):
        masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (0, 0, 0) and class_ids.shape == (0,) and "load_mask" in caplog.text
    assert dataset.load_boxes(0)[0].shape == (0, 4)


def test_load_image_reads_the_file_and_gives_a_copy(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.full((3, 4), 9, np.uint8))
    dataset = Dataset()
    dataset.add_image("s", "a", str(path))
    dataset.add_image("s", "b", str(tmp_path / "b.png"))
    image = dataset.load_image(0)
    assert image.shape == (3, 4, 3) and (image == 9).all()
    image[:] = 0
    assert (dataset.load_image(0) == 9).all()
    with pytest.raises(FileNotFoundError, match="b.png"):
        dataset.load_image(1)


def test_file_cache_keeps_to_its_limit_and_sees_changes(tmp_path):
    reads = []

    def read(path):
        reads.append(path)
        return np.frombuffer(open(path, "rb").read(), np.uint8).copy()

    for name, size in (("a", 60), ("b", 60), ("c", 30)):
        (tmp_path / name).write_bytes(bytes(size))
    cache = FileCache(100)
    for _ in range(2):
        for name in "abc":
            cache.read(tmp_path / name, read)
    assert [path.name for path in reads] == ["a", "b", "c", "b"] and cache.bytes == 90
    (tmp_path / "a").write_bytes(bytes(61))
    assert cache.read(tmp_path / "a", read).size == 61


# --- Abilities -----------------------------------------------------------------------------------
class Masks(Dataset):
    def load_mask(self, image_id):
        return np.ones((4, 4, 1), bool), np.ones(1, np.int32)


class Labels(Masks):
    def load_label(self, image_id):
        return np.ones((4, 4), np.int32), np.ones(1, np.int32)


class OwnMasks(Labels):
    """Its own masks are used, not the label images of its base class."""

    def load_mask(self, image_id):
        return np.zeros((4, 4, 0), bool), np.zeros(0, np.int32)


SQUARE = np.zeros((40, 60, 1), bool)
SQUARE[20:30, 20:50] = True


class OnlyLabels(Dataset):
    def load_label(self, image_id):
        return SQUARE[..., 0].astype(np.int32), np.ones(1, np.int32)


class OnlyInstances(Dataset):
    def load_instances(self, image_id):
        boxes = np.array([[20, 20, 30, 50]], np.float32)
        return masks_to_rles(SQUARE), boxes, np.ones(1, np.int32)


class NoInstances(Dataset):
    def load_instances(self, image_id):
        return [], np.zeros((0, 4), np.float32), np.zeros(0, np.int32)


class Boxes(Dataset):
    def load_boxes(self, image_id):
        return np.ones((1, 4), np.float32), np.ones(1, np.int32)


class Images(Dataset):
    def load_image(self, image_id):
        return np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    "kind, abilities",
    [
        (Dataset, {"files"}),
        (Masks, {"masks", "files"}),
        (Labels, {"masks", "labels", "files"}),
        (OwnMasks, {"masks", "files"}),
        (OnlyLabels, {"masks", "labels", "files"}),
        (OnlyInstances, {"masks", "instances", "files"}),
        (Boxes, {"boxes", "files"}),
        (Images, set()),
    ],
)
def test_abilities(kind, abilities):
    dataset = kind()
    found = {name for name in ABILITIES if dataset.has(name)}
    assert found == abilities
    with pytest.raises(ValueError, match="'mask'.*masks, boxes, labels, instances, files"):
        dataset.has("mask")


def test_own_masks_of_a_subclass_reach_the_network():
    """load_mask used to be ignored in a subclass of a reader of label images."""
    from mrcnn.config import Config
    from mrcnn.data.ground_truth import coco_ground_truth
    from mrcnn.data.sample import load_fitted_instances

    dataset = OwnMasks()
    dataset.add_class("s", 1, "cell")
    dataset.add_image("s", 0, None, height=4, width=4)
    dataset.prepare()
    assert coco_ground_truth(dataset)["annotations"] == []
    settings = Config(NUM_CLASSES=2, IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64)
    assert load_fitted_instances(dataset, settings, 0)[0].size == 0


def test_abilities_are_asked_in_one_way():
    import re
    from pathlib import Path

    import mrcnn

    asked = re.compile(
        r"is (not )?Dataset\.load_|(has|get)attr\([^)]*load_(image|mask|box|label|inst)"
    )
    root = Path(mrcnn.__file__).parent
    found = [path.name for path in root.rglob("*.py") if asked.search(path.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize("kind", [OnlyLabels, OnlyInstances])
def test_one_method_is_enough(kind, caplog):
    """Masks, boxes, training and evaluation all follow from the one that is overridden."""
    dataset = kind()
    dataset.add_class("s", 1, "c")
    dataset.add_image("s", 0, None)
    dataset.prepare()
    dataset.load_image = lambda image_id: np.zeros((40, 60, 3), np.uint8)
    masks, class_ids = dataset.load_mask(0)
    np.testing.assert_array_equal(masks, SQUARE)
    assert class_ids.tolist() == [1] and class_ids.dtype == np.int32
    boxes, class_ids = dataset.load_boxes(0)
    assert boxes.tolist() == [[20, 20, 30, 50]] and class_ids.tolist() == [1]
    for masks in (True, False):
        settings = Config(NUM_CLASSES=2, IMAGE_RESIZE_MODE="none", USE_MASKS=masks)
        assert load_sample(dataset, settings, 0)["input_gt_boxes"][0].tolist() == [20, 20, 30, 50]
    found = {"rois": boxes, "class_ids": class_ids, "scores": np.ones(1)}
    assert ev.evaluate(dataset, [found]).bbox["AP"] == pytest.approx(1)
    found["rles"] = masks_to_rles(SQUARE)
    assert ev.evaluate(dataset, [found]).segm["AP"] == pytest.approx(1)
    assert not caplog.records


def test_an_image_without_instances_has_no_masks():
    dataset = NoInstances()
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (0, 0, 0) and class_ids.shape == (0,)
    assert dataset.load_boxes(0)[0].shape == (0, 4)


def test_a_mask_that_is_passed_on_to_the_base_class_is_none():
    """Scripts for Matterport's code do so for images of other sources."""

    class PassedOn(Dataset):
        def load_mask(self, image_id):
            return super().load_mask(image_id)

    dataset = PassedOn()
    dataset.add_image("s", 0, None)
    assert dataset.load_mask(0)[0].size == 0 and dataset.load_boxes(0)[0].size == 0
