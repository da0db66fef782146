"""The result of an evaluation: its numbers, and the tables to print."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from mrcnn.plots import KINDS


@dataclass(repr=False)
class Evaluation:
    """Scores of a set of detections.

    Attributes:
        bbox: dict of float. AP, AP50, AP75, APs, APm, APl, AR, ARs, ARm and ARl of boxes, in 0..1;
            nan if there are no objects to find.
        segm: dict of float or None. The same for masks; None without masks.
        per_class: list of dict. class_id, name, objects, detections, bbox_AP, bbox_AP50 and, with
            masks, segm_AP and segm_AP50.
        pooled: dict of float. TP / (TP + FP + FN) by IoU, over all images and classes; nan without
            objects and detections. Of masks, or of boxes if there are no masks.
        pooled_counts: dict of tuple. (TP, FP, FN) by IoU.
        num_images: int.
        num_objects: int. Crowds are not objects.
        num_detections: int.
        max_detections: int. Detections per image and class that AP considers.
        score_threshold: float. Lowest score that counts in `pooled`.
        precision_recall: dict of arrays. By kind ("bbox", "segm") the precision at recall 0, 0.01
            to 1: float `[10, 101, classes]`, where the first axis is IoU 0.50 to 0.95. nan for a
            class without objects.
    """

    bbox: dict[str, float]
    segm: dict[str, float] | None
    per_class: list[dict[str, Any]]
    pooled: dict[float, float]
    pooled_counts: dict[float, tuple[int, int, int]]
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
        return self.bbox if kind == "bbox" else self.segm or {}

    def summary(self) -> str:
        """Returns the scores as tables to print."""
        kinds = list(self.precision_recall)
        lines = [
            f"{self.num_images} images, {self.num_objects} objects, {self.num_detections} "
            f"detections, at most {self.max_detections} per image and class"
        ]
        if not self.num_objects:
            lines.append("The images have no objects: AP and AR are not defined (nan).")
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
        """Returns everything except the curves, ready for JSON; nan becomes None."""
        names = [name for name in self.__dataclass_fields__ if name != "precision_recall"]
        return _for_json({name: getattr(self, name) for name in names})


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
