"""Files of detections: drawn images, label images and tables, and their names."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mrcnn.images.atomic import atomic_path
from mrcnn.images.drawing import save_instances
from mrcnn.results.rows import CSV_COLUMNS

_LONG_SIDE = 800  # pixels: smaller images are drawn enlarged, by the nearest whole factor
ENDS = (".png", "_labels.png")  # of the two output images of an input
# A file system has 255 bytes for a name. The longest one here is of a temporary file.
MAX_STEM_BYTES = 255 - len("._labels-12345678.png")


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
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def save_rows(path: str | os.PathLike, rows: Iterable[dict]) -> int:
    """Writes a JSON list with one row per line, without holding all of them in memory.

    Args:
        path: str or path. The file to write.
        rows: iterable of dict. Taken one at a time.

    Returns:
        int. The number of rows.
    """
    count = 0
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            for row in rows:
                file.write(",\n" if count else "[\n")
                file.write(json.dumps(row, ensure_ascii=False))
                count += 1
            file.write("\n]\n" if count else "[]\n")
    return count


def save_csv(path: str | os.PathLike, rows: Iterable[tuple]) -> None:
    """Writes rows of `table_rows` below the header `CSV_COLUMNS`."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file)
            writer.writerow(CSV_COLUMNS)
            writer.writerows(rows)


def writable_text(path: str | os.PathLike) -> str:
    """Returns the name of a file, in which bytes that are not UTF-8 are escaped: `caf\\xe9.png`."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    return text


def writable_stem(stem: str) -> str:
    """Returns a name that every folder takes: UTF-8, at most `MAX_STEM_BYTES` long."""
    text = writable_text(stem)
    if text != stem:
        text = text.replace("\\x", "%")  # a backslash would name a folder on Windows
    data = text.encode()
    if len(data) <= MAX_STEM_BYTES:
        return text
    # Names that are equal up to there must differ, so the end is a checksum of the whole.
    end = f"-{hashlib.sha256(data).hexdigest()[:8]}"
    return data[: MAX_STEM_BYTES - len(end)].decode("utf-8", "ignore") + end


def output_stems(paths: Iterable[str | os.PathLike]) -> list[str]:
    """Finds a name for the outputs of each input that no other input's outputs share.

    That is the name of the file without its suffix where it is free, else with its folder in
    front, else with a number. Upper and lower case count as equal, as they do on some disks. Bytes
    that are not UTF-8 are escaped, and names that are too long for a file are cut.
    """
    used: set[str] = set()
    stems = []
    for path in map(Path, paths):
        for name in _names(path):
            stem = writable_stem(name)
            names = {stem.lower(), f"{stem}_labels".lower()}
            if not names & used:
                break
        used |= names
        stems.append(stem)
    return stems


def _names(path):
    """Yields the names that the outputs of an input may have, best first."""
    yield path.stem
    folder = path.resolve().parent.name
    if folder:
        yield f"{folder}_{path.stem}"
    for number in itertools.count(2):
        yield f"{path.stem}_{number}"
