"""Data sets that are divided by their tool into training and validation."""

import json

import cv2
import fixtures
import numpy as np
import pytest

from mrcnn.cli.shared.datasets import training_data
from mrcnn.data import formats


def test_label_images_one_folder_down_with_a_split_file(tmp_path):
    for stem in "abcd":
        size = 20, 30 + ord(stem)  # equal files would stay together
        fixtures.image(tmp_path / "train" / "images" / f"{stem}.png", *size)
        (tmp_path / "train" / "labels").mkdir(exist_ok=True)
        label = np.zeros(size, np.uint8)
        label[2:9, 3:9] = 7
        cv2.imwrite(str(tmp_path / "train" / "labels" / f"{stem}.png"), label)
    assert formats.recognize(tmp_path) == "label_images"
    assert len(formats.read(tmp_path).images) == 4
    assert formats.splits(tmp_path, "label_images") == []
    parts = {"note": "text", "train": ["d", "a"], "val": ["c"]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    assert formats.splits(tmp_path, "label_images") == ["train", "val"]
    assert [image.id for image in formats.read(tmp_path, split="train").images] == ["d", "a"]
    with pytest.raises(ValueError, match="no split 'test' in split.json. Its splits: 'train'"):
        formats.read(tmp_path, split="test")
    said = []
    train, val = training_data({"data": str(tmp_path)}, said.append)
    assert (train.num_images, val.num_images) == (2, 1)
    train, val = training_data({"data": str(tmp_path), "val_split": 0.25}, said.append)
    assert (train.num_images, val.num_images) == (3, 1)
    for text in ("[]", '{"train": [1]}', "{"):
        (tmp_path / "split.json").write_text(text)
        with pytest.raises(ValueError, match=r"split\.json"):
            formats.read(tmp_path, split="train")


@pytest.mark.parametrize("name", ["yolo_ultralytics", "voc_devkit", "cityscapes_fine"])
def test_splits_of_other_formats_can_be_read(tmp_path, name):
    path = getattr(fixtures, name)(tmp_path)
    parts = formats.splits(path, name.split("_")[0])
    assert parts
    for part in parts:
        assert formats.read(path, split=part).images


def test_mask_folders_one_folder_down(tmp_path):
    for stem in "ab":
        folder = tmp_path / "root" / "stage1_train" / stem
        fixtures.image(folder / "images" / f"{stem}.png")
        fixtures.mask_file(folder / "masks" / "0.png", fixtures.mask((1, 1, 5, 5)))
    assert formats.recognize(tmp_path / "root") == "mask_folders"
    assert len(formats.read(tmp_path / "root").images) == 2
