"""Evaluation: COCO AP by pycocotools, and the pooled score.

The numbers are those of pycocotools itself (Lin et al. 2014), with two settings to know:

* At most `max_detections` detections per image and class count: COCO's 100, or, if an image has
  more objects or detections, that many. At 100 the numbers equal `COCOeval.summarize`.
* For masks, "small", "medium" and "large" (areas up to 32^2, 96^2 and above) refer to the area of
  the mask, in detections too. pycocotools uses the area of the box if its results have both.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.data.dataset import Dataset
from mrcnn.data.ground_truth import category_numbers, checked_image_ids, coco_ground_truth
from mrcnn.evaluation.detections import check_sizes, collect_results
from mrcnn.evaluation.pooled import pooled_counts
from mrcnn.evaluation.report import Evaluation

COCO_MAX_DETECTIONS = 100
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


def evaluate(
    dataset: Dataset,
    results: Iterable[dict],
    image_ids: Sequence[int] | None = None,
    *,
    max_detections: int | None = None,
    score_threshold: float = 0.5,
    class_ids: Iterable[int] | None = None,
) -> Evaluation:
    """Scores detections against a data set.

    Args:
        dataset: Dataset. Prepared.
        results: iterable of dict. One per image, in the order of `image_ids`: rois `[N, 4]`,
            class_ids `[N]`, scores `[N]`, and masks bool `[H, W, N]` or rles (a list of COCO
            codes). Without either, only boxes are scored. A generator keeps only one image's masks
            in memory.
        image_ids: sequence of int or None. The images. Defaults to None: all.
        max_detections: int or None. Detections per image and class that AP considers. Defaults to
            None: 100, or the largest number of objects or detections in an image if that is more.
        score_threshold: float. Lowest score that counts in the pooled score. AP considers all.
            Defaults to 0.5.
        class_ids: iterable of int or None. Classes of the data set to score; objects and detections
            of others are left out. Defaults to None: all.

    Returns:
        The `Evaluation`.

    Raises:
        ValueError: no images, results that do not fit the images, or masks of another size.
    """
    image_ids = checked_image_ids(dataset, image_ids)
    rows, has_masks = collect_results(dataset, results, image_ids)
    has_masks = has_masks and dataset.has("masks")
    truth = coco_ground_truth(dataset, image_ids, masks=has_masks)
    if class_ids is not None:
        truth, rows = _of_classes(dataset, truth, rows, class_ids)
    kinds = ["bbox", "segm"] if has_masks else ["bbox"]
    if has_masks:
        check_sizes(truth, rows)
    if max_detections is not None and max_detections < 1:
        raise ValueError(f"max_detections must be at least 1, got {max_detections!r}.")
    limit = max_detections or _most_in_one_image(truth["annotations"], rows)
    tables = {kind: _run_coco(truth, rows, kind, limit) for kind in kinds}
    counts = pooled_counts(truth, rows, kinds[-1], score_threshold)
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


def _of_classes(dataset, truth, rows, class_ids):
    """Returns the ground truth and the detections of some classes."""
    categories = category_numbers(dataset)
    kept = {categories[class_id] for class_id in class_ids}
    annotations = [a for a in truth["annotations"] if a["category_id"] in kept]
    listed = [category for category in truth["categories"] if category["id"] in kept]
    rows = [row for row in rows if row["category_id"] in kept]
    return truth | {"annotations": annotations, "categories": listed}, rows


# --- COCO AP -------------------------------------------------------------------------------------
def _most_in_one_image(annotations, rows):
    most = COCO_MAX_DETECTIONS
    for listed in (annotations, rows):
        counts = Counter(entry["image_id"] for entry in listed)
        most = max(most, max(counts.values(), default=0))
    return most


def _run_coco(truth, rows, kind, limit):
    """The evaluated COCOeval of one kind, with nothing printed."""
    other = "segmentation" if kind == "bbox" else "bbox"
    # Ids of images may be anything that a file holds; pycocotools sorts them as one array.
    ids = sorted((image["id"] for image in truth["images"]), key=lambda i: (isinstance(i, str), i))
    places = {image_id: place for place, image_id in enumerate(ids, 1)}
    rows = [
        {k: v for k, v in row.items() if k != other} | {"image_id": places[row["image_id"]]}
        for row in rows
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth, coco_rows = COCO(), COCO()
        # Copies, because pycocotools writes into what it is given.
        images = [entry | {"id": places[entry["id"]]} for entry in truth["images"]]
        objects = [a | {"image_id": places[a["image_id"]]} for a in truth["annotations"]]
        coco_truth.dataset = truth | {"images": images, "annotations": objects}
        coco_truth.createIndex()
        if rows:
            coco_rows = coco_truth.loadRes(rows)
        else:  # loadRes cannot take an empty list
            coco_rows.dataset = coco_truth.dataset | {"annotations": []}
            coco_rows.createIndex()
        table = COCOeval(coco_truth, coco_rows, kind)
        table.params.maxDets = [limit]
        table.evaluate()
        table.accumulate()
    return table


def _stats(table) -> dict:
    return {name: _mean(table, *choice) for name, choice in STATS.items()}


def _mean(table, which, iou, area, category=slice(None)):
    """As COCOeval.summarize, which knows 100 detections only; nan instead of -1."""
    values = table.eval[which][..., table.params.areaRngLbl.index(area), -1]
    if iou is not None:
        values = values[np.isclose(table.params.iouThrs, iou)]
    values = values[..., category]
    values = values[values > -1]
    return float(np.mean(values)) if values.size else math.nan


def _per_class(dataset, truth, rows, tables) -> list[dict]:
    objects = Counter(a["category_id"] for a in truth["annotations"] if not a["iscrowd"])
    detections = Counter(row["category_id"] for row in rows)
    listed = []
    numbers = category_numbers(dataset)
    for category in truth["categories"]:
        row = {
            "class_id": numbers.index(category["id"], 1),
            "name": category["name"],
            "objects": objects[category["id"]],
            "detections": detections[category["id"]],
        }
        for kind, table in tables.items():
            column = list(table.params.catIds).index(category["id"])
            row[f"{kind}_AP"] = _mean(table, "precision", None, "all", column)
            row[f"{kind}_AP50"] = _mean(table, "precision", 0.5, "all", column)
        listed.append(row)
    return listed


def _curves(table):
    values = table.eval["precision"][..., table.params.areaRngLbl.index("all"), -1]
    return np.where(values > -1, values, np.nan)


def _ratio(part, whole):
    return part / whole if whole else math.nan
