"""The examples of README.md run as they are written there, with shorter training."""

import json
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from families import detectron2_arrays, torchvision_arrays

from mrcnn import Config, MaskRCNN
from mrcnn.cli import build_parser, commands
from mrcnn.cli.shared.options import parse_settings
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.weights.files.tensors import write_safetensors

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
DETECT, OTHERS, OTHER_CLASSES, TRAIN, DATASET = EXAMPLES


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_detect(capsys):
    exec(DETECT, {})
    assert "(303, 384, " in capsys.readouterr().out


def test_weights_of_others(folder, monkeypatch):
    small = torchvision_arrays(folder)
    write_safetensors("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", small)
    Path("model_final_f10217.pkl").write_bytes(pickle.dumps({"model": detectron2_arrays(folder)}))
    published = {"coco-detectron2-r50-3x": Path("model_final_f10217.pkl")}
    monkeypatch.setattr(
        "mrcnn.models.mask_rcnn.path_or_download", lambda name: published.get(name, Path(name))
    )
    names = {"MaskRCNN": MaskRCNN, "Config": Config}
    exec(OTHERS, names)
    assert names["model"].config.NUMERICS == "detectron2"
    exec(OTHER_CLASSES, names)
    assert names["model"].config.NUM_CLASSES == 4 and names["model"].mode == "training"


def test_train(folder):
    (folder / "images").mkdir()
    for name, seed in (("train", 0), ("val", 1)):
        shapes = ShapesDataset(2, 64, 64, seed=seed)
        instances = coco_ground_truth(shapes)
        for image_id, image in enumerate(instances["images"]):
            image["file_name"] = f"{name}{image_id}.png"
            path = folder / "images" / image["file_name"]
            cv2.imwrite(str(path), shapes.load_image(image_id))
        (folder / f"{name}.json").write_text(json.dumps(instances))
    shorter = TRAIN.replace("epochs=20", "epochs=1").replace("DIM=512", "DIM=64")
    assert shorter != TRAIN
    # A process of its own, as for a user: a network of this size would stay in the memory of tests.
    command = [sys.executable, "-c", shorter]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "masks" in done.stdout
    assert list(folder.glob("runs/cells*/best.h5"))


def test_dataset(folder):
    cv2.imwrite("cell.png", np.zeros((8, 8, 3), np.uint8))
    labels = np.zeros((8, 8), np.uint16)
    labels[2:4, 2:4], labels[5:, 5:] = 3, 7
    np.save("cell.png.npy", labels)
    names = {}
    exec(DATASET, names)
    dataset = names["CellDataset"]()
    dataset.load_cells(["cell.png"])
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (8, 8, 2) and masks.sum() == 4 + 9 and class_ids.tolist() == [1, 1]


COMMANDS = re.findall(r"^(?:    .*&& |    )(mrcnn .*)$", README.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    """The parser accepts every command line."""
    args = build_parser().parse_args(shlex.split(command)[1:])
    assert args.command.split()[0] == command.split()[1]
    if getattr(args, "settings", None):
        assert parse_settings(args.settings)


def test_every_command_is_shown():
    assert len(COMMANDS) > 8
    missing = set(commands()) - {command.split()[1] for command in COMMANDS}
    assert not missing, f"README shows no example of {missing}"
