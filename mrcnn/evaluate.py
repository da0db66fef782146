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
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.data.coco_format import (
    check_sizes,
    checked_image_ids,
    coco_ground_truth,
    coco_results,
    collect_results,
    result_to_coco,
)
from mrcnn.data.dataset import Dataset
from mrcnn.ops.files import atomic_path
from mrcnn.ops.metrics import (  # the old names are part of this module, too
    compute_ap,
    compute_ap_range,
    compute_matches,
    compute_overlaps_masks,
    compute_recall,
    matched_rows,
    rle_overlaps,
    xywh_overlaps,
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
            [
                row["name"],
                str(row["objects"]),
                str(row["detections"]),
                *(_text(row[n]) for n in names),
            ]
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
    image_ids = checked_image_ids(dataset, image_ids)
    rows, has_masks = collect_results(dataset, results, image_ids)
    has_masks = has_masks and type(dataset).load_mask is not Dataset.load_mask
    truth = coco_ground_truth(dataset, image_ids, masks=has_masks)
    kinds = ["bbox", "segm"] if has_masks else ["bbox"]
    if has_masks:
        check_sizes(truth, rows)
    if max_detections is not None and max_detections < 1:
        raise ValueError(f"max_detections must be at least 1, got {max_detections!r}.")
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
    rows = [{key: value for key, value in row.items() if key != other} for row in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        coco_truth, coco_rows = COCO(), COCO()
        coco_truth.dataset = copy.deepcopy(truth)  # pycocotools writes into what it is given
        coco_truth.createIndex()
        if rows:
            coco_rows = coco_truth.loadRes(rows)
        else:  # loadRes cannot take an empty list
            coco_rows.dataset = {**truth, "annotations": []}
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
    for class_id, category in enumerate(truth["categories"], 1):
        row = {
            "class_id": class_id,
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


# --- Pooled score --------------------------------------------------------------------------------
def _pooled_counts(truth, rows, kind, score_threshold) -> dict:
    """(TP, FP, FN) by IoU over all images; objects and detections match within a class."""
    groups = defaultdict(lambda: ([], [], []))  # objects, crowds, detections
    key = "bbox" if kind == "bbox" else "segmentation"
    for entry in truth["annotations"]:
        groups[entry["image_id"], entry["category_id"]][entry["iscrowd"]].append(entry[key])
    for row in rows:
        if row["score"] >= score_threshold:
            groups[row["image_id"], row["category_id"]][2].append(row[key])
    overlap = xywh_overlaps if kind == "bbox" else rle_overlaps
    totals = {iou: np.zeros(3, int) for iou in POOLED_IOUS}
    for objects, crowds, detections in groups.values():
        overlaps = overlap(detections, objects)
        in_crowd = overlap(detections, crowds, crowd=True).max(axis=1, initial=0)
        for iou in POOLED_IOUS:
            matched = matched_rows(overlaps, iou)
            free = np.setdiff1d(np.arange(len(detections)), matched)
            wrong = int((in_crowd[free] < iou).sum())  # inside a crowd: neither right nor wrong
            totals[iou] += len(matched), wrong, len(objects) - len(matched)
    return {iou: tuple(int(n) for n in counts) for iou, counts in totals.items()}


def _ratio(part, whole):
    return part / whole if whole else math.nan


# --- Text ----------------------------------------------------------------------------------------
def _text(value):
    return f"{value:.3f}" if math.isfinite(value) else "-"


def _table(heads, rows):
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [heads, *rows]
    ]


def _for_json(value):
    if isinstance(value, dict):
        return {str(key): _for_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_for_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# --- Pictures ------------------------------------------------------------------------------------
def plot_precision_recall(evaluation, path):
    """Writes precision over recall at IoU .5 to .9, mean of the classes, as a PNG.

    Args:
        evaluation: `Evaluation`.
        path: file to write, whole or not at all.
    """
    kinds = list(evaluation.precision_recall)
    figure, axes = _figure(len(kinds))
    recall = np.linspace(0, 1, 101)
    for axis, kind in zip(axes, kinds, strict=True):
        curves = evaluation.precision_recall[kind]
        defined = ~np.isnan(curves).all(axis=(0, 1))
        for step, iou in enumerate((0.5, 0.6, 0.7, 0.8, 0.9)):
            if defined.any():
                mean = curves[2 * step][:, defined].mean(axis=1)
                color = matplotlib.colormaps["viridis"](0.9 - step / 4.6)
                axis.plot(recall, mean, color=color, label=f"IoU {iou:g}: {mean.mean():.3f}")
        stats = evaluation.bbox if kind == "bbox" else evaluation.segm
        axis.set(title=f"{KINDS[kind]}, AP {_text(stats['AP'])}", xlabel="recall")
        axis.set(ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        if defined.any():
            axis.legend(loc="lower left", title="average precision")
        else:
            axis.text(0.5, 0.5, "no objects", ha="center", va="center")
    _write(figure, path)


def plot_history(history, path):
    """Writes the curves of a training as a PNG: losses, and AP where it was measured.

    Args:
        history: list of dicts, one an epoch ("epoch", "loss", "val_loss", "val_mask_AP", ...), or
            the path of a CSV file with these columns. Gaps are fine.
        path: file to write, whole or not at all.

    Raises:
        ValueError: no epochs.
    """
    if not isinstance(history, (list, tuple)):
        with open(history, newline="", encoding="utf-8") as file:
            history = list(csv.DictReader(file))
    if not history:
        raise ValueError("The history holds no epochs: there is nothing to draw yet.")
    scores = sorted(name for name in _columns(history) if "AP" in name)
    losses = [name for name in _columns(history) if name.endswith("loss") and "val_" not in name]
    parts = sorted(set(losses) - {"loss"})
    figure, axes = _figure(2 if scores else 1)
    _draw_column(axes[0], history, "loss", label="training", color="black", linewidth=2)
    _draw_column(axes[0], history, "val_loss", label="validation", color="crimson", linewidth=2)
    for name in parts:
        _draw_column(axes[0], history, name, linewidth=1, alpha=0.6)
    axes[0].set(title="loss", xlabel="epoch", yscale=_loss_scale(history))
    for name in scores:
        kind, measure = name.removeprefix("val_").rsplit("_", 1)
        style = {"color": "tab:blue" if kind == "mask" else "tab:orange"}
        style["linestyle"] = "-" if measure == "AP" else "--"
        _draw_column(axes[1], history, name, label=f"{kind} {measure}", **style)
    if scores:
        axes[1].set(title="validation AP", xlabel="epoch", ylim=(0, 1))
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    _write(figure, path)


def _columns(history):
    return dict.fromkeys(name for row in history for name in row if name)


def _points(history, name):
    """(epochs, values) of the rows that have a finite value in a column."""
    points = []
    for index, row in enumerate(history, 1):
        with contextlib.suppress(TypeError, ValueError, KeyError):
            value = float(row[name])
            if math.isfinite(value):
                points.append((float(row.get("epoch") or index), value))
    return np.array(points).reshape(-1, 2).T


def _draw_column(axis, history, name, **style):
    epochs, values = _points(history, name)
    if len(values):
        style = {
            "label": name,
            "marker": "o" if len(values) < 30 else None,
            "markersize": 3,
        } | style
        axis.plot(epochs, values, **style)


def _loss_scale(history):
    """Logarithmic where the total loss falls far."""
    values = np.concatenate([_points(history, name)[1] for name in ("loss", "val_loss")])
    far = values.size and values.min() > 0 and values.max() > 20 * values.min()
    return "log" if far else "linear"


def _figure(panels):
    figure = Figure(figsize=(6 * panels, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: works in threads, and without a screen
    axes = [figure.add_subplot(1, panels, index + 1) for index in range(panels)]
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def _write(figure, path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
