"""Shapes: a data set that draws its pictures when they are asked for.

    python shapes.py train
    python shapes.py evaluate --weights=last

No files are needed: the shortest way to see how a Dataset is written and a model trained. With
--toy the network is tiny.
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
    NAME = "shapes"
    NUM_CLASSES = 1 + 3  # background + three shapes
    IMAGES_PER_GPU = 8
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 32
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 5
    # A small network that learns from scratch: nothing is downloaded.
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
    """Squares, circles and triangles on a plain ground; later ones cover earlier ones."""

    SHAPES = ("square", "circle", "triangle")

    def load_shapes(self, count, height, width, seed=0):
        """Adds so many pictures; each is drawn from its own random numbers."""
        for class_id, name in enumerate(self.SHAPES, start=1):
            self.add_class("shapes", class_id, name)
        for image_id in range(count):
            rng = np.random.default_rng([seed, image_id])
            shapes = [self.random_shape(rng, height, width) for _ in range(rng.integers(1, 5))]
            boxes = np.array([[y - s, x - s, y + s, x + s] for _, _, (y, x, s) in shapes])
            kept = utils.non_max_suppression(boxes, np.arange(len(shapes)), 0.3)
            self.add_image(
                "shapes", image_id, path=None, height=height, width=width,
                ground=rng.integers(0, 255, 3).tolist(), shapes=[shapes[i] for i in sorted(kept)],
            )  # fmt: skip

    def random_shape(self, rng, height, width):
        """(name, colour, (y, x, half a side)) of a shape inside the picture."""
        size = int(rng.integers(10, height // 4))
        place = rng.integers(size, [height - size, width - size])
        color = rng.integers(0, 255, 3).tolist()
        return str(rng.choice(self.SHAPES)), color, (*map(int, place), size)

    def draw(self, image, shape, place, color):
        """Draws a shape into an image [H, W(, C)]."""
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
        """Draws the picture: uint8 [H, W, 3]."""
        info = self.image_info[image_id]
        image = np.full((info["height"], info["width"], 3), info["ground"], np.uint8)
        for shape, color, place in info["shapes"]:
            self.draw(image, shape, place, color)
        return image

    def load_mask(self, image_id):
        """Masks bool [H, W, N] of what is to be seen of each shape, and class ids [N]."""
        info = self.image_info[image_id]
        blank = np.zeros((info["height"], info["width"]), np.uint8)
        masks = [self.draw(blank.copy(), shape, place, 1) > 0 for shape, _, place in info["shapes"]]
        covered = np.zeros(blank.shape, bool)
        for i in reversed(range(len(masks))):  # from the front to the back
            masks[i], covered = masks[i] & ~covered, masks[i] | covered
        class_ids = [self.class_names.index(shape) for shape, _, _ in info["shapes"]]
        return np.stack(masks, axis=-1), np.array(class_ids, np.int32)

    def image_reference(self, image_id):
        return ", ".join(shape for shape, _, _ in self.image_info[image_id]["shapes"])


def dataset(count, config, seed):
    """A prepared set of pictures of the size that the network takes."""
    made = ShapesDataset()
    made.load_shapes(count, *config.IMAGE_SHAPE[:2], seed=seed)
    made.prepare()
    return made


def train(model, epochs):
    """Trains all layers; with weights of its own the backbone might wait ("heads" first)."""
    model.train(
        dataset(500, model.config, seed=0), dataset(50, model.config, seed=1),
        learning_rate=model.config.LEARNING_RATE, epochs=epochs, layers="all",
    )  # fmt: skip


def evaluate(model):
    """Mean AP at IoU 0.5 over ten new pictures, and one of them with what was found."""
    val_set, scores = dataset(10, model.config, seed=2), []
    for image_id in val_set.image_ids:
        image, _, class_ids, boxes, masks = modellib.load_image_gt(
            val_set, model.config, image_id, use_mini_mask=False
        )
        r = model.detect([image])[0]
        scores.append(
            utils.compute_ap(boxes, class_ids, masks, r["rois"], r["class_ids"], r["scores"],
                             r["masks"])[0]
        )  # fmt: skip
    visualize.save_instances(
        "shapes.png", image, r["rois"], r["masks"], r["class_ids"], val_set.class_names, r["scores"]
    )
    print(f"mAP {np.mean(scores):.3f} over {len(scores)} pictures; shapes.png shows the last")


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
