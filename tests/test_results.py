"""Detections that are written to files."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn import results


def test_outputs_never_share_a_name():
    paths = ["a/x.png", "a/x.jpg", "b/x.png", "b/X.tif", "b/y.png", "c/y_labels.png", "c/a_x.png"]
    stems = results.output_stems(paths)
    assert stems[0] == "x" and stems[2] == "b_x" and stems[4] == "y"
    files = [name.lower() for stem in stems for name in (stem, f"{stem}_labels")]
    assert len(set(files)) == 2 * len(paths)


def two_overlapping():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:4, 1:5] = True
    masks[1, 2:6, 3:8] = True
    return {
        "rois": np.array([[1, 1, 4, 5], [2, 3, 6, 8]], np.int32),
        "class_ids": np.array([1, 2], np.int32),
        "scores": np.array([0.9, 0.8], np.float32),
        "rles": [coco_mask.encode(np.asfortranarray(m, dtype=np.uint8)) for m in masks],
    }, masks


def test_label_image_gives_overlaps_to_the_higher_score():
    found, masks = two_overlapping()
    labels = results.label_image(found, (6, 8))
    assert labels.dtype == np.uint16
    assert np.array_equal(labels == 1, masks[0]) and np.array_equal(labels > 0, masks.any(0))
    found["scores"] = found["scores"][::-1]
    assert np.array_equal(results.label_image(found, (6, 8)) == 2, masks[1])


def test_rows():
    found, masks = two_overlapping()
    rows = results.coco_rows(found, 7, "a.png")
    assert rows[1]["bbox"] == [3, 2, 5, 4] and rows[1]["image_id"] == 7
    rows = json.loads(json.dumps(rows))
    for row, mask in zip(rows, masks, strict=True):
        assert np.array_equal(coco_mask.decode(row["segmentation"]) > 0, mask)
    table = results.table_rows(found, "a.png", ["BG", "cat", "dog"])
    assert table[1] == ("a.png", 2, "dog", "0.8000", 2, 3, 6, 8, 20)


def test_labels_are_16_bit(tmp_path):
    results.save_labels(tmp_path / "a.png", np.array([[0, 65535]], np.uint16))
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16 and read.tolist() == [[0, 65535]]


def test_a_folder_of_results(tmp_path):
    """Writes the files of `mrcnn detect` from Python. An input is never overwritten."""
    found, _ = two_overlapping()
    paths = [tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"]
    writer = results.ResultWriter(tmp_path / "out", paths)
    writer.add(paths[1], np.zeros((6, 8, 3), np.uint8), found, ["BG", "cat", "dog"])
    assert writer.finish() == 2
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["image_id"] for row in rows] == [1, 1]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"b.png", "b_labels.png", "detections.json", "detections.csv"}
    with pytest.raises(FileExistsError, match="a.png there is an input and would be overwritten"):
        results.ResultWriter(tmp_path / "in", paths)
