"""Nuclei in fluorescence microscopy (BBBC038 / Data Science Bowl 2018): train, then test.

    python benchmarks/nuclei.py --data ../shared/data/nuclei --epochs 30 --runs runs

The folder holds split.json (train, val, test), train/images/<id>.png (grey) and
train/labels/<id>.png (label images). Killed, it goes on from its last epoch when started again with
the same arguments; with a larger --epochs it goes on from the end. `--test-only` reports on the
test images with the newest weights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.folder import ModelFolder
from mrcnn.model import MaskRCNN
from mrcnn.ops.images import read_label_image


class NucleiConfig(Config):
    """Pictures are doubled, since half of the nuclei are smaller than 20 pixels; crops of 256."""

    NAME = "nuclei"
    NUM_CLASSES = 1 + 1
    BACKBONE = "resnet18"
    TOP_DOWN_PYRAMID_SIZE = 96
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 96
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 256
    IMAGE_MIN_SCALE = 2
    IMAGE_STRETCH = (1, 99.8)
    IMAGES_PER_GPU = 4
    RPN_ANCHOR_SCALES = (14, 28, 56, 112, 224)
    RPN_ANCHOR_RATIOS = (0.5, 1, 2)
    RPN_NMS_THRESHOLD = 0.8
    PRE_NMS_LIMIT = 600
    POST_NMS_ROIS_TRAINING = 600
    POST_NMS_ROIS_INFERENCE = 1000
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
        "fliplr": 0.5, "flipud": 0.5, "rot90": 0.5, "scale": (0.6, 1.4),
        "brightness": 0.1, "contrast": 0.2,
    }  # fmt: skip


class Nuclei(Dataset):
    """One split of the data.

    Args:
        folder: with split.json and train/.
        split: "train", "val" or "test".
        repeat: how often an image counts, a function of its number of pixels.
    """

    def __init__(self, folder, split, repeat=lambda pixels: 1):
        super().__init__()
        folder = Path(folder)
        self.add_class("nuclei", 1, "nucleus")
        for name in json.loads((folder / "split.json").read_text())[split]:
            label = folder / "train" / "labels" / f"{name}.png"
            for copy in range(repeat(read_label_image(label).size)):
                self.add_image(
                    "nuclei",
                    f"{name}-{copy}",
                    folder / "train" / "images" / f"{name}.png",
                    label=label,
                )
        self.prepare()

    def load_label(self, image_id):
        """The label image, int [H, W], 0 background, and the class ids of labels 1..N."""
        label = read_label_image(self.image_info[image_id]["label"])
        values, dense = np.unique(label, return_inverse=True)
        dense = dense.reshape(label.shape) + (0 if values[0] == 0 else 1)
        return dense, np.ones(dense.max(), "int32")

    def load_mask(self, image_id):
        """One mask a nucleus."""
        label, class_ids = self.load_label(image_id)
        return label[..., None] == np.arange(1, len(class_ids) + 1), class_ids


def crops(pixels: int) -> int:
    """A picture of 256 x 256 counts once, a larger one as often as its area holds, at most 4."""
    return min(4, max(1, round(pixels / 256**2)))


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--split", default="test", help="reported on")
    parser.add_argument("--test-only", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    config = NucleiConfig()
    for item in options.set:
        name, value = item.split("=", 1)
        setattr(config, name, json.loads(value))
    model = MaskRCNN("training", config, options.runs)
    if options.test_only:
        model.load_weights(ModelFolder.runs(options.runs, config.NAME)[-1].weights(latest=True))
    else:
        start = time.perf_counter()
        train = Nuclei(options.data, "train", crops)
        model.train(train, Nuclei(options.data, "val"), epochs=options.epochs, verbose=2)
        print(f"trained {(time.perf_counter() - start) / 60:.1f} minutes in this session")
    print(model.evaluate(Nuclei(options.data, options.split)).summary())


if __name__ == "__main__":
    main()
