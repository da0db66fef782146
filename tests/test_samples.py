"""The samples run with --toy, without data or weights, by their old command lines."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

SAMPLES = Path(__file__).parents[1] / "samples"


def load(name):
    """Returns a sample as a module."""
    spec = importlib.util.spec_from_file_location(name, SAMPLES / name / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(folder, name, *arguments):
    done = subprocess.run(
        [sys.executable, SAMPLES / name / f"{name}.py", *arguments, "--toy", "--logs=logs"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SAMPLES.parent)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_balloon(tmp_path):
    run(tmp_path, "balloon", "train", "--dataset=data")
    image = tmp_path / "data" / "val" / "6.png"
    run(tmp_path, "balloon", "splash", "--weights=last", f"--image={image}")
    [splash] = tmp_path.glob("splash_*.png")
    before, after = cv2.imread(str(image)), cv2.imread(str(splash))
    gray = (after == after[..., :1]).all(axis=-1)
    assert (gray | (after == before).all(axis=-1)).all() and gray.any()
    frames = cv2.VideoWriter(
        str(tmp_path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96)
    )
    for _ in range(3):
        frames.write(before)
    frames.release()
    run(tmp_path, "balloon", "splash", "--weights=last", "--video=film.avi")
    [film] = tmp_path.glob("splash_*.avi")
    assert cv2.VideoCapture(str(film)).get(cv2.CAP_PROP_FRAME_COUNT) == 3


@pytest.mark.slow
def test_nucleus(tmp_path):
    run(tmp_path, "nucleus", "train", "--dataset=data", "--subset=train")
    run(tmp_path, "nucleus", "detect", "--dataset=data", "--weights=last", "--subset=stage1_test")
    [path] = (tmp_path / "results").glob("*/submit.csv")
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    assert {row["ImageId"] for row in rows} == {"0000", "0001"}
    for name in ("0000", "0001"):
        total = np.zeros(96 * 128, int)
        for row in rows:
            runs = np.array(row["EncodedPixels"].split(), int).reshape(-1, 2)
            for start, length in runs if row["ImageId"] == name else ():
                total[start - 1 : start - 1 + length] += 1
        assert total.max() <= 1  # no pixel twice
        assert cv2.imread(str(path.with_name(f"{name}.png"))).shape == (96, 128, 3)


@pytest.mark.slow
def test_coco(tmp_path):
    run(tmp_path, "coco", "train", "--dataset=data")
    printed = run(tmp_path, "coco", "evaluate", "--dataset=data", "--weights=last", "--limit=2")
    assert printed.count("Average Precision") == 12


@pytest.mark.slow
def test_shapes(tmp_path):
    run(tmp_path, "shapes", "train")
    assert "mAP 0." in run(tmp_path, "shapes", "evaluate", "--weights=last")
    assert (tmp_path / "shapes.png").is_file()


@pytest.mark.parametrize(
    "name, words",
    [("balloon", "--dataset"), pytest.param("coco", "--dataset", marks=pytest.mark.slow)],
)
def test_errors_name_what_is_missing(tmp_path, name, words):
    script = [sys.executable, SAMPLES / name / f"{name}.py"]
    for arguments in (["train"], ["evaluate" if name == "coco" else "splash"]):
        done = subprocess.run(
            [*script, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(SAMPLES.parent)},
        )
        assert done.returncode == 2
        assert (words if arguments == ["train"] else "--weights") in done.stderr


# --- Parts ---------------------------------------------------------------------------------------
def test_both_versions_of_via(tmp_path):
    balloon = load("balloon")
    balloon.make_toy(tmp_path)
    path = tmp_path / "train" / "via_region_data.json"

    def masks():
        dataset = balloon.BalloonDataset()
        dataset.load_balloon(tmp_path, "train")
        dataset.prepare()
        return dataset.load_mask(0)[0]

    second = masks()
    assert second.shape == (96, 128, 3) and (second.sum(axis=(0, 1)) > 100).all()
    entries = json.loads(path.read_text())
    for entry in entries.values():
        entry["regions"] = {str(i): region for i, region in enumerate(entry["regions"])}
    path.write_text(json.dumps(entries))
    np.testing.assert_array_equal(masks(), second)


@pytest.mark.parametrize(
    "outline, size",
    [
        ({"name": "circle", "cx": 20, "cy": 20, "r": 10}, 314),
        ({"name": "ellipse", "cx": 20, "cy": 20, "rx": 5, "ry": 10}, 150),
        ({"name": "rect", "x": 3, "y": 4, "width": 10, "height": 20}, 200),
        ({"name": "polygon", "all_points_x": [0, 90, 90, 0], "all_points_y": [0, 0, 9, 9]}, 500),
    ],
)
def test_shapes_of_via(outline, size):
    mask = np.zeros((50, 50), bool)
    mask[load("balloon").fill(outline, mask.shape)] = True
    assert mask.sum() == pytest.approx(size, rel=0.05)


def test_run_lengths():
    nucleus = load("nucleus")
    mask = np.zeros((4, 3), bool)
    mask[1:3, 0] = mask[3, 1] = mask[0, 2] = True
    assert nucleus.encode(mask) == "2 2 8 2"  # column by column, from 1
    masks = np.zeros((2, 2, 2), bool)
    masks[0, :, 0] = masks[:, 0, 1] = True
    assert nucleus.without_overlaps(masks)[..., 1].tolist() == [[False, False], [True, False]]


def test_crowds_and_packed_masks(tmp_path):
    coco = load("coco")
    coco.make_toy(tmp_path)
    dataset = coco.CocoDataset()
    dataset.load_coco(tmp_path, "val")
    dataset.prepare()
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 1, -1] and masks.shape == (96, 128, 3)
    assert coco.decode([[0, 0, 10, 0, 10, 5, 0, 5]], 20, 20).sum() == pytest.approx(50, abs=20)
    assert coco.CocoConfig().NUM_CLASSES == 81


def test_occlusion():
    shapes = load("shapes")
    dataset = shapes.dataset(8, shapes.ShapesConfig(), seed=3)
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        assert masks.sum(axis=-1).max() <= 1 and masks.shape[-1] == len(class_ids)
        image = dataset.load_image(image_id)
        for mask, (_, color, _) in zip(
            np.moveaxis(masks, -1, 0), dataset.image_info[image_id]["shapes"], strict=True
        ):
            assert (image[mask] == color).all()
