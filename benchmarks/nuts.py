"""Fine-tunes weights of another package on 18 images of dates, figs and hazelnuts.

    python benchmarks/nuts.py --data DIR --weights coco-torchvision-r50 --epochs 20

DIR holds trainval.json in the COCO format and images/. `--weights` is a file of torchvision or
Detectron2, or the name of published weights. Fourteen images are for training, four for evaluation.
At the end, the model is saved and loaded again, which must not change its detections.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from mrcnn import Config, MaskRCNN
from mrcnn.data import CocoDataset
from mrcnn.data.split import split
from mrcnn.weights.download import path_or_download

HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]


class NutsConfig(Config):
    """Settings for the data. Those of the network come with the weights."""

    NAME = "nuts"
    NUM_CLASSES = 1 + 3
    IMAGE_MIN_DIM = 288
    IMAGE_MAX_DIM = 384
    IMAGES_PER_GPU = 2
    TRAIN_ROIS_PER_IMAGE = 128
    DETECTION_MIN_CONFIDENCE = 0.5
    OPTIMIZER = "adamw"
    WARMUP_STEPS = 20
    LR_SCHEDULE = "cosine"
    EVALUATE_EVERY = 0
    AUGMENTATION = {"fliplr": 0.5, "flipud": 0.5, "brightness": 0.1}


def main():
    """Reads the command line, trains and evaluates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--layers", default="3+")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = {k: json.loads(v) for k, v in (item.split("=", 1) for item in options.set)}
    whole = CocoDataset.from_json(f"{options.data}/trainval.json", f"{options.data}/images")
    train_set, val_set = split(whole, 4 / 18, seed=0)

    model = MaskRCNN("training", NutsConfig(**settings), options.runs)
    model.load_weights(path_or_download(options.weights), exclude=HEADS)
    print("before:", model.evaluate(val_set).segm["AP"])
    model.train(
        train_set, val_set, options.learning_rate, options.epochs, options.layers, verbose=2
    )
    print(model.evaluate(val_set).summary())

    image = val_set.load_image(val_set.image_ids[0])
    (found,) = model.detect([image])
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        (again,) = MaskRCNN.load(folder).detect([image])
    same = all(np.array_equal(found[name], again[name]) for name in found)
    print(f"after saving and loading: {'the same' if same else 'different'} detections")


if __name__ == "__main__":
    main()
