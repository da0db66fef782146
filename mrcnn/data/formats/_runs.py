"""Run-length codes made from runs of pixels: the cost does not depend on the number of objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.annotations import Rle

# As many as a label image of 16 bits can number; a mask with more values is a photograph.
MAX_VALUES = 65_535
# A run costs about 100 bytes while it is encoded, and a pattern of single pixels compresses well.
# Masks of objects have a run for each row or column of each object.
MAX_RUNS = 2**23


@dataclass(frozen=True)
class Region:
    """The pixels of one value.

    Attributes:
        value: int.
        shape: Rle.
        bounds: (y1, x1, y2, x2) in pixels, upper bounds exclusive.
    """

    value: int
    shape: Rle
    bounds: tuple[int, int, int, int]


def regions(values: np.ndarray) -> list[Region]:
    """Returns the region of each value, in ascending order of the values.

    Args:
        values: int [height, width].

    Raises:
        ValueError: if there are more than 65,535 values, or 8 million runs of equal pixels.
    """
    if not values.size:
        return []
    flat = values.T.ravel()  # COCO counts down the columns
    found, of_run, starts, lengths = _runs(flat)
    order = np.argsort(of_run, kind="stable")
    ends = starts + lengths
    last = np.cumsum(np.bincount(of_run, minlength=len(found)))[:-1]
    return [
        _region(int(value), starts[runs], ends[runs], values.shape)
        for value, runs in zip(found, np.split(order, last), strict=True)
    ]


def distinct(values: np.ndarray) -> list[int]:
    """Returns the different values of an image, in ascending order.

    Args:
        values: int array of any shape.
    """
    flat = values.ravel()
    return np.unique(np.append(flat[:1], flat[1:][flat[1:] != flat[:-1]])).tolist()


def most_frequent(values: np.ndarray, others: np.ndarray) -> dict[int, int]:
    """Returns which value of another image is found most often in the region of each value.

    Args:
        values: int [height, width].
        others: int [height, width], from 0 to 2**32 - 1.
    """
    joint = values.ravel().astype(np.int64) << 32 | others.ravel()
    found, of_run, _, lengths = _runs(joint)
    counts = np.bincount(of_run, lengths, minlength=len(found))
    ascending = found[np.argsort(counts, kind="stable")].tolist()
    return {both >> 32: both & 0xFFFFFFFF for both in ascending}  # the last one is kept


def encode_runs(starts: np.ndarray, ends: np.ndarray, size: tuple[int, int]) -> Rle:
    """Encodes a mask.

    Args:
        starts, ends: int [num_runs]. The first pixel of each run, and the one after its last, as
            positions down the columns; in ascending order, and not touching each other.
        size: (height, width).
    """
    height, width = size
    edges = np.zeros(2 * len(starts) + 2, np.int64)
    edges[1:-1:2] = starts
    edges[2:-1:2] = ends
    edges[-1] = height * width
    counts = np.diff(edges)
    if counts[-1] == 0:
        counts = counts[:-1]
    code = {"size": [height, width], "counts": counts.tolist()}
    return Rle([height, width], coco_mask.frPyObjects(code, height, width)["counts"])


def _runs(flat):
    """Returns the values, and the index of the value, start and length of each run."""
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.append(0, starts)
    if len(starts) > MAX_RUNS:
        raise ValueError(f"it has more than {MAX_RUNS} runs of equal pixels: it is no mask")
    found, of_run = np.unique(flat[starts], return_inverse=True)
    if len(found) > MAX_VALUES:
        raise ValueError(f"it has {len(found)} colors, a photograph rather than a mask")
    return found, of_run, starts, np.diff(starts, append=flat.size)


def _region(value, starts, ends, size):
    height = size[0]
    first, last = starts // height, (ends - 1) // height  # columns
    if (first == last).all():
        y1, y2 = int((starts % height).min()), int(((ends - 1) % height).max()) + 1
    else:  # a run that goes on at the top of the next column
        y1, y2 = 0, height
    bounds = (y1, int(first[0]), y2, int(last[-1]) + 1)
    return Region(value, encode_runs(starts, ends, size), bounds)
