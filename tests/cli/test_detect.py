"""`mrcnn detect`."""

import csv
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.images.files import find_images


def test_find_images(annotated, tmp_path):
    images = annotated / "images"
    (images / ".hidden.png").touch()
    named = find_images([str(images / "1.png"), str(images), str(images / "*.png")])
    assert [path.name for path in named] == ["1.png", "0.png", "2.png", "3.png"]
    (images / ".hidden.png").unlink()
    for words in ([str(images / "*.jpg")], [str(tmp_path)], [str(images), "nowhere.png"]):
        with pytest.raises(FileNotFoundError, match="no such file|no images"):
            find_images(words)


def test_detect(cli, tiny_folder, annotated, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes((annotated / "images" / "0.png").read_bytes()[:300])
    words = ["detect", tiny_folder, annotated / "images", tmp_path / "in"]
    code, out, err = cli(*words, "--output", tmp_path / "out", "--max", 3, "--score", 0)
    assert code == 3
    assert "in 4 images" in out and err.count("\n") == 1 and str(tmp_path / "in" / "0.png") in err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {f"{i}{part}.png" for i in range(4) for part in ("", "_labels")}
    assert names == expected | {"detections.json", "detections.csv"}
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    with open(tmp_path / "out" / "detections.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(rows) == len(table) <= 4 * 3
    for row, line in zip(rows, table, strict=True):
        assert row["file_name"] == line["file"]
        assert int(line["area"]) == coco_mask.decode(row["segmentation"]).sum()
    labels = cv2.imread(str(tmp_path / "out" / "0_labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (64, 64) and labels.dtype == np.uint16


def test_detect_never_overwrites_an_input(cli, tiny_folder, annotated):
    images = annotated / "images"
    before = (images / "0.png").read_bytes()
    code, _, err = cli("detect", tiny_folder, images, "--output", images)
    assert code == 2 and "would be overwritten" in err
    assert (images / "0.png").read_bytes() == before


def test_detect_without_a_match(cli, tiny_folder):
    code, _, err = cli("detect", tiny_folder, "nowhere*.png")
    assert code == 2 and err.count("\n") == 1 and "nowhere*.png" in err


def test_detect_with_a_weight_file(cli, tmp_path, annotated):
    from families import torchvision_arrays

    from mrcnn.weights.files.tensors import write_safetensors

    write_safetensors(tmp_path / "net.safetensors", torchvision_arrays(tmp_path))
    code, out, _ = cli(
        "detect",
        str(tmp_path / "net.safetensors"),
        str(annotated / "images"),
        "--output",
        str(tmp_path / "out"),
        "--set",
        "IMAGE_MIN_DIM=64",
        "--set",
        "IMAGE_MAX_DIM=64",
        "--score",
        "0",
    )
    assert code == 0 and "images, written to" in out


def test_a_misspelled_model_gets_a_suggestion(cli, tiny_folder, annotated, tmp_path, monkeypatch):
    """Suggests published names, model folders next to the given one, and runs by prefix."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "cells20261123T1000"
    run.mkdir(parents=True)
    (run / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    for wrong, right in (
        ("coco-torchvison-r50", "coco-torchvision-r50"),
        ("dmo", "demo"),
        ("runs/cells20261123T1001", "runs/cells20261123T1000"),
        ("cells", "runs/cells20261123T1000"),
    ):
        code, _, err = cli("detect", wrong, annotated / "images")
        assert code == 2 and err.count("\n") == 1 and "Did you mean" in err and right in err
