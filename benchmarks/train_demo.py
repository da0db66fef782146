"""Trains the small model that comes with the package, on synthetic coins and shapes only.

    python benchmarks/train_demo.py --epochs 11 --output mrcnn/assets/demo

If the script is interrupted, the same command resumes from the last completed epoch. At the end,
the model is tried on a real image that it has not seen, `skimage.data.coins()`. The script prints
how many of the 24 coins it finds.
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

from mrcnn import Config, MaskRCNN
from mrcnn.data.synthetic.shapes import ShapesDataset


class DemoConfig(Config):
    """Settings of a ResNet-18 of half width with narrow heads, 4 million weights in all."""

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
        "fliplr": 0.5,
        "flipud": 0.5,
        "rot90": 0.5,
        "scale": (0.7, 1.3),
        "brightness": 0.1,
        "contrast": 0.2,
    }


def synthetic(count, seed=0) -> ShapesDataset:
    """Returns images of textured shapes and of coins in turn, in the size of `coins()`."""
    return ShapesDataset(count, 304, 384, seed, style="mixed")


def store_half_precision(source, target):
    """Copies a weights file in float16, which halves its size and costs no AP."""
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
    """Writes the model folder for whole images of any size, with half-precision weights."""
    output = Path(output)
    model.config.IMAGE_RESIZE_MODE = "square"
    model.config.IMAGE_MIN_DIM = 0
    model.save(output)
    whole = output / "weights.h5"
    half = output / "half.h5"
    store_half_precision(whole, half)
    os.replace(half, whole)


def main():
    """Reads the command line, trains, evaluates and writes the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=11)
    parser.add_argument("--images", type=int, default=1600, help="images per epoch (default: 1600)")
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
