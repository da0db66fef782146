"""Detections as files: drawn images, COCO results, a CSV table, label images."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.images.atomic import atomic_path, write_text
from mrcnn.images.drawing import save_instances
from mrcnn.images.overlaps import to_xywh
from mrcnn.images.rle import decode_rle, masks_to_rles, text_rle

CSV_COLUMNS = ("file", "label", "class", "score", "y1", "x1", "y2", "x2", "area")
_LONG_SIDE = 800  # pixels: smaller images are drawn enlarged, by the nearest whole factor


class ResultWriter:
    """Writes the detections in many images to a folder.

    For each image a drawn one (`NAME.png`) and a label image (`NAME_labels.png`), and for all of
    them `detections.json` (COCO results) and `detections.csv`.

    Args:
        folder: str or path. Folder to write to; it is made if it is missing.
        paths: list of paths. All input files. No two share the name of an output.

    Raises:
        FileExistsError: an output would overwrite an input.
    """

    def __init__(self, folder: str | os.PathLike, paths: Sequence[str | os.PathLike]):
        self.folder = Path(folder)
        self._names = dict(zip(map(str, paths), output_stems(paths), strict=True))
        self._ids = {path: index for index, path in enumerate(self._names)}
        self._rows: list[dict] = []
        self._table: list[tuple] = []
        inputs = {Path(path).resolve() for path in paths}
        for name in self._names.values():
            for file in (f"{name}.png", f"{name}_labels.png"):
                if (self.folder / file).resolve() in inputs:
                    raise FileExistsError(
                        f"output folder {self.folder}: {file} there is an input and would be "
                        "overwritten; choose another folder"
                    )

    def add(
        self,
        path: str | os.PathLike,
        image: np.ndarray,
        result: Mapping[str, Any],
        class_names: Sequence[str],
    ) -> None:
        """Writes the two images of one input, and keeps its rows for `finish`.

        Args:
            path: str or path. One of the input files.
            image: `[H, W]` or `[H, W, channels]`, any dtype that detection takes.
            result: dict of `MaskRCNN.detect(..., masks="rle")`, or without masks.
            class_names: list of str. Names by class id.
        """
        path = str(path)
        name = self._names[path]
        self._rows += coco_rows(result, self._ids[path], path)
        self._table += table_rows(result, path, class_names)
        save_drawing(self.folder / f"{name}.png", image, result, class_names)
        save_labels(self.folder / f"{name}_labels.png", label_image(result, image.shape))

    def finish(self) -> int:
        """Writes detections.json and detections.csv; returns the number of detections."""
        save_json(self.folder / "detections.json", self._rows)
        save_csv(self.folder / "detections.csv", self._table)
        return len(self._rows)


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
        name = class_names[int(result["class_ids"][index])]
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


def save_drawing(
    path: str | os.PathLike,
    image: np.ndarray,
    result: Mapping[str, Any],
    class_names: Sequence[str],
) -> None:
    """Writes the image with boxes, masks, names and scores drawn in, as PNG.

    Args:
        path: str or path. Of the PNG.
        image: `[H, W]` or `[H, W, channels]`, any dtype that detection takes.
        result: dict of `MaskRCNN.detect`, with `masks`, `rles` or neither.
        class_names: list of str. Names by class id.
    """
    scale = max(1, round(_LONG_SIDE / max(image.shape[:2])))
    save_instances(path, image, result, class_names=class_names, scale=scale)


def save_labels(path: str | os.PathLike, labels: np.ndarray) -> None:
    """Writes a label image, uint16 `[H, W]`, as 16-bit PNG."""
    done, data = cv2.imencode(".png", labels)
    if not done:
        raise OSError(f"cannot encode {path} as PNG: labels of shape {labels.shape}")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def save_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def save_csv(path: str | os.PathLike, rows: Iterable[tuple]) -> None:
    """Writes rows of `table_rows` below the header `CSV_COLUMNS`."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            writer.writerows(rows)


def output_stems(paths: Iterable[str | os.PathLike]) -> list[str]:
    """Finds a name for the outputs of each input that no other input's outputs share.

    That is the name of the file without its suffix where it is free, else with its folder in
    front, else with a number. Upper and lower case count as equal, as they do on some disks.
    """
    used: set[str] = set()
    stems = []
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
