"""Shapes: train on images that are drawn when they are needed.

    python shapes.py train
    python shapes.py evaluate --weights=last

No files are needed. This is the shortest example of how to write a Dataset and train a model. With
--toy, the network is tiny.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.append(str(Path(__file__).parent.parent))
import common

from mrcnn import model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config


class ShapesConfig(Config):
    """Settings for a small network that trains on a CPU."""

    NAME = "shapes"
    NUM_CLASSES = 1 + 3  # background + three shapes
    IMAGES_PER_GPU = 8
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 5
    # A small network can learn from scratch, so no weights are downloaded.
    BACKBONE = "resnet18"
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_CHANNELS = 64
    PRE_NMS_LIMIT = 256
    POST_NMS_ROIS_TRAINING = 256
    POST_NMS_ROIS_INFERENCE = 128
    OPTIMIZER = "adamw"
    LR_SCHEDULE = "cosine"
    WARMUP_STEPS = 50


class ShapesDataset(utils.Dataset):
    """Squares, circles and triangles on a plain background. Later shapes cover earlier ones."""

    SHAPES = ("square", "circle", "triangle")

    def load_shapes(self, count, height, width, seed=0):
        """Adds images, each with one to four shapes from its own random numbers.

        Args:
            count: int. Number of images.
            height: int. Height of the images.
            width: int. Width of the images.
            seed: int. Different seeds give different images. Defaults to 0.
        """
        for class_id, name in enumerate(self.SHAPES, start=1):
            self.add_class("shapes", class_id, name)
        for image_id in range(count):
            rng = np.random.default_rng([seed, image_id])
            shapes = [self.random_shape(rng, height, width) for _ in range(rng.integers(1, 5))]
            boxes = np.array([[y - s, x - s, y + s, x + s] for _, _, (y, x, s) in shapes])
            kept = utils.non_max_suppression(boxes, np.arange(len(shapes)), 0.3)
            self.add_image(
                "shapes",
                image_id,
                path=None,
                height=height,
                width=width,
                background=rng.integers(0, 255, 3).tolist(),
                shapes=[shapes[i] for i in sorted(kept)],
            )

    def random_shape(self, rng, height, width):
        """Returns (name, color, (y, x, half of its side)) of a shape that lies inside the image."""
        size = int(rng.integers(10, height // 4))
        place = rng.integers(size, [height - size, width - size])
        color = rng.integers(0, 255, 3).tolist()
        return str(rng.choice(self.SHAPES)), color, (*map(int, place), size)

    def draw(self, image, shape, place, color):
        """Draws a shape into an image and returns the image.

        Args:
            image: uint8 array [height, width] or [height, width, 3]. Changed in place.
            shape: str. "square", "circle" or "triangle".
            place: tuple of int. y, x and half of its side, in pixels.
            color: int or list of int. Value per channel.
        """
        y, x, s = place
        if shape == "square":
            cv2.rectangle(image, (x - s, y - s), (x + s, y + s), color, -1)
        elif shape == "circle":
            cv2.circle(image, (x, y), s, color, -1)
        else:
            half = s / np.sin(np.radians(60))
            corners = [(x, y - s), (x - half, y + s), (x + half, y + s)]
            cv2.fillPoly(image, [np.array(corners, np.int32)], color)
        return image

    def load_image(self, image_id):
        """Returns the drawn image, uint8 [height, width, 3]."""
        info = self.image_info[image_id]
        image = np.full((info["height"], info["width"], 3), info["background"], np.uint8)
        for shape, color, place in info["shapes"]:
            self.draw(image, shape, place, color)
        return image

    def load_mask(self, image_id):
        """Returns the visible parts, bool [height, width, N], and class ids, int32 [N]."""
        info = self.image_info[image_id]
        blank = np.zeros((info["height"], info["width"]), np.uint8)
        masks = [self.draw(blank.copy(), shape, place, 1) > 0 for shape, _, place in info["shapes"]]
        covered = np.zeros(blank.shape, bool)
        for i in reversed(range(len(masks))):  # from the front to the back
            whole = masks[i]
            masks[i] = whole & ~covered
            covered |= whole
        class_ids = [self.class_names.index(shape) for shape, _, _ in info["shapes"]]
        return np.stack(masks, axis=-1), np.array(class_ids, np.int32)

    def image_reference(self, image_id):
        """Returns the names of the shapes in the image."""
        return ", ".join(shape for shape, _, _ in self.image_info[image_id]["shapes"])


def dataset(count, config, seed):
    """Returns a prepared data set whose images have the size that the network takes."""
    shapes = ShapesDataset()
    shapes.load_shapes(count, *config.IMAGE_SHAPE[:2], seed=seed)
    shapes.prepare()
    return shapes


def train(model, epochs):
    """Trains all layers, since the backbone starts from scratch too."""
    model.train(
        dataset(500, model.config, seed=0),
        dataset(50, model.config, seed=1),
        learning_rate=model.config.LEARNING_RATE,
        epochs=epochs,
        layers="all",
    )


def evaluate(model):
    """Prints the mean AP at IoU 0.5 over ten new images, and draws the detections of the last."""
    val_set = dataset(10, model.config, seed=2)
    scores = []
    for image_id in val_set.image_ids:
        image, _, class_ids, boxes, masks = modellib.load_image_gt(
            val_set, model.config, image_id, use_mini_mask=False
        )
        r = model.detect([image])[0]
        average_precision, _, _, _ = utils.compute_ap(
            boxes, class_ids, masks, r["rois"], r["class_ids"], r["scores"], r["masks"]
        )
        scores.append(average_precision)
    visualize.save_instances(
        "shapes.png", image, r["rois"], r["masks"], r["class_ids"], val_set.class_names, r["scores"]
    )
    print(f"mAP {np.mean(scores):.3f} over {len(scores)} images. See shapes.png for the last.")


def main():
    _, args = common.parse(__doc__, ["train", "evaluate"], make_toy=lambda folder: None)
    config = ShapesConfig(**common.TINY) if args.toy else ShapesConfig()
    if args.command == "train":
        model = modellib.MaskRCNN("training", config, args.logs)
        common.load_weights(model, args.weights)
        train(model, epochs=1 if args.toy else 6)
    else:
        config.IMAGES_PER_GPU = 1
        model = modellib.MaskRCNN("inference", config, args.logs)
        common.load_weights(model, args.weights)
        evaluate(model)


if __name__ == "__main__":
    main()
