"""Names decide which class is which, in validation and in evaluation."""

import json
import logging

import cv2
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.check import check_dataset
from mrcnn.data.classes import match_classes, with_classes
from mrcnn.data.dataset import Dataset
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.evaluation import coco as ev

CAT, DOG, COW = "cat", "dog", "cow"


@pytest.mark.parametrize(
    "ours, theirs, expected",
    [
        ([CAT, DOG], [CAT, DOG], {1: 1, 2: 2}),
        ([CAT, DOG], [DOG, CAT], {1: 2, 2: 1}),
        ([CAT, DOG, COW], [COW, "bird", CAT], {1: 3, 3: 1}),
        (["class 1", "class 2"], [DOG, CAT], {1: 1, 2: 2}),  # a model without names
        (["cell"], ["nucleus"], {1: 1}),  # one class is one class
        ([CAT, CAT, DOG], [CAT, DOG, CAT], {1: 1, 2: 3, 3: 2}),
        ([CAT], [DOG, CAT], {1: 2}),
    ],
)
def test_match(ours, theirs, expected):
    assert match_classes(["BG", *ours], ["BG", *theirs]) == expected


def test_no_name_in_common_is_an_error():
    with pytest.raises(ValueError, match="No class has the same name: cat, dog.*cow, bird"):
        match_classes(["BG", CAT, DOG], ["BG", COW, "bird"])


def file(tmp_path, name, categories):
    """Squares of one image: the x of each tells its class by name."""
    squares = {CAT: 0, DOG: 10, COW: 20}
    annotations = [
        {
            "id": n,
            "image_id": 1,
            "category_id": number,
            "segmentation": [[x, 2, x + 8, 2, x + 8, 9, x, 9]],
            "bbox": [x, 2, 8, 7],
        }
        for n, (number, label) in enumerate(categories.items(), 1)
        for x in [squares[label]]
    ]
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": 12, "width": 30}],
        "annotations": annotations,
        "categories": [{"id": n, "name": label} for n, label in categories.items()],
    }
    (tmp_path / name).write_text(json.dumps(data))
    return Dataset.open(tmp_path / name, "coco", tmp_path)


def places(dataset):
    """Returns the x of the object of each class name."""
    rles, boxes, class_ids = dataset.load_instances(0)
    masks, same = dataset.load_mask(0)
    assert class_ids.tolist() == same.tolist() == dataset.load_boxes(0)[1].tolist()
    assert len(rles) == masks.shape[-1]
    return {dataset.class_names[i]: int(box[1]) for i, box in zip(class_ids, boxes, strict=True)}


def test_validation_is_read_in_the_classes_of_training(tmp_path, caplog):
    train = file(tmp_path, "train.json", {1: CAT, 2: DOG})
    val = file(tmp_path, "val.json", {1: DOG, 2: CAT})
    assert with_classes(train, train.class_names) is train
    with caplog.at_level(logging.WARNING, "mrcnn"):
        turned = with_classes(val, train.class_names)
        assert not caplog.records
        assert turned.class_names == train.class_names and places(turned) == {CAT: 0, DOG: 10}
        more = with_classes(file(tmp_path, "more.json", {5: COW, 6: CAT}), train.class_names, "v")
    assert places(more) == {CAT: 0}
    assert "v: its classes cow" in caplog.text
    assert [a["bbox"][0] for a in coco_ground_truth(turned)["annotations"]] == [10, 0]
    assert turned.num_images == 1 and turned.has("boxes") and turned.image_reference(0)


def test_all_annotations_are_checked_in_other_classes_too(tmp_path, monkeypatch):
    def refuse(dataset):
        raise ValueError(f"{len(dataset.image_info)} images are checked")

    monkeypatch.setattr(AnnotatedDataset, "check_shapes", refuse)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((12, 30, 3), np.uint8))
    val = with_classes(file(tmp_path, "val.json", {1: DOG, 2: CAT}), ["BG", CAT, DOG])
    with pytest.raises(ValueError, match="1 images are checked"):
        check_dataset(val, Config(NUM_CLASSES=3))
    check_dataset(val, Config(NUM_CLASSES=3, USE_MASKS=False))


def test_a_dataset_that_is_not_prepared_is_refused():
    dataset = Dataset()
    dataset.add_class("s", 1, CAT)
    with pytest.raises(ValueError, match="val_dataset: the Dataset is not prepared"):
        with_classes(dataset, ["BG", CAT], name="val_dataset")


def test_label_images_in_other_classes():
    class Labels(Dataset):
        def load_label(self, image_id):
            return np.array([[1, 2, 3]], np.int32), np.array([1, 2, -1], np.int32)

    dataset = Labels()
    for n, name in enumerate((DOG, CAT), 1):
        dataset.add_class("s", n, name)
    dataset.add_image("s", 0, None)
    dataset.prepare()
    labels, class_ids = with_classes(dataset, ["BG", COW, DOG]).load_label(0)
    assert labels.tolist() == [[1, 0, 2]] and class_ids.tolist() == [2, -2]


def test_only_the_classes_of_the_model_are_scored(tmp_path):
    dataset = file(tmp_path, "val.json", {1: CAT, 2: DOG, 3: COW})
    rles, boxes, class_ids = dataset.load_instances(0)
    found = {
        "rois": boxes[:2].astype(int),
        "class_ids": class_ids[:2],
        "scores": np.ones(2),
        "rles": rles[:2],
    }
    assert ev.evaluate(dataset, [found]).segm["AP"] == pytest.approx(2 / 3)
    part = ev.evaluate(dataset, [found], class_ids=[2, 1])
    assert part.segm["AP"] == pytest.approx(1) and part.num_objects == 2
    assert [row["class_id"] for row in part.per_class] == [1, 2]
    last = ev.evaluate(dataset, [found], class_ids=[3])
    assert [(row["class_id"], row["name"]) for row in last.per_class] == [(3, COW)]
