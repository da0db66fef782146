"""Detections as files: picture, COCO results, CSV table, label image."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.images.atomic import atomic_path, write_text
from mrcnn.images.drawing import save_instances
from mrcnn.images.overlaps import to_xywh
from mrcnn.images.rle import decode_rle, masks_to_rles, text_rle

CSV_COLUMNS = ("file", "label", "class", "score", "y1", "x1", "y2", "x2", "area")
_LONG_SIDE = 800  # pixels: smaller images are shown enlarged by the whole factor nearest to it


def coco_rows(result: dict, image_id: int, file_name: str) -> list[dict]:
    """The detections of one image in COCO's results format, with the file's name added.

    Args:
        result: of `MaskRCNN.detect(..., masks="rle")`, or without masks.
        image_id: of the rows.
        file_name: of the image.

    Returns:
        Dicts of image_id, file_name, category_id, bbox (x, y, width, height), score and, with
        masks, segmentation (compressed RLE, counts as text).
    """
    return [{"file_name": file_name} | row for row in result_to_coco(result, image_id)]


def table_rows(result: dict, file_name: str, class_names: list[str]) -> list[tuple]:
    """The detections of one image as rows of `CSV_COLUMNS`; label is the value in the label image.

    The area is that of the mask in pixels, or of the box where there are no masks.
    """
    rows = []
    for index, box in enumerate(result["rois"].tolist()):
        y1, x1, y2, x2 = box
        rles = result.get("rles")
        area = int(coco_mask.area(rles[index])) if rles else (y2 - y1) * (x2 - x1)
        name = class_names[int(result["class_ids"][index])]
        score = f"{float(result['scores'][index]):.4f}"
        rows.append((file_name, index + 1, name, score, *box, area))
    return rows


def label_image(result: dict, shape) -> np.ndarray:
    """Instances as numbers, uint16 [H, W]: detection i is i + 1, 0 is background.

    Where masks overlap, the higher score wins. Without masks, boxes are filled.
    """
    labels = np.zeros(shape[:2], np.uint16)
    for index in np.argsort(result["scores"], kind="stable"):  # the best is painted last
        if "rles" in result:
            labels[decode_rle(result["rles"][index])] = index + 1
        else:
            y1, x1, y2, x2 = result["rois"][index]
            labels[y1:y2, x1:x2] = index + 1
    return labels


def save_picture(path, image, result: dict, class_names: list[str]):
    """Writes the image with boxes, masks, names and scores drawn in, as PNG.

    Args:
        path: of the PNG.
        image: [H, W] or [H, W, channels], any dtype that detection takes.
        result: of `MaskRCNN.detect`, with `masks`, `rles` or neither.
        class_names: by class id.
    """
    scale = max(1, round(_LONG_SIDE / max(image.shape[:2])))
    save_instances(path, image, result, class_names=class_names, scale=scale)


def save_labels(path, labels: np.ndarray):
    """Writes a label image as 16-bit PNG."""
    done, data = cv2.imencode(".png", labels)
    if not done:
        raise OSError(f"cannot encode {path} as PNG: labels of shape {labels.shape}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def save_json(path, value):
    """Writes JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def save_csv(path, rows):
    """Writes rows below the header `CSV_COLUMNS`."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            writer.writerows(rows)


def output_stems(paths) -> list[str]:
    """A stem for the outputs of each input that no other input's outputs share.

    The stem of the file where it is free, else with its folder in front, else with a number.
    Upper and lower case count as equal, as they do on some disks.
    """
    used, stems = set(), []
    for path in map(Path, paths):
        folder = path.resolve().parent.name
        tries = [path.stem, f"{folder}_{path.stem}"] if folder else [path.stem]
        number = 1
        while tries:
            stem = tries.pop(0)
            names = {stem.lower(), f"{stem}_labels".lower()}
            if not names & used:
                break
            if not tries:
                number += 1
                tries.append(f"{path.stem}_{number}")
        used |= names
        stems.append(stem)
    return stems


def result_to_coco(result, image_id, category_ids=None) -> list[dict]:
    """One result of `detect` in COCO's results format.

    Args:
        result: dict rois, class_ids, scores and perhaps masks, rles and boxes, exacter than rois.
        image_id: number of the image in the file.
        category_ids: category of each class id; None: the class id itself.

    Raises:
        ValueError: the parts differ in their number of detections.
    """
    boxes = to_xywh(result.get("boxes", result["rois"]))
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
            row["segmentation"] = text_rle(rles[index])
        rows.append(row)
    return rows
