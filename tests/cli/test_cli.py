import csv
import json
import re
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn import results
from mrcnn.cli import data as cli_data
from mrcnn.cli import detect as cli_detect
from mrcnn.cli import main, parse_settings
from mrcnn.cli.common import UsageError
from mrcnn.data.synthetic.shapes import ShapesDataset


def run(capsys, *words):
    """Exit code, stdout and stderr of one command."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as stopped:
        code = stopped.code
    out, err = capsys.readouterr()
    return code, out, err


def one_line_error(err, command):
    return err.startswith(f"mrcnn {command}: error: ") and err.count("\n") == 1


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Four annotated pictures in both layouts: images/, labels/ and instances.json."""
    root = tmp_path_factory.mktemp("pictures")
    shapes = ShapesDataset(4, 64, 64, seed=5)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    images, annotations = [], []
    for image_id in shapes.image_ids:
        masks, class_ids = shapes.load_mask(image_id)
        labels = np.zeros(masks.shape[:2], np.uint16)
        for i in range(masks.shape[-1]):
            labels[masks[..., i]] = i + 1
            rle = coco_mask.encode(np.asfortranarray(masks[..., i], dtype=np.uint8))
            annotations.append({
                "id": len(annotations) + 1,
                "image_id": int(image_id),
                "category_id": int(class_ids[i]),
                "iscrowd": 0,
                "bbox": coco_mask.toBbox(rle).tolist(),
                "area": float(coco_mask.area(rle)),
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            })  # fmt: skip
        name = f"{image_id}.png"
        cv2.imwrite(str(root / "images" / name), shapes.load_image(image_id)[..., ::-1])
        cv2.imwrite(str(root / "labels" / name), labels)
        images.append({"id": int(image_id), "file_name": name, "height": 64, "width": 64})
    categories = [{"id": i, "name": n} for i, n in enumerate(shapes.class_names) if i]
    (root / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return root


# --- Usage ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "words, text",
    [
        (["paint"], "invalid choice: 'paint'"),
        (["train", "--epochs", "0"], "at least 1"),
        (["train"], "no data: give --dataset shapes"),
        (["train", "--images", "a"], "needs either --annotations"),
        (["train", "--images", "a", "--annotations", "b", "--labels", "c"], "needs either"),
        (["train", "--dataset", "shapes", "--images", "a"], "exclude each other"),
        (["train", "--dataset", "shapes", "--set", "NUM_CLASES=2"], "Did you mean NUM_CLASSES?"),
        (["train", "--dataset", "shapes", "--set", "SEED"], "expected KEY=VALUE"),
        (["train", "--dataset", "shapes", "--set", "BATCH_SIZE=2"], "set IMAGES_PER_GPU"),
        (["train", "--dataset", "shapes", "--weights", "nowhere"], "no such file or folder"),
        (["train", "--resume", "nowhere"], "no run of mrcnn train"),
        (["evaluate", "nowhere", "--dataset", "shapes"], "MODEL 'nowhere' is not there"),
        (["info", "nowhere"], "give a model folder"),
    ],
)
def test_wrong_usage(capsys, tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2 and text in err and err.startswith("mrcnn") and err.count("\n") == 1
    assert "Traceback" not in err


def test_help_and_version(capsys):
    for words in ([], ["demo"], ["train"], ["detect"], ["evaluate"], ["info"]):
        code, out, _ = run(capsys, *words, "--help")
        assert code == 0 and "usage: mrcnn" in out
    assert run(capsys, "--version")[1] == "mrcnn 3.0.0\n"


def test_settings():
    given = ["NAME=cells", "SEED=null", "MEAN_PIXEL=[1, 2, 3]", "USE_MASKS=False", "NUM_CLASSES=3"]
    given += ["AUGMENTATION={'fliplr': 0.5}", "RPN_ANCHOR_SCALES=(8, 16)", "BACKBONE=resnet18"]
    assert parse_settings(given) == {
        "NAME": "cells",
        "SEED": None,
        "MEAN_PIXEL": (1, 2, 3),
        "USE_MASKS": False,
        "NUM_CLASSES": 3,
        "AUGMENTATION": {"fliplr": 0.5},
        "RPN_ANCHOR_SCALES": (8, 16),
        "BACKBONE": "resnet18",
    }


def test_problems_in_data_are_not_usage(capsys, tmp_path):
    (tmp_path / "a.json").write_text("{")
    words = ["train", "--images", tmp_path, "--annotations", tmp_path / "a.json"]
    code, _, err = run(capsys, *words)
    assert code == 1 and one_line_error(err, "train") and "a.json" in err


def test_debug_shows_the_traceback(tmp_path):
    (tmp_path / "a.json").write_text("{")
    words = ["train", "--images", tmp_path, "--annotations", tmp_path / "a.json", "--debug"]
    with pytest.raises(ValueError, match="a.json"):
        main([str(word) for word in words])


# --- Data ----------------------------------------------------------------------------------------
def test_split_is_fixed_by_the_seed(pictures):
    options = {"images": pictures / "images", "labels": pictures / "labels", "val_split": 0.25}

    def names(dataset):
        return [info["id"] for info in dataset.image_info]

    train, val = cli_data.training_data(options, say=lambda text: None)
    again, _ = cli_data.training_data(options, say=lambda text: None)
    other = [names(cli_data.training_data(options | {"seed": s}, str)[1]) for s in range(1, 8)]
    assert names(train) == names(again) and len(names(train)) == 3
    assert sorted(names(train) + names(val)) == ["0", "1", "2", "3"]
    assert any(value != names(val) for value in other)
    # a held back image keeps its own labels
    whole = cli_data.dataset(options)
    index = names(whole).index(names(val)[0])
    assert np.array_equal(val.load_mask(0)[0], whole.load_mask(index)[0])
    assert cli_data.training_data(options | {"val_split": 0.0}, str)[1] is None


def test_validation_files(pictures):
    images, file = pictures / "images", pictures / "instances.json"
    options = {"images": images, "annotations": file, "val_annotations": file}
    train, val = cli_data.training_data(options, say=str)
    assert train.num_images == val.num_images == 4
    options = {"images": images, "annotations": file, "val_labels": pictures / "labels"}
    with pytest.raises(UsageError, match=r"classes \['object'\]"):
        cli_data.training_data(options, say=str)


def test_synthetic_sets_do_not_overlap():
    train, val = cli_data.training_data({"dataset": "shapes", "count": 3, "val_count": 2}, say=str)
    assert (train.num_images, val.num_images) == (3, 2)
    assert not np.array_equal(train.load_image(0), val.load_image(0))


# --- Inputs and outputs --------------------------------------------------------------------------
def test_find_images(pictures, tmp_path):
    images = pictures / "images"
    (images / ".hidden.png").touch()
    named = cli_detect.find_images([str(images / "1.png"), str(images), str(images / "*.png")])
    assert [path.name for path in named] == ["1.png", "0.png", "2.png", "3.png"]
    (images / ".hidden.png").unlink()
    for words in ([str(images / "*.jpg")], [str(tmp_path)], [str(images), "nowhere.png"]):
        with pytest.raises(UsageError, match="no such file|no pictures"):
            cli_detect.find_images(words)


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


# --- Commands ------------------------------------------------------------------------------------
def test_info(capsys, tiny_folder):
    code, out, err = run(capsys, "info", tiny_folder)
    assert code == 0 and not err
    assert re.search(r"classes +square, circle, triangle", out)
    assert re.search(r"keras +\d", out) and re.search(r"parameters +[\d,]+ ", out)


def test_detect(capsys, tiny_folder, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes((pictures / "images" / "0.png").read_bytes()[:300])
    words = ["detect", tiny_folder, pictures / "images", tmp_path / "in"]
    code, out, err = run(capsys, *words, "--output", tmp_path / "out", "--max", 3, "--score", 0)
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


def test_detect_never_overwrites_an_input(capsys, tiny_folder, pictures):
    images = pictures / "images"
    before = (images / "0.png").read_bytes()
    code, _, err = run(capsys, "detect", tiny_folder, images, "--output", images)
    assert code == 2 and "would be overwritten" in err
    assert (images / "0.png").read_bytes() == before


def test_detect_without_a_match(capsys, tiny_folder):
    code, _, err = run(capsys, "detect", tiny_folder, "nowhere*.png")
    assert code == 2 and one_line_error(err, "detect") and "nowhere*.png" in err


def test_evaluate(capsys, tiny_folder, pictures, tmp_path):
    words = ["evaluate", tiny_folder, "--images", pictures / "images"]
    words += ["--annotations", pictures / "instances.json", "--output", tmp_path]
    code, out, _ = run(capsys, *words)
    assert code == 0 and "AP50" in out
    scores = json.loads((tmp_path / "evaluation.json").read_text())
    assert scores["num_images"] == 4 and "AP" in scores["bbox"]
    assert (tmp_path / "precision_recall.png").stat().st_size > 1000
    words = ["evaluate", tiny_folder, "--images", pictures / "images"]
    code, _, err = run(capsys, *words, "--labels", pictures / "labels", "--output", tmp_path)
    assert code == 2 and "the annotations ['object']" in err


def test_train_and_resume(capsys, tiny_folder, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--images", pictures / "images", "--labels", pictures / "labels"]
    words += ["--weights", tiny_folder, "--name", "cells", "--val-split", 0.25]
    words += ["--set", "EVALUATE_EVERY=0"]
    code, out, err = run(capsys, *words, "--epochs", 1, "--batch-size", 1)
    assert code == 0, err
    assert "3 images to train on, 1 for validation; classes: object." in out
    assert "with new heads for these classes" in out
    assert re.search(r"^epoch 1/1  loss \d\S+  val loss \d\S+", out, re.MULTILINE)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("cells2")
    config = json.loads((folder / "config.json").read_text())
    assert (config["NUM_CLASSES"], config["IMAGES_PER_GPU"], config["NAME"]) == (2, 1, "cells")
    assert json.loads((folder / "classes.json").read_text()) == ["BG", "object"]

    code, out, err = run(capsys, "train", "--resume")
    assert code == 0 and "has finished its 1 epochs" in out
    code, out, err = run(capsys, "train", "--resume", "--batch-size", 2)
    assert code == 2 and "--batch-size cannot change" in err
    code, out, err = run(capsys, "train", "--resume", "--epochs", 2)
    assert code == 0, err
    assert "after epoch 1" in out and "epoch 2/2" in out and "epoch 1/" not in out
    assert len(list((tmp_path / "runs").iterdir())) == 1
    history = (folder / "history.csv").read_text().splitlines()
    assert len(history) == 3


def test_resume_after_a_kill(capsys, tiny_folder, tmp_path):
    """`mrcnn train` killed with SIGKILL: `mrcnn train --resume` finishes the epochs it had left."""
    words = [sys.executable, "-m", "mrcnn", "train", "--dataset", "shapes", "--epochs", "9"]
    words += ["--weights", str(tiny_folder), "--image-size", "64", "--output", str(tmp_path)]
    words += ["--set", "EVALUATE_EVERY=0", "--set", "STEPS_PER_EPOCH=2", "--set"]
    words += ["VALIDATION_STEPS=1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob("*/mask_rcnn_*_0002.h5")):
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    code, out, err = run(capsys, "train", "--resume", "--output", tmp_path)
    assert code == 0, err
    (folder,) = tmp_path.iterdir()
    history = (folder / "history.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in history] == list(range(1, 10))
    done = int(re.search(r"after epoch (\d+)", out).group(1))
    assert f"epoch {done}/9" not in out and f"epoch {done + 1}/9" in out


def test_interrupted(capsys, monkeypatch):
    from mrcnn.cli import train

    def stop(given):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", stop)
    code, _, err = run(capsys, "train", "--dataset", "shapes")
    assert code == 130 and "mrcnn train --resume" in err and err.count("\n") == 1


@pytest.mark.slow
def test_demo(capsys, tmp_path):
    code, out, _ = run(capsys, "demo", "--output", tmp_path)
    assert code == 0
    count = int(re.search(r"Found (\d+) coins", out).group(1))
    assert 23 <= count <= 25
    assert len(json.loads((tmp_path / "detections.json").read_text())) == count
    for name in ("demo.png", "curves.png"):
        assert cv2.imread(str(tmp_path / name)) is not None


def test_convert_there_and_back(capsys, tmp_path, monkeypatch):
    from families import torchvision_arrays

    from mrcnn.weights.files.tensors import write_safetensors

    monkeypatch.chdir(tmp_path)
    write_safetensors("net.safetensors", torchvision_arrays(tmp_path))
    code, out, _ = run(capsys, "convert", "net.safetensors")
    assert code == 0 and "resnet18, 5 classes, torchvision arithmetic" in out
    assert json.loads((tmp_path / "net" / "config.json").read_text())["NUMERICS"] == "torchvision"
    code, out, _ = run(capsys, "convert", "net", "--to", "torchvision")
    assert code == 0 and "net_torchvision.safetensors" in out
    back = (tmp_path / "net_torchvision.safetensors").read_bytes()
    assert back == (tmp_path / "net.safetensors").read_bytes()
    code, _, err = run(capsys, "convert", "net.safetensors")
    assert code == 2 and "net exists already: give another --output" in err
    code, _, err = run(capsys, "convert", "no-such-model")
    assert code == 2 and 'a name that "mrcnn download" lists' in err


def test_detect_with_a_weight_file(capsys, tmp_path, pictures):
    from families import torchvision_arrays

    from mrcnn.weights.files.tensors import write_safetensors

    write_safetensors(tmp_path / "net.safetensors", torchvision_arrays(tmp_path))
    code, out, _ = run(
        capsys, "detect", str(tmp_path / "net.safetensors"), str(pictures / "images"),
        "--output", str(tmp_path / "out"), "--set", "IMAGE_MIN_DIM=64", "--set",
        "IMAGE_MAX_DIM=64", "--score", "0",
    )  # fmt: skip
    assert code == 0 and "images, written to" in out


def test_download_lists_what_there_is(capsys):
    code, out, _ = run(capsys, "download")
    assert code == 0 and "coco-detectron2-r101-3x" in out and "coco-matterport" in out
    code, _, err = run(capsys, "download", "coco")
    assert code == 2 and "there are: coco-torchvision-r50" in err
