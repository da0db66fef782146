"""Detections as rows of a table, in COCO's results format, and as a label image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.images.captions import class_name
from mrcnn.images.overlaps import to_xywh
from mrcnn.images.rle import decode_rle, masks_to_rles, text_rle

CSV_COLUMNS = ("file", "label", "class", "score", "y1", "x1", "y2", "x2", "area")


def coco_rows(result: Mapping[str, Any], image_id: int, file_name: str) -> list[dict]:
    """Returns the detections of one image in COCO's results format, with the name of its file.

    Args:
        result: dict of `MaskRCNN.detect(..., masks="rle")`, or without masks.
        image_id: int. Of the rows.
        file_name: str. Of the image.

    Returns:
        Dicts of image_id, file_name, category_id, bbox (x, y, width, height), score and, with
        masks, segmentation (compressed RLE, counts as text).
    """
    return [{"file_name": file_name} | row for row in result_to_coco(result, image_id)]


def table_rows(
    result: Mapping[str, Any], file_name: str, class_names: Sequence[str]
) -> list[tuple]:
    """Returns the detections of one image as rows of `CSV_COLUMNS`.

    The label is the value in the label image. The area is that of the mask in pixels, or that of
    the box where there are no masks.

    Args:
        result: dict of `MaskRCNN.detect(..., masks="rle")`, or without masks.
        file_name: str. Of the image.
        class_names: list of str. Names by class id.
    """
    rows = []
    for index, box in enumerate(result["rois"].tolist()):
        y1, x1, y2, x2 = box
        rles = result.get("rles")
        area = int(coco_mask.area(rles[index])) if rles else (y2 - y1) * (x2 - x1)
        name = class_name(class_names, result["class_ids"][index])
        score = f"{float(result['scores'][index]):.4f}"
        rows.append((file_name, index + 1, name, score, *box, area))
    return rows


def label_image(result: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray:
    """Returns an image of numbers: detection i is i + 1, background is 0.

    Where masks overlap, the higher score wins. Without masks, boxes are filled.

    Args:
        result: dict of `MaskRCNN.detect(..., masks="rle")`, or without masks.
        shape: `(H, W, ...)`. Of the image.

    Returns:
        uint16 `[H, W]`.
    """
    labels = np.zeros(shape[:2], np.uint16)
    for index in np.argsort(result["scores"], kind="stable"):  # the best is painted last
        if "rles" in result:
            labels[decode_rle(result["rles"][index])] = index + 1
        else:
            y1, x1, y2, x2 = result["rois"][index]
            labels[y1:y2, x1:x2] = index + 1
    return labels


def result_to_coco(
    result: Mapping[str, Any], image_id: int, category_ids: Mapping[int, int] | None = None
) -> list[dict]:
    """Returns one result of `detect` in COCO's results format.

    Args:
        result: dict of rois, class_ids and scores, and perhaps masks, rles and boxes (not rounded).
        image_id: int. Of the image in the file.
        category_ids: dict. Category by class id. Defaults to None (the class id itself).

    Returns:
        Dicts of image_id, category_id, bbox (x, y, width, height), score and, with masks,
        segmentation (compressed RLE, counts as text).

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
