"""The result of an evaluation: its numbers, and the tables to print."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

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
