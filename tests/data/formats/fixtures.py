"""Small data sets in the true layouts of the tools, by the name of the format.

Each function writes one into an empty folder and returns the path that a user would open. The scene
is the same where the layout allows: `a.png` and `b.png` of 20x30 pixels (height x width); a cat and
a dog on `a`, nothing on `b`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 20, 30
CAT = (2, 3, 10, 9)  # y1, x1, y2, x2
DOG = (5, 12, 15, 28)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.linspace(0, 200, width).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(row, (height, 1))] * 3, axis=-1)).save(path)
    return path


def images(folder: Path, suffix: str = ".png") -> None:
    image(folder / f"a{suffix}")
    image(folder / f"b{suffix}")


def mask(box: tuple[int, int, int, int]) -> np.ndarray:
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    return inside


# --- YOLO ----------------------------------------------------------------------------------------
def yolo_row(number: int, box: tuple[int, int, int, int]) -> str:
    """As LabelImg writes a box."""
    y1, x1, y2, x2 = box
    values = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
    return f"{number} " + " ".join(f"{value:.6f}" for value in values) + "\n"


def yolo_polygon(number: int, box: tuple[int, int, int, int]) -> str:
    y1, x1, y2, x2 = box
    points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    return f"{number} " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in points) + "\n"


def yolo_ultralytics(folder: Path) -> Path:
    """YOLO-seg with a validation split; the file says where it lay on another machine."""
    image(folder / "images" / "train" / "a.png")
    image(folder / "images" / "val" / "b.png")
    text(folder / "labels" / "train" / "a.txt", yolo_polygon(0, CAT) + yolo_polygon(1, DOG))
    text(
        folder / "pets-seg.yaml",
        "# Ultralytics YOLO\n\n"
        "path: ../datasets/pets-seg # dataset root dir\n"
        "train: images/train # train images (relative to 'path') 4 images\n"
        "val: images/val\n"
        "test: # test images (optional)\n\n"
        "# Classes\n"
        "names:\n"
        "  0: cat\n"
        "  1: dog # not: a wolf\n"
        '  2: "hot dog"\n\n'
        "# Download script/URL (optional)\n"
        "download: https://example.org/assets/pets-seg.zip\n",
    )
    return folder


def yolo_roboflow(folder: Path) -> Path:
    """Boxes with a folder per split; the paths in the file lead out of the folder."""
    image(folder / "train" / "images" / "a_png.rf.1a2b.jpg")
    text(folder / "train" / "labels" / "a_png.rf.1a2b.txt", yolo_row(0, CAT) + yolo_row(1, DOG))
    image(folder / "valid" / "images" / "b_png.rf.3c4d.jpg")
    text(folder / "valid" / "labels" / "b_png.rf.3c4d.txt", "")
    text(folder / "README.roboflow.txt", "\nPets - v1\nThis dataset was exported\n")
    text(
        folder / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
        "nc: 2\nnames: ['cat', 'dog']\n\n"
        "roboflow:\n  workspace: someone\n  project: pets\n  version: 1\n",
    )
    return folder


def yolo_labelimg(folder: Path) -> Path:
    """Images, labels and classes.txt in one folder."""
    images(folder)
    text(folder / "a.txt", yolo_row(0, CAT) + yolo_row(1, DOG))
    text(folder / "classes.txt", "cat\ndog\n")
    return folder


def yolo_label_studio(folder: Path) -> Path:
    images(folder / "images")
    text(folder / "labels" / "a.txt", yolo_polygon(0, CAT) + yolo_polygon(1, DOG))
    text(folder / "labels" / "b.txt", "")
    text(folder / "classes.txt", "cat\ndog\n")
    text(
        folder / "notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}'
    )
    return folder


def yolo_darknet(folder: Path) -> Path:
    """YOLO 1.1 as CVAT exports it."""
    images(folder / "obj_train_data")
    text(folder / "obj_train_data" / "a.txt", yolo_row(0, CAT) + yolo_row(1, DOG))
    text(folder / "obj_train_data" / "b.txt", "")
    text(folder / "obj.names", "cat\ndog\n")
    text(
        folder / "obj.data",
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
    )
    text(folder / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    return folder


# The format before the colon has to be the only one that recognizes the folder.
FIXTURES = {
    "yolo: Ultralytics": yolo_ultralytics,
    "yolo: Roboflow": yolo_roboflow,
    "yolo: LabelImg": yolo_labelimg,
    "yolo: Label Studio": yolo_label_studio,
    "yolo: Darknet": yolo_darknet,
}
