"""Balloons: train on images annotated with VIA, then turn everything gray except balloons.

    python balloon.py train --dataset=DIR --weights=coco
    python balloon.py splash --weights=last --image=PATH
    python balloon.py splash --weights=last --video=PATH

DIR holds train/ and val/, each with images and a file via_region_data.json. With --toy, the script
fills DIR with drawn images and trains a tiny network, which takes about a minute.
"""

import datetime
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import skimage.draw
import skimage.io

sys.path.append(str(Path(__file__).parent.parent))
import common

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config


class BalloonConfig(Config):
    """Settings for fine-tuning on the balloon data set."""

    NAME = "balloon"
    NUM_CLASSES = 1 + 1  # background + balloon
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 100
    DETECTION_MIN_CONFIDENCE = 0.9


class BalloonDataset(utils.Dataset):
    """Images with outlines drawn in the VGG Image Annotator (VIA 1.x or 2.x)."""

    def load_balloon(self, dataset_dir, subset):
        """Adds the images of one part of the data set.

        Args:
            dataset_dir: str or path. Folder of the data set.
            subset: str. "train" or "val".
        """
        self.add_class("balloon", 1, "balloon")
        folder = Path(dataset_dir) / subset
        path = folder / "via_region_data.json"
        if not path.is_file():
            sys.exit(f"{path} is missing. --dataset needs train/ and val/, each with this file.")
        for entry in json.loads(path.read_text(encoding="utf-8")).values():
            regions = entry["regions"]  # a dict in VIA 1.x, a list in 2.x
            regions = list(regions.values()) if isinstance(regions, dict) else regions
            if regions:  # VIA also lists images without annotations
                height, width = skimage.io.imread(folder / entry["filename"]).shape[:2]
                self.add_image(
                    "balloon",
                    entry["filename"],
                    folder / entry["filename"],
                    height=height,
                    width=width,
                    outlines=[region["shape_attributes"] for region in regions],
                )

    def load_mask(self, image_id):
        """Returns the filled outlines, bool [height, width, N], and their class ids, int32 [N]."""
        info = self.image_info[image_id]
        shape = (info["height"], info["width"])
        masks = np.zeros((*shape, len(info["outlines"])), bool)
        for i, outline in enumerate(info["outlines"]):
            masks[(*fill(outline, shape), i)] = True
        return masks, np.ones(len(info["outlines"]), np.int32)

    def image_reference(self, image_id):
        """Returns the path of the image file."""
        return self.image_info[image_id]["path"]


def fill(outline, shape):
    """Returns the rows and the columns of the pixels inside a shape.

    Args:
        outline: dict. The "shape_attributes" that VIA saved.
        shape: tuple of int. Height and width of the image.
    """
    kind = outline["name"]
    if kind in ("circle", "ellipse"):
        radii = outline.get("ry", outline.get("r")), outline.get("rx", outline.get("r"))
        return skimage.draw.ellipse(outline["cy"], outline["cx"], *radii, shape=shape)
    if kind == "rect":
        corner = (outline["y"], outline["x"])
        extent = (outline["height"], outline["width"])
        return skimage.draw.rectangle(corner, extent=extent, shape=shape)
    return skimage.draw.polygon(outline["all_points_y"], outline["all_points_x"], shape)


def train(model, dataset_dir, epochs):
    """Trains the heads only, because the other layers have been trained on COCO."""
    sets = {}
    for subset in ("train", "val"):
        sets[subset] = BalloonDataset()
        sets[subset].load_balloon(dataset_dir, subset)
        sets[subset].prepare()
    model.train(
        sets["train"],
        sets["val"],
        learning_rate=model.config.LEARNING_RATE,
        epochs=epochs,
        layers="heads",
    )


def color_splash(image, masks):
    """Returns the image in gray, but in color inside the masks.

    Args:
        image: uint8 array [height, width, 3], RGB.
        masks: bool array [height, width, N]. Without masks, the whole image becomes gray.
    """
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=-1)
    return np.where(masks.any(axis=-1, keepdims=True), image, gray).astype(np.uint8)


def splash_image(model, path):
    """Writes the color splash of an image file into the current folder."""
    image = skimage.io.imread(path)[..., :3]
    splash = color_splash(image, model.detect([image], verbose=1)[0]["masks"])
    name = f"splash_{datetime.datetime.now():%Y%m%dT%H%M%S}.png"
    skimage.io.imsave(name, splash)
    print("Saved to", name)


def splash_video(model, path):
    """Writes the color splash of a video file into the current folder, frame by frame."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        sys.exit(f"{path} cannot be opened as a video.")
    size = tuple(int(video.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    name = f"splash_{datetime.datetime.now():%Y%m%dT%H%M%S}.avi"
    fps = video.get(cv2.CAP_PROP_FPS) or 25
    writer = cv2.VideoWriter(name, cv2.VideoWriter_fourcc(*"MJPG"), fps, size)
    count = 0
    while True:
        is_read, frame = video.read()
        if not is_read:
            break
        image = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        splash = color_splash(image, model.detect([image])[0]["masks"])
        writer.write(cv2.cvtColor(splash, cv2.COLOR_RGB2BGR))
        count += 1
        print(f"\rframe {count}", end="", flush=True)
    writer.release()
    print("\nSaved to", name)


def make_toy(dataset_dir):
    """Writes a few drawn images with their annotations in the format of VIA 2.x."""
    for subset, seeds in (("train", range(6)), ("val", range(6, 8))):
        folder = dataset_dir / subset
        folder.mkdir(parents=True, exist_ok=True)
        entries = {}
        for seed in seeds:
            image, _, circles = common.discs(seed)
            skimage.io.imsave(folder / f"{seed}.png", image, check_contrast=False)
            turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            regions = []
            for y, x, r in circles.tolist():
                attributes = {
                    "name": "polygon",
                    "all_points_y": (y + r * np.sin(turn)).astype(int).tolist(),
                    "all_points_x": (x + r * np.cos(turn)).astype(int).tolist(),
                }
                regions.append({"shape_attributes": attributes})
            entries[f"{seed}.png"] = {"filename": f"{seed}.png", "regions": regions}
        (folder / "via_region_data.json").write_text(json.dumps(entries), encoding="utf-8")


def main():
    parser, args = common.parse(
        __doc__, ["train", "splash"], make_toy, image="image for splash", video="video for splash"
    )
    config = BalloonConfig(**common.TINY) if args.toy else BalloonConfig()
    if args.command == "train":
        if not args.dataset:
            parser.error("train needs --dataset, a folder with train/ and val/")
        model = modellib.MaskRCNN("training", config, args.logs)
        common.load_weights(model, args.weights)
        train(model, args.dataset, epochs=1 if args.toy else 30)
        return
    if not (args.image or args.video):
        parser.error("splash needs --image or --video")
    config.IMAGES_PER_GPU = 1
    model = modellib.MaskRCNN("inference", config, args.logs)
    common.load_weights(model, args.weights)
    if args.image:
        splash_image(model, args.image)
    else:
        splash_video(model, args.video)


if __name__ == "__main__":
    main()
