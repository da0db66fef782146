"""Nuclei in fluorescence microscopy (BBBC038 / Data Science Bowl 2018): train, then test.

    python benchmarks/nuclei.py --data DIR --epochs 26 --runs runs

DIR holds split.json, which lists the ids of train, val and test, the gray images
train/images/ID.png and the label images train/labels/ID.png. If the script is interrupted, the same
command resumes from the last completed epoch. With a larger --epochs, a finished run is trained
further. `--test-only` evaluates the newest weights on the test images without training.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from mrcnn import Config, MaskRCNN
from mrcnn.data.formats.label_images import LabelImageDataset
from mrcnn.folder import ModelFolder
from mrcnn.images.files import read_label_image


class NucleiConfig(Config):
    """Settings for crops of images at twice their size: half of the nuclei are below 20 pixels."""

    NAME = "nuclei"
    NUM_CLASSES = 1 + 1
    BACKBONE = "resnet18"
    BACKBONE_WIDTH = 32
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 64
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 256
    IMAGE_MIN_SCALE = 2
    IMAGE_STRETCH = (1, 99.8)
    IMAGES_PER_GPU = 4
    RPN_ANCHOR_SCALES = (14, 28, 56, 112, 224)
    RPN_ANCHOR_RATIOS = (0.5, 1, 2)
    RPN_NMS_THRESHOLD = 0.8
    PRE_NMS_LIMIT = 2000
    POST_NMS_ROIS_TRAINING = 600
    POST_NMS_ROIS_INFERENCE = 1500
    TRAIN_ROIS_PER_IMAGE = 128
    ROI_POSITIVE_RATIO = 0.33
    MAX_GT_INSTANCES = 150
    MINI_MASK_SHAPE = (28, 28)
    DETECTION_MAX_INSTANCES = 400
    DETECTION_MIN_CONFIDENCE = 0.5
    DETECTION_NMS_THRESHOLD = 0.4
    OPTIMIZER = "adamw"
    LEARNING_RATE = 1e-3
    WEIGHT_DECAY = 1e-2
    WARMUP_STEPS = 200
    LR_SCHEDULE = "cosine"
    EVALUATE_EVERY = 0
    AUGMENTATION = {
        "fliplr": 0.5,
        "flipud": 0.5,
        "rot90": 0.5,
        "scale": (0.6, 1.4),
        "brightness": 0.1,
        "contrast": 0.2,
    }


def nuclei(folder, split, by_area=False) -> LabelImageDataset:
    """Returns one part of the data.

    Args:
        folder: str or path. The folder with split.json and train/.
        split: str. "train", "val" or "test".
        by_area: bool. Whether a large image appears several times per epoch, because each time
            only one crop of it is seen. Defaults to False.
    """
    images = Path(folder) / "train" / "images"
    labels = Path(folder) / "train" / "labels"
    stems = json.loads((Path(folder) / "split.json").read_text())[split]
    if by_area:
        stems = [stem for stem in stems for _ in range(crops(labels / f"{stem}.png"))]
    return LabelImageDataset.from_folders(images, labels, "nucleus", stems)


def crops(label) -> int:
    """Returns how many crops of 256x256 an image holds, from 1 to 4."""
    return min(4, max(1, round(read_label_image(label).size / 256**2)))


def main():
    """Reads the command line, trains and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=26)
    parser.add_argument("--runs", default="runs")
    parser.add_argument(
        "--split", default="test", help="images to evaluate: train, val or test (default: test)"
    )
    parser.add_argument("--test-only", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = {k: json.loads(v) for k, v in (item.split("=", 1) for item in options.set)}
    runs = [run for run in ModelFolder.runs(options.runs, NucleiConfig.NAME) if run.checkpoints()]
    if runs:
        model = MaskRCNN.load(runs[-1].path, "training", **settings)  # the newest weights
    else:
        model = MaskRCNN("training", NucleiConfig(**settings), options.runs)
    if not options.test_only:
        start = time.perf_counter()
        train = nuclei(options.data, "train", by_area=True)
        model.train(train, nuclei(options.data, "val"), epochs=options.epochs, verbose=2)
        print(f"trained {(time.perf_counter() - start) / 60:.1f} minutes in this call")
    print(model.evaluate(nuclei(options.data, options.split)).summary())


if __name__ == "__main__":
    main()
