"""Nuclei: train on the 2018 Data Science Bowl of Kaggle, and write a submission.

    python nucleus.py train --dataset=DIR --subset=train --weights=imagenet
    python nucleus.py detect --dataset=DIR --subset=stage1_test --weights=last

DIR holds stage1_train/ID/images/ID.png and stage1_train/ID/masks/*.png, and stage1_test/ with the
same folders but without masks. `detect` writes results/DATE/submit.csv, and draws the detections
of each image into results/DATE/ID.png. With --toy, the script fills DIR with drawn images and uses
a tiny network.
"""

import csv
import datetime
import sys
from pathlib import Path

import numpy as np
import skimage.io

sys.path.append(str(Path(__file__).parent.parent))
import common

from mrcnn import model as modellib
from mrcnn import utils, visualize
from mrcnn.config import Config
from mrcnn.data.augment import Augmenter


class NucleusConfig(Config):
    """Settings for training on random crops of large images."""

    NAME = "nucleus"
    NUM_CLASSES = 1 + 1  # background + nucleus
    IMAGES_PER_GPU = 6
    BACKBONE = "resnet50"
    IMAGE_RESIZE_MODE = "crop"  # random crops at full resolution
    IMAGE_MIN_DIM = 512
    IMAGE_MAX_DIM = 512
    IMAGE_MIN_SCALE = 2.0
    MEAN_PIXEL = np.array([43.53, 39.56, 48.22])
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)  # nuclei are small
    RPN_NMS_THRESHOLD = 0.9
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    POST_NMS_ROIS_TRAINING = 1000
    POST_NMS_ROIS_INFERENCE = 2000
    TRAIN_ROIS_PER_IMAGE = 128
    MAX_GT_INSTANCES = 200
    DETECTION_MAX_INSTANCES = 400
    DETECTION_MIN_CONFIDENCE = 0


class InferenceConfig(NucleusConfig):
    """Settings for detection in whole images."""

    IMAGES_PER_GPU = 1
    IMAGE_RESIZE_MODE = "pad64"  # whole images, padded to a multiple of 64
    RPN_NMS_THRESHOLD = 0.7


class NucleusDataset(utils.Dataset):
    """Images with one mask file per nucleus."""

    def load_nucleus(self, dataset_dir, subset):
        """Adds the images of one part of the data set.

        Args:
            dataset_dir: str or path. Folder of the data set.
            subset: str. "val" for every tenth image of stage1_train, "train" for the other images
                of stage1_train, or the name of a folder.
        """
        self.add_class("nucleus", 1, "nucleus")
        folder = Path(dataset_dir) / ("stage1_train" if subset in ("train", "val") else subset)
        ids = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        if not ids:
            sys.exit(f"{folder} holds no images. --dataset must be the folder with stage1_train.")
        if subset in ("train", "val"):
            ids = [x for i, x in enumerate(ids) if (i % 10 == 9) == (subset == "val")]
        for image_id in ids:
            path = folder / image_id / "images" / f"{image_id}.png"
            self.add_image("nucleus", image_id=image_id, path=path)

    def load_mask(self, image_id):
        """Returns masks, bool [height, width, N], and class ids, int32 [N]."""
        folder = Path(self.image_info[image_id]["path"]).parent.parent / "masks"
        masks = [skimage.io.imread(path) > 0 for path in sorted(folder.glob("*.png"))]
        return np.stack(masks, axis=-1), np.ones(len(masks), np.int32)

    def image_reference(self, image_id):
        """Returns the id that Kaggle gave the image."""
        return self.image_info[image_id]["id"]


def train(model, dataset_dir, subset, epochs):
    """Trains the heads, then all layers.

    Args:
        model: MaskRCNN in training mode.
        dataset_dir: str or path. Folder of the data set.
        subset: str. See `NucleusDataset.load_nucleus`.
        epochs: tuple of two ints. The epoch, counted from the start, at which each stage ends.
    """
    sets = []
    for name in (subset, "val"):
        sets.append(NucleusDataset())
        sets[-1].load_nucleus(dataset_dir, name)
        sets[-1].prepare()
    augmentation = Augmenter(fliplr=0.5, flipud=0.5, rot90=0.75, brightness=0.2, contrast=0.3)
    for layers, total in zip(("heads", "all"), epochs, strict=True):
        model.train(
            *sets,
            learning_rate=model.config.LEARNING_RATE,
            epochs=total,
            layers=layers,
            augmentation=augmentation,
        )


def encode(mask):
    """Returns the run-length code that Kaggle asks for, "start length start length ...".

    Args:
        mask: bool array [height, width]. Its pixels are numbered column by column, from 1.
    """
    pixels = np.concatenate([[0], mask.T.ravel(), [0]]).astype(np.int8)
    starts = np.flatnonzero(np.diff(pixels) == 1) + 1
    ends = np.flatnonzero(np.diff(pixels) == -1) + 1
    return " ".join(f"{start} {end - start}" for start, end in zip(starts, ends, strict=True))


def without_overlaps(masks):
    """Returns masks that share no pixel, as Kaggle asks for.

    Args:
        masks: bool array [height, width, N], best detection first. The best one keeps the pixel.
    """
    first = np.cumsum(masks, axis=-1) == 1
    return masks & first


def detect(model, dataset_dir, subset):
    """Writes the detections of each image into a submission file, and drawn into an image."""
    dataset = NucleusDataset()
    dataset.load_nucleus(dataset_dir, subset)
    dataset.prepare()
    folder = Path("results") / f"{datetime.datetime.now():%Y%m%dT%H%M%S}"
    folder.mkdir(parents=True)
    with open(folder / "submit.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", "EncodedPixels"])
        for image_id in dataset.image_ids:
            image, name = dataset.load_image(image_id), dataset.image_reference(image_id)
            found = model.detect([image])[0]
            masks = without_overlaps(found["masks"])
            rows = [encode(mask) for mask in np.moveaxis(masks, -1, 0) if mask.any()]
            writer.writerows([name, row] for row in rows or [""])
            visualize.save_instances(
                folder / f"{name}.png",
                image,
                found["rois"],
                found["masks"],
                found["class_ids"],
                dataset.class_names,
                found["scores"],
            )
    print("Saved to", folder)


def make_toy(dataset_dir):
    """Writes drawn images in the layout of Kaggle."""
    for subset, count in (("stage1_train", 10), ("stage1_test", 2)):
        for seed in range(count):
            image, masks, _ = common.discs(seed + 100 * (subset == "stage1_test"))
            folder = dataset_dir / subset / f"{seed:04}"
            files = {f"images/{seed:04}": image}
            if subset == "stage1_train":
                files |= {f"masks/{i}": masks[..., i] * np.uint8(255) for i in range(3)}
            for name, pixels in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                skimage.io.imsave(folder / f"{name}.png", pixels, check_contrast=False)


def main():
    parser, args = common.parse(
        __doc__,
        ["train", "detect"],
        make_toy,
        subset="part of the data: train, val, stage1_train or stage1_test",
    )
    if not args.dataset:
        parser.error("--dataset is missing: give the folder with stage1_train/")
    kind = NucleusConfig if args.command == "train" else InferenceConfig
    tiny = common.TINY | {"MEAN_PIXEL": kind.MEAN_PIXEL}
    config = kind(**tiny) if args.toy else kind()
    mode = "training" if args.command == "train" else "inference"
    model = modellib.MaskRCNN(mode, config, args.logs)
    common.load_weights(model, args.weights)
    if args.command == "train":
        train(model, args.dataset, args.subset or "train", (1, 2) if args.toy else (20, 40))
    else:
        detect(model, args.dataset, args.subset or "stage1_test")


if __name__ == "__main__":
    main()
