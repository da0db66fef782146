"""`mrcnn demo`: trains for a moment on synthetic pictures, then counts coins in a photograph."""

from __future__ import annotations

import time
from pathlib import Path

import skimage.data

from mrcnn import results
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.folder import ModelFolder
from mrcnn.images.atomic import atomic_path
from mrcnn.models.mask_rcnn import MaskRCNN

DEMO_IMAGES = 48  # synthetic pictures to train on
DEMO_EPOCHS = 2
DEMO_TEST_IMAGES = 24  # unseen ones to score
DEMO_LEARNING_RATE = 1e-4
DEMO_LAYERS = "heads"
DEMO_SIDE = 192  # pixels of a synthetic picture
DEMO_SCORE = 0.7


def synthetic(count, seed) -> ShapesDataset:
    """Textured shapes and coins in turn, as the bundled model knows them."""
    return ShapesDataset(count, DEMO_SIDE, DEMO_SIDE, seed, style="mixed")


def run(output, say=print, callbacks=(), seed=0) -> int:
    """Runs the demonstration.

    Args:
        output: folder for demo.png, detections.json, curves.png and the trained model.
        say: function that shows a line of text.
        callbacks: Keras callbacks for the training, such as a progress bar.
        seed: of the synthetic pictures.

    Returns:
        How many objects it found in the photograph.
    """
    started = time.monotonic()
    output = Path(output)
    model = MaskRCNN.demo(mode="training", DETECTION_MIN_CONFIDENCE=DEMO_SCORE)
    model.model_dir = str(output)
    model.folder = ModelFolder.new(output, "demo")
    say(f"Training the bundled model for {DEMO_EPOCHS} epochs on {DEMO_IMAGES} synthetic pictures.")
    model.train(
        synthetic(DEMO_IMAGES, seed),
        learning_rate=DEMO_LEARNING_RATE,
        epochs=DEMO_EPOCHS,
        layers=DEMO_LAYERS,
        custom_callbacks=list(callbacks),
        resume=False,
        verbose=0,
    )
    with atomic_path(output / "curves.png") as temporary:
        temporary.write_bytes((model.folder.path / "curves.png").read_bytes())
    say(f"Scoring it on {DEMO_TEST_IMAGES} pictures that it has not seen.")
    say(model.evaluate(synthetic(DEMO_TEST_IMAGES, seed + 1)).summary())

    photograph = skimage.data.coins()
    (found,) = model.detect([photograph], masks="rle")
    results.save_picture(output / "demo.png", photograph, found, model.class_names)
    results.save_json(output / "detections.json", results.coco_rows(found, 0, "coins"))
    count = len(found["scores"])
    say(f"Found {count} coins in the photograph, with scores of at least {DEMO_SCORE}.")
    for name in ("demo.png", "detections.json", "curves.png"):
        say(f"  {output / name}")
    say(f"  {model.folder.path}  (the trained model)")
    say(f"Took {time.monotonic() - started:.0f} seconds.")
    return count
