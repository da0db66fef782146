"""Code that the samples share: the command line, and a tiny network and drawn images for --toy."""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from mrcnn import utils

COCO_WEIGHTS = Path("mask_rcnn_coco.h5")
# The layers whose weights depend on the number of classes.
HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]

# Settings of the tiny network. It is far too small to learn much.
TINY = {
    "BACKBONE": "resnet18",
    "BACKBONE_WIDTH": 8,
    "TOP_DOWN_PYRAMID_SIZE": 16,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 32,
    "MASK_CHANNELS": 8,
    "MASK_CONV_LAYERS": 1,
    "IMAGE_RESIZE_MODE": "square",
    "IMAGE_MIN_DIM": 128,
    "IMAGE_MAX_DIM": 128,
    "IMAGE_MIN_SCALE": 0,
    "RPN_ANCHOR_SCALES": (8, 16, 32, 64, 128),
    "PRE_NMS_LIMIT": 200,
    "POST_NMS_ROIS_TRAINING": 100,
    "POST_NMS_ROIS_INFERENCE": 50,
    "TRAIN_ROIS_PER_IMAGE": 32,
    "DETECTION_MAX_INSTANCES": 20,
    "DETECTION_MIN_CONFIDENCE": 0.0,
    "IMAGES_PER_GPU": 2,
    "STEPS_PER_EPOCH": 4,
    "VALIDATION_STEPS": 1,
    "EVALUATE_EVERY": 0,
    "TRAIN_BN": None,
}


def discs(seed, size=(96, 128), count=3):
    """Draws an image of bright discs that do not touch.

    Args:
        seed: int. Seed of the random numbers.
        size: tuple of int. Height and width of the image. Defaults to (96, 128).
        count: int. Number of discs. Defaults to 3.

    Returns:
        (image, masks, circles): uint8 [height, width, 3], bool [height, width, count], and int
        [count, 3] with the y, x and radius of each disc.
    """
    rng = np.random.default_rng(seed)
    image = rng.integers(20, 70, (*size, 3), dtype=np.uint8)
    y, x = np.mgrid[: size[0], : size[1]]
    circles = []
    while len(circles) < count:
        # A disc that would touch another one is dropped, and the next one is tried.
        radius = int(rng.integers(8, 16))
        center = rng.integers(radius, np.array(size) - radius)
        if all(np.hypot(*(center - c[:2])) > radius + c[2] for c in circles):
            circles.append((*map(int, center), radius))
    masks = np.stack([(y - cy) ** 2 + (x - cx) ** 2 <= r**2 for cy, cx, r in circles], axis=-1)
    for i in range(count):
        image[masks[..., i]] = rng.integers(120, 255, 3)
    return image, masks, np.array(circles)


def parse(description, commands, make_toy, **options):
    """Reads the command line: the command, --dataset, --weights, --logs, --toy and more options.

    With --toy, the folder of the data set is filled with drawn images before this returns.

    Args:
        description: str. Docstring of the script. Its first line is shown by --help.
        commands: list of str. Names of the commands. All of them except "train" need --weights.
        make_toy: callable. Takes a `Path` and fills this folder with a toy data set.
        **options: further options of the script, such as `image`. The value is the help text, or a
            dict of keyword arguments for `add_argument`.

    Returns:
        (parser, args): the `ArgumentParser`, for further errors, and the parsed arguments.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("command", choices=commands)
    parser.add_argument("--dataset", help="folder of the data set")
    parser.add_argument(
        "--weights", help="coco, last, imagenet or a .h5 file (default: start from scratch)"
    )
    parser.add_argument("--logs", default="logs", help="folder that holds the runs (default: logs)")
    parser.add_argument("--toy", action="store_true", help="use drawn images and a tiny network")
    for name, option in options.items():
        option = {"help": option} if isinstance(option, str) else option
        parser.add_argument(f"--{name}", **option)
    args = parser.parse_args()
    if args.weights is None and args.command != "train":
        parser.error(f"{args.command} needs --weights: last, coco or a .h5 file")
    if args.toy:
        args.dataset = args.dataset or tempfile.mkdtemp()
        make_toy(Path(args.dataset))
    return parser, args


def load_weights(model, weights):
    """Loads weights into a model.

    Args:
        model: MaskRCNN.
        weights: str or None. "coco" for Matterport's COCO weights, "last" for the newest checkpoint
            of the model, "imagenet" for a ResNet-50, or the path of a file. If None, the model
            keeps its random weights.
    """
    if weights is None:
        return
    if weights == "coco":
        if not COCO_WEIGHTS.exists():
            utils.download_trained_weights(COCO_WEIGHTS)
        other_classes = model.config.NUM_CLASSES != 1 + 80
        model.load_weights(COCO_WEIGHTS, by_name=True, exclude=HEADS if other_classes else None)
    elif weights == "last":
        model.load_weights(model.find_last(), by_name=True)
    elif weights == "imagenet":
        model.load_weights(model.get_imagenet_weights(), by_name=True)
    else:
        model.load_weights(weights, by_name=True)
