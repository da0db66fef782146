"""Trains the small model that comes with the package, on synthetic coins and shapes alone.

    python benchmarks/train_demo.py --epochs 11 --output mrcnn/assets/demo

Killed, it goes on from its last epoch when started again with the same arguments. At the end it
tries the model on a photograph that it never saw, the coins of scikit-image, and prints the number
found (there are 24).
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import h5py
import numpy as np
import skimage.data

from mrcnn.config import Config
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.model import MaskRCNN


class DemoConfig(Config):
    """ResNet-18 of half width with narrow heads: 4 million weights."""

    NAME = "demo"
    NUM_CLASSES = 1 + 3
    BACKBONE = "resnet18"
    BACKBONE_WIDTH = 32
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 64
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 192
    IMAGE_MAX_DIM = 384
    IMAGES_PER_GPU = 8
    RPN_ANCHOR_SCALES = (16, 32, 64, 128, 256)
    RPN_TRAIN_ANCHORS_PER_IMAGE = 128
    PRE_NMS_LIMIT = 300
    POST_NMS_ROIS_TRAINING = 300
    POST_NMS_ROIS_INFERENCE = 200
    TRAIN_ROIS_PER_IMAGE = 64
    ROI_POSITIVE_RATIO = 0.25
    MAX_GT_INSTANCES = 40
    MINI_MASK_SHAPE = (28, 28)
    OPTIMIZER = "adamw"
    LEARNING_RATE = 1e-3
    WEIGHT_DECAY = 1e-2
    LR_SCHEDULE = "cosine"
    WARMUP_STEPS = 200
    EVALUATE_EVERY = 0
    AUGMENTATION = {
        "fliplr": 0.5, "flipud": 0.5, "rot90": 0.5, "scale": (0.7, 1.3),
        "brightness": 0.1, "contrast": 0.2,
    }  # fmt: skip


def synthetic(count, seed=0) -> ShapesDataset:
    """Textured shapes and coins in turn, of the size of the photograph."""
    return ShapesDataset(count, 304, 384, seed, style="mixed")


def store_half_precision(source, target):
    """Copies a weights file with float16 numbers: half the size, and no AP lost."""
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        new.attrs.update(old.attrs)

        def copy(name, item):
            if isinstance(item, h5py.Dataset):
                data = item[()]
                if np.issubdtype(data.dtype, np.floating):
                    data = data.astype("float16")
                new.create_dataset(name, data=data, compression="gzip", shuffle=True)
            else:
                new.require_group(name).attrs.update(item.attrs)

        old.visititems(copy)


def publish(model, output):
    """Writes the model folder for whole pictures of any size, with half-precision weights."""
    output = Path(output)
    model.config.IMAGE_RESIZE_MODE = "square"
    model.config.IMAGE_MIN_DIM = 0
    model.save(output)
    whole = output / "weights.h5"
    half = output / "half.h5"
    store_half_precision(whole, half)
    os.replace(half, whole)


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--images", type=int, default=1600, help="pictures an epoch")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--output", default="mrcnn/assets/demo")
    options = parser.parse_args()
    model = MaskRCNN("training", DemoConfig(), options.runs)
    start = time.perf_counter()
    model.train(synthetic(options.images), epochs=options.epochs, verbose=2)
    print(f"{(time.perf_counter() - start) / 60:.1f} minutes")
    publish(model, options.output)
    finished = MaskRCNN.load(options.output)
    print(finished.evaluate(synthetic(100, seed=1)).summary())
    found = finished.detect([skimage.data.coins()])[0]
    print(f"coins: {len(found['scores'])} of 24, scores {np.round(found['scores'], 2)}")


if __name__ == "__main__":
    main()
