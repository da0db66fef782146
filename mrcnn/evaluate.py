"""Evaluation: COCO AP by pycocotools, pooled TP / (TP + FP + FN), and their curves.

The numbers are those of pycocotools itself (Lin et al. 2014), with two settings to know:

* An image counts at most `max_detections` detections a class: COCO's 100, or, where an image has
  more objects or detections, as many as that. At 100 the numbers equal `COCOeval.summarize`.
* For masks, "small", "medium" and "large" (areas up to 32^2, 96^2 and above) go by mask area, in
  detections too. pycocotools takes the box area when its results hold both boxes and masks.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import math
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.ndimage import find_objects
from scipy.optimize import linear_sum_assignment

from mrcnn.data.dataset import Dataset, describe_image
from mrcnn.ops.files import atomic_path
from mrcnn.ops.masks import encode_rle
from mrcnn.ops.metrics import (  # the old names are part of this module, too
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
    masks_to_rles,
    to_xywh,
)

__all__ = [
    "Evaluation",
    "coco_ground_truth",
    "coco_results",
    "compute_ap",
    "compute_ap_range",
    "compute_matches",
    "compute_overlaps_masks",
    "compute_recall",
    "evaluate",
    "plot_history",
    "plot_precision_recall",
    "result_to_coco",
]

COCO_MAX_DETECTIONS = 100
POOLED_IOUS = (0.5, 0.6, 0.7, 0.8, 0.9)
STATS = {  # name -> (which table, IoU or None for .50:.95, area)
    "AP": ("precision", None, "all"),
    "AP50": ("precision", 0.5, "all"),
    "AP75": ("precision", 0.75, "all"),
    "APs": ("precision", None, "small"),
    "APm": ("precision", None, "medium"),
    "APl": ("precision", None, "large"),
    "AR": ("recall", None, "all"),
    "ARs": ("recall", None, "small"),
    "ARm": ("recall", None, "medium"),
    "ARl": ("recall", None, "large"),
}
KINDS = {"bbox": "boxes", "segm": "masks"}


@dataclass(repr=False)
class Evaluation:
    """Scores of a set of detections.

    Attributes:
        bbox: AP, AP50, AP75, APs, APm, APl, AR, ARs, ARm, ARl of boxes, 0..1; nan where there are
            no objects to find.
        segm: the same of masks; None without masks.
        per_class: list of dicts: class_id, name, objects, detections, bbox_AP, bbox_AP50 and,
            with masks, segm_AP, segm_AP50.
        pooled: TP / (TP + FP + FN) by IoU, over all images and classes; nan without objects and
            detections. Of masks; of boxes when there are none.
        pooled_counts: (TP, FP, FN) by IoU.
        precision_recall: by kind ("bbox", "segm") the precision at recall 0, .01 .. 1:
            float [10 IoU .50 to .95, 101, classes], nan for a class without objects.
        num_images, num_objects, num_detections: counts; crowds are not objects.
        max_detections: detections an image and class that AP looks at.
        score_threshold: least score that counts in `pooled`.
    """

    bbox: dict
    segm: dict | None
    per_class: list
    pooled: dict
    pooled_counts: dict
    num_images: int
    num_objects: int
    num_detections: int
    max_detections: int
    score_threshold: float
    precision_recall: dict = field(default_factory=dict)

    def __repr__(self):
        parts = [f"{kind} AP {_text(self._of(kind)['AP'])}" for kind in self.precision_recall]
        return f"Evaluation({', '.join(parts)}, {self.num_images} images)"

    def _of(self, kind):
        return self.bbox if kind == "bbox" else self.segm

    def summary(self) -> str:
        """The scores as a table to print."""
        kinds = list(self.precision_recall)
        lines = [
            f"{self.num_images} images, {self.num_objects} objects, {self.num_detections} "
            f"detections, at most {self.max_detections} an image and class"
        ]
        if not self.num_objects:
            lines.append("The images hold no objects: AP and AR are not defined (nan).")
        names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR"]
        rows = [[KINDS[kind], *(_text(self._of(kind)[name]) for name in names)] for kind in kinds]
        lines += ["", *_table(["", *names], rows), ""]
        lines.append(
            f"TP / (TP + FP + FN) of {KINDS[kinds[-1]]}, all images together, "
            f"score >= {self.score_threshold:g}"
        )
        rows = [
            [f"{iou:g}", _text(score), *map(str, self.pooled_counts[iou])]
            for iou, score in self.pooled.items()
        ]
        lines += _table(["IoU", "score", "TP", "FP", "FN"], rows)
        if len(self.per_class) > 1:
            lines += ["", *self._class_table(kinds)]
        return "\n".join(lines)

    def _class_table(self, kinds):
        names = [f"{kind}_{name}" for kind in kinds for name in ("AP", "AP50")]
        rows = [
            [row["name"], str(row["objects"]), str(row["detections"]), *(_text(row[n]) for n in names)]
            for row in self.per_class
            if row["objects"] or row["detections"]
        ]
        heads = [f"{KINDS[kind]} {name}" for kind in kinds for name in ("AP", "AP50")]
        return _table(["class", "objects", "detections", *heads], rows)

    def to_dict(self) -> dict:
        """Everything but the curves, ready for JSON; nan becomes None."""
        names = [name for name in self.__dataclass_fields__ if name != "precision_recall"]
        return _for_json({name: getattr(self, name) for name in names})


def evaluate(
    dataset, results, image_ids=None, *, max_detections=None, score_threshold=0.5
) -> Evaluation:
    """Scores detections against a data set.

    Args:
        dataset: a prepared `Dataset`.
        results: one dict an image, in the order of `image_ids`: rois [N, 4], class_ids [N],
            scores [N] and masks bool [H, W, N] or rles (list of COCO codes); without either only
            boxes are scored. A generator will do, and full masks are let go one image at a time.
        image_ids: ids of the images; None: all.
        max_detections: detections an image and class that AP looks at; None: 100, or the largest
            number of objects or detections in an image where that is more.
        score_threshold: least score that counts in the pooled score. AP takes all.

    Returns:
        `Evaluation`.

    Raises:
        ValueError: no images, results that do not fit the images, masks of another size.
    """
    image_ids = _checked_image_ids(dataset, image_ids)
    rows, has_masks = _collect(dataset, results, image_ids)
    has_masks = has_masks and type(dataset).load_mask is not Dataset.load_mask
    truth = coco_ground_truth(dataset, image_ids, masks=has_masks)
    kinds = ["bbox", "segm"] if has_masks else ["bbox"]
    if has_masks:
        _check_sizes(truth, rows)
    limit = max_detections or _most_in_one_image(truth["annotations"], rows)
    tables = {kind: _run_coco(truth, rows, kind, limit) for kind in kinds}
    counts = _pooled_counts(truth, rows, kinds[-1], score_threshold)
    return Evaluation(
        bbox=_stats(tables["bbox"]),
        segm=_stats(tables["segm"]) if has_masks else None,
        per_class=_per_class(dataset, truth, rows, tables),
        pooled={iou: _ratio(c[0], sum(c)) for iou, c in counts.items()},
        pooled_counts=counts,
        num_images=len(image_ids),
        num_objects=sum(not a["iscrowd"] for a in truth["annotations"]),
        num_detections=len(rows),
        max_detections=limit,
        score_threshold=score_threshold,
        precision_recall={kind: _curves(table) for kind, table in tables.items()},
    )


# --- COCO format ---------------------------------------------------------------------------------
def coco_ground_truth(dataset, image_ids=None, masks=True) -> dict:
    """The ground truth of a data set as COCO instances, one image in memory at a time.

    Image and category ids are those of the source where they are different whole numbers above 0
    for all (as in COCO), else the numbers of the data set. Objects without a pixel are left out.

    Args:
        dataset: a prepared `Dataset`.
        image_ids: ids of the images; None: all.
        masks: False takes `load_boxes` alone: no segmentation, and areas are those of boxes.

    Returns:
        {"images", "annotations", "categories"}, ready for JSON: segmentation as RLE with text
        counts, iscrowd 1 for negative class ids.
    """
    image_ids = _checked_image_ids(dataset, image_ids)
    image_numbers, categories = _image_numbers(dataset), _category_numbers(dataset)
    images, annotations = [], []
    for image_id in image_ids:
        number = image_numbers[image_id]
        height, width, objects = _objects(dataset, image_id, masks)
        images.append({"id": number, "height": height, "width": width})
        if path := getattr(dataset, "image_info", {}) and dataset.image_info[image_id].get("path"):
            images[-1]["file_name"] = Path(path).name
        for class_id, box, rle in objects:
            _check_class(dataset, abs(int(class_id)), f"image {describe_image(dataset, image_id)}")
            annotation = {
                "id": len(annotations) + 1,  # never 0: pycocotools takes it for "no match"
                "image_id": number,
                "category_id": categories[abs(int(class_id))],
                "iscrowd": int(class_id < 0),
                "bbox": [float(value) for value in box],
                "area": float(box[2] * box[3]),
            }
            if rle is not None:
                annotation["area"] = float(coco_mask.area(rle))
                annotation["segmentation"] = _text_rle(rle)
            annotations.append(annotation)
    names = {categories[i]: str(dataset.class_names[i]) for i in range(1, len(dataset.class_names))}
    listed = [{"id": number, "name": name} for number, name in names.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def coco_results(dataset, results, image_ids=None) -> list[dict]:
    """Detections in COCO's results format, with the ids of `coco_ground_truth`.

    Args:
        dataset: a prepared `Dataset`.
        results: see `evaluate`.
        image_ids: ids of the images; None: all.

    Returns:
        List of dicts image_id, category_id, bbox [x, y, width, height], score and, with masks,
        segmentation; ready for JSON.
    """
    return _collect(dataset, results, _checked_image_ids(dataset, image_ids))[0]


def result_to_coco(result, image_id, category_ids=None) -> list[dict]:
    """One result of `detect` in COCO's results format.

    Args:
        result: dict rois, class_ids, scores and perhaps masks or rles.
        image_id: number of the image in the file.
        category_ids: category of each class id; None: the class id itself.

    Raises:
        ValueError: the parts differ in their number of detections.
    """
    boxes = to_xywh(result["rois"])
    rles = result.get("rles")
    if rles is None and result.get("masks") is not None:
        rles = masks_to_rles(result["masks"])
    lengths = {"rois": len(boxes), "class_ids": len(result["class_ids"])}
    lengths["scores"] = len(result["scores"])
    lengths |= {} if rles is None else {"masks": len(rles)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The parts of a result must have one length, got {lengths}.")
    rows = []
    for index, (box, class_id) in enumerate(zip(boxes, result["class_ids"], strict=True)):
        row = {
            "image_id": image_id,
            "category_id": int(class_id) if category_ids is None else category_ids[int(class_id)],
            "bbox": [float(value) for value in box],
            "score": float(result["scores"][index]),
        }
        if rles is not None:
            row["segmentation"] = _text_rle(rles[index])
        rows.append(row)
    return rows


def _text_rle(rle):
    counts = rle["counts"]
    if isinstance(counts, list):
        counts = coco_mask.frPyObjects(rle, *rle["size"])["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}


def _collect(dataset, results, image_ids):
    """(rows, whether every result holds masks); results are taken one at a time."""
    image_numbers, categories = _image_numbers(dataset), _category_numbers(dataset)
    rows, has_masks, count = [], True, 0
    for count, result in enumerate(results, 1):
        if count > len(image_ids):
            break
        image_id, name = image_ids[count - 1], f"results[{count - 1}]"
        has_masks = has_masks and any(result.get(key) is not None for key in ("masks", "rles"))
        for class_id in np.unique(np.asarray(result["class_ids"], int)):
            _check_class(dataset, class_id, name)
        try:
            rows += result_to_coco(result, image_numbers[image_id], categories)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if count != len(image_ids):
        more = "more" if count > len(image_ids) else str(count)
        raise ValueError(
            f"results: expected one for each of {len(image_ids)} images, got {more}. "
            "Give image_ids when only a part of the data set was detected."
        )
    return rows, has_masks


def _check_class(dataset, class_id, where):
    if not 1 <= class_id < len(dataset.class_names):
        raise ValueError(
            f"{where}: class id {class_id}, but the data set has the classes 1 to "
            f"{len(dataset.class_names) - 1}: {', '.join(map(str, dataset.class_names[1:6]))}. "
            "The model and the data set must have the same classes."
        )


def _checked_image_ids(dataset, image_ids):
    image_ids = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    if not image_ids:
        raise ValueError(
            "There are no images to evaluate on: the data set (or image_ids) is empty. Add images, "
            "and call prepare() once they are added."
        )
    if len(set(image_ids)) != len(image_ids):
        raise ValueError("image_ids holds an image twice: give each once.")
    return image_ids


def _image_numbers(dataset):
    infos = getattr(dataset, "image_info", None)
    if infos is None:
        return list(range(max(map(int, dataset.image_ids), default=-1) + 1))
    return _whole_numbers([info.get("id") for info in infos])


def _category_numbers(dataset):
    infos = getattr(dataset, "class_info", None) or [{}] * len(dataset.class_names)
    numbers = _whole_numbers([info.get("id") for info in infos[1:]])
    return [0, *(n + 1 if numbers == list(range(len(numbers))) else n for n in numbers)]


def _whole_numbers(ids):
    """The ids themselves when all are different whole numbers above 0, else 0, 1, 2, ..."""
    whole = all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) and i > 0 for i in ids)
    usable = whole and len(set(ids)) == len(ids)
    return [int(i) for i in ids] if usable else list(range(len(ids)))


def _objects(dataset, image_id, masks):
    """(height, width, list of (class_id, xywh, rle or None)) of one image."""
    if not masks:
        boxes, class_ids = dataset.load_boxes(image_id)
        height, width = _image_size(dataset, image_id)
        return height, width, [(c, b, None) for c, b in zip(class_ids, to_xywh(boxes), strict=True)]
    if hasattr(dataset, "load_label"):  # never [H, W, N]
        labels, class_ids = dataset.load_label(image_id)
        shape, rles = labels.shape, _label_rles(labels, len(class_ids))
    else:
        stack, class_ids = dataset.load_mask(image_id)
        stack = np.asarray(stack)
        shape = stack.shape[:2] if stack.size else _image_size(dataset, image_id)
        rles = masks_to_rles(stack)
    if len(rles) != len(class_ids):
        raise ValueError(
            f"Image {describe_image(dataset, image_id)}: {len(rles)} masks but {len(class_ids)} "
            "class ids. load_mask must return one class id a mask."
        )
    kept = [(c, coco_mask.toBbox(r), r) for c, r in zip(class_ids, rles, strict=True)]
    kept = [item for item in kept if coco_mask.area(item[2])]
    return int(shape[0]), int(shape[1]), _own_boxes(dataset, image_id, kept)


def _own_boxes(dataset, image_id, objects):
    """Objects with the boxes of the annotation file, where it has some and they fit."""
    if getattr(type(dataset), "load_boxes", Dataset.load_boxes) is Dataset.load_boxes:
        return objects
    boxes, class_ids = dataset.load_boxes(image_id)
    if list(class_ids) != [class_id for class_id, _, _ in objects]:
        return objects
    return [(c, box, rle) for (c, _, rle), box in zip(objects, to_xywh(boxes), strict=True)]


def _label_rles(labels, count):
    rles = []
    for number, place in enumerate(find_objects(labels, max_label=count), 1):
        rows, cols = place or (slice(0, 0), slice(0, 0))
        region = (rows.start, cols.start, rows.stop, cols.stop)
        rles.append(encode_rle(labels[rows, cols] == number, region, labels.shape))
    return rles


def _image_size(dataset, image_id):
    info = dataset.image_info[image_id]
    if info.get("height") and info.get("width"):
        return int(info["height"]), int(info["width"])
    height, width = dataset.load_image(image_id).shape[:2]
    return int(height), int(width)


def _check_sizes(truth, rows):
    sizes = {image["id"]: [image["height"], image["width"]] for image in truth["images"]}
    for row in rows:
        if row["segmentation"]["size"] != sizes[row["image_id"]]:
            raise ValueError(
                f"The masks detected in image {row['image_id']} are {row['segmentation']['size']} "
                f"(height, width), but the image is {sizes[row['image_id']]}. Detect in the images "
                "of the data set, in the order of image_ids."
            )
