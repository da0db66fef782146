"""`mrcnn demo`: trains for a moment on synthetic images, then counts the coins in a real one."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from mrcnn.cli.shared import options
from mrcnn.cli.shared.backend import load_backend
from mrcnn.cli.shared.usage import OK

HELP = "Train for a moment, then find the coins in an image."
EXAMPLE = "mrcnn demo"

IMAGES = 48  # synthetic images to train on
EPOCHS = 2
TEST_IMAGES = 24  # unseen ones to score
LEARNING_RATE = 1e-4
LAYERS = "heads"
SIDE = 192  # pixels of a synthetic image
SCORE = 0.7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    options.add_output(parser, "mrcnn-demo")


def run(args: argparse.Namespace) -> int:
    """Runs the demonstration; writes demo.png, detections.json, curves.png and the model."""
    load_backend()
    from mrcnn.folder import ModelFolder
    from mrcnn.images.atomic import atomic_path
    from mrcnn.models.mask_rcnn import MaskRCNN

    started = time.monotonic()
    output = Path(args.output)
    model = MaskRCNN.demo(mode="training", DETECTION_MIN_CONFIDENCE=SCORE)
    model.model_dir = str(output)
    model.folder = ModelFolder.new(output, "demo")
    _train(model)
    with atomic_path(output / "curves.png") as temporary:
        temporary.write_bytes((model.folder.path / "curves.png").read_bytes())
    _count_coins(model, output)
    for name in ("demo.png", "detections.json", "curves.png"):
        print(f"  {output / name}")
    print(f"  {model.folder.path}  (the trained model)")
    print(f"Took {time.monotonic() - started:.0f} seconds.")
    return OK


def _synthetic(count, seed):
    """Textured shapes and coins in turn, as the bundled model knows them."""
    from mrcnn.data.synthetic.shapes import ShapesDataset

    return ShapesDataset(count, SIDE, SIDE, seed, style="mixed")


def _train(model: Any) -> None:
    from mrcnn.cli.shared.progress import EpochLines

    print(f"Training the bundled model for {EPOCHS} epochs on {IMAGES} synthetic images.")
    model.train(
        _synthetic(IMAGES, 0),
        learning_rate=LEARNING_RATE,
        epochs=EPOCHS,
        layers=LAYERS,
        custom_callbacks=[EpochLines()],
        resume=False,
        verbose=0,
    )
    print(f"Scoring it on {TEST_IMAGES} images that it has not seen.")
    print(model.evaluate(_synthetic(TEST_IMAGES, 1)).summary())


def _count_coins(model: Any, output: Path) -> None:
    import skimage.data

    from mrcnn import results

    image = skimage.data.coins()
    (found,) = model.detect([image], masks="rle")
    results.save_drawing(output / "demo.png", image, found, model.class_names)
    results.save_rows(output / "detections.json", results.coco_rows(found, 0, "coins"))
    count = len(found["scores"])
    print(f"Found {count} coins in the image, with scores of at least {SCORE}.")
