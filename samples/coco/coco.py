"""COCO: train on it, and evaluate with the COCO API.

    python coco.py train --dataset=DIR --year=2017 --weights=imagenet
    python coco.py evaluate --dataset=DIR --year=2017 --weights=coco --limit=500

DIR holds train2017/, val2017/, annotations/instances_train2017.json and
annotations/instances_val2017.json. With --toy, the script fills DIR with drawn images and uses a
tiny network.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import skimage.io
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.append(str(Path(__file__).parent.parent))
import common

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from mrcnn.data.augment import Augmenter


class CocoConfig(Config):
    """Settings for training on COCO."""

    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 80  # background + the classes of COCO


class CocoDataset(utils.Dataset):
    """Images with annotations in the COCO format."""

    def load_coco(self, dataset_dir, subset, year="2017", class_ids=None, return_coco=False):
        """Adds the images of one part of the data set.

        Args:
            dataset_dir: str or path. Folder of the data set.
            subset: str. "train" or "val".
            year: str. Year of the release, which is part of the file names. Defaults to "2017".
            class_ids: list of int or None. COCO ids of the classes to load, with the images that
                show them. Defaults to None: all classes.
            return_coco: bool. Whether to return the annotations. Defaults to False.

        Returns:
            A `pycocotools.coco.COCO` if `return_coco`, otherwise None.
        """
        path = Path(dataset_dir) / "annotations" / f"instances_{subset}{year}.json"
        if not path.is_file():
            sys.exit(
                f"{path} is missing. --dataset must be the folder of COCO, and --year its release."
            )
        coco = COCO(str(path))
        class_ids = sorted(class_ids or coco.getCatIds())
        for class_id in class_ids:
            self.add_class("coco", class_id, coco.loadCats(class_id)[0]["name"])
        wanted = {i for class_id in class_ids for i in coco.getImgIds(catIds=[class_id])}
        for image_id in sorted(wanted):
            info = coco.imgs[image_id]
            annotations = coco.loadAnns(coco.getAnnIds([image_id], class_ids, iscrowd=None))
            self.add_image(
                "coco",
                image_id,
                Path(dataset_dir) / f"{subset}{year}" / info["file_name"],
                height=info["height"],
                width=info["width"],
                annotations=annotations,
            )
        return coco if return_coco else None

    def load_mask(self, image_id):
        """Returns masks, bool [height, width, N], and class ids, int32 [N], negative for crowds."""
        info = self.image_info[image_id]
        shape = (info["height"], info["width"])
        masks, class_ids = [np.zeros((*shape, 0), bool)], []
        for annotation in info["annotations"]:
            class_id = self.map_source_class_id(f"coco.{annotation['category_id']}")
            masks.append(decode(annotation["segmentation"], *shape)[..., None])
            class_ids.append(-class_id if annotation["iscrowd"] else class_id)
        return np.concatenate(masks, axis=-1), np.array(class_ids, np.int32)

    def image_reference(self, image_id):
        """Returns the page that shows the image on the COCO site."""
        return f"https://cocodataset.org/#explore?id={self.image_info[image_id]['id']}"


def decode(segmentation, height, width):
    """Returns the mask of one annotation.

    Args:
        segmentation: list of polygons [x1, y1, x2, y2, ...], or a dict with a COCO run-length code,
            compressed or not.
        height: int. Height of the image.
        width: int. Width of the image.

    Returns:
        bool array [height, width].
    """
    if isinstance(segmentation, list):
        segmentation = rle.merge(rle.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = rle.frPyObjects(segmentation, height, width)
    return rle.decode(segmentation).astype(bool)


def train(model, dataset_dir, year, epochs):
    """Trains the heads, then also ResNet stages 4 and 5, then all layers.

    Args:
        model: MaskRCNN in training mode.
        dataset_dir: str or path. Folder of the data set.
        year: str. Year of the release.
        epochs: tuple of three ints. The epoch, counted from the start, at which each stage ends.
    """
    sets = []
    for subset in ("train", "val"):
        sets.append(CocoDataset())
        sets[-1].load_coco(dataset_dir, subset, year)
        sets[-1].prepare()
    rate = model.config.LEARNING_RATE
    stages = zip(("heads", "4+", "all"), (rate, rate, rate / 10), epochs, strict=True)
    for layers, learning_rate, total in stages:
        model.train(
            *sets,
            learning_rate=learning_rate,
            epochs=total,
            layers=layers,
            augmentation=Augmenter(fliplr=0.5),
        )


def evaluate(model, dataset_dir, year, limit):
    """Prints the twelve COCO metrics for boxes and for masks.

    Args:
        model: MaskRCNN in inference mode.
        dataset_dir: str or path. Folder of the data set.
        year: str. Year of the release.
        limit: int. Number of images to evaluate, from the first.
    """
    dataset = CocoDataset()
    coco = dataset.load_coco(dataset_dir, "val", year, return_coco=True)
    dataset.prepare()
    image_ids = dataset.image_ids[:limit]
    results, start = [], time.time()
    for image_id in image_ids:
        found = model.detect([dataset.load_image(image_id)], masks="rle")[0]
        for box, class_id, score, mask in zip(
            found["rois"].tolist(), found["class_ids"], found["scores"], found["rles"], strict=True
        ):
            y1, x1, y2, x2 = box
            results.append(
                {
                    "image_id": dataset.image_info[image_id]["id"],
                    "category_id": dataset.get_source_class_id(class_id, "coco"),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(score),
                    "segmentation": mask,
                }
            )
    print(f"{(time.time() - start) / len(image_ids):.2f} s per image, {len(results)} detections")
    if not results:
        sys.exit("Nothing was detected, so there is nothing to evaluate.")
    for kind in ("bbox", "segm"):
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.params.imgIds = [dataset.image_info[i]["id"] for i in image_ids]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()


def make_toy(dataset_dir):
    """Writes drawn images of one class in the layout of COCO. One object per image is a crowd."""
    (dataset_dir / "annotations").mkdir(parents=True, exist_ok=True)
    for subset, seeds in (("train", range(1, 7)), ("val", range(7, 10))):
        (dataset_dir / f"{subset}2017").mkdir(exist_ok=True)
        images, annotations = [], []
        for seed in seeds:
            image, masks, _ = common.discs(seed)
            skimage.io.imsave(
                dataset_dir / f"{subset}2017" / f"{seed:012}.png", image, check_contrast=False
            )
            height, width = masks.shape[:2]
            images.append(
                {"id": seed, "file_name": f"{seed:012}.png", "height": height, "width": width}
            )
            for i, mask in enumerate(np.moveaxis(masks, -1, 0)):
                packed = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
                annotations.append(
                    {
                        "id": 10 * seed + i,
                        "image_id": seed,
                        "category_id": 18,
                        "iscrowd": int(i == 2),
                        "segmentation": packed | {"counts": packed["counts"].decode()},
                        "area": int(mask.sum()),
                        "bbox": rle.toBbox(packed).tolist(),
                    }
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 18, "name": "dog"}],
        }
        path = dataset_dir / "annotations" / f"instances_{subset}2017.json"
        path.write_text(json.dumps(content), encoding="utf-8")


def main():
    parser, args = common.parse(
        __doc__,
        ["train", "evaluate"],
        make_toy,
        year={"default": "2017", "help": "year of the release (default: 2017)"},
        limit={"type": int, "default": 500, "help": "number of images to evaluate (default: 500)"},
    )
    if not args.dataset:
        parser.error("--dataset is missing: give the folder of COCO")
    config = CocoConfig(**common.TINY, NUM_CLASSES=1 + 1) if args.toy else CocoConfig()
    if args.command == "train":
        model = modellib.MaskRCNN("training", config, args.logs)
        common.load_weights(model, args.weights)
        train(model, args.dataset, args.year, (1, 2, 3) if args.toy else (40, 120, 160))
    else:
        config.IMAGES_PER_GPU = 1
        config.DETECTION_MIN_CONFIDENCE = 0  # AP needs the detections of every score
        model = modellib.MaskRCNN("inference", config, args.logs)
        common.load_weights(model, args.weights)
        evaluate(model, args.dataset, args.year, args.limit)


if __name__ == "__main__":
    main()
