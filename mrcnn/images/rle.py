"""COCO run-length codes (RLE) of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.images.masks import instances_first, mask_bounds

# A larger mask in a file is refused: decoding it could use up the memory of the machine.
MAX_RLE_PIXELS = 2**28
_DAMAGED = "the compressed RLE counts are damaged. Export or download the annotations again."


def encode_rle(
    crop: np.ndarray, region: tuple[int, int, int, int], image_shape: tuple[int, ...]
) -> dict:
    """Encodes a mask that is False outside a region.

    The full mask is never built, so time and memory depend on the size of the region.

    Args:
        crop: bool [h, w]. The mask inside the region.
        region: (y1, x1, y2, x2), ints, inside the image and of the size of `crop`.
        image_shape: (H, W).

    Returns:
        {"size": [H, W], "counts": bytes}, equal to `pycocotools.mask.encode` of the full mask.
    """
    height, width = int(image_shape[0]), int(image_shape[1])
    crop = np.asarray(crop, bool)
    # COCO counts down the columns. A border of False around each column makes every run start and
    # end inside it.
    padded = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    padded[:, 1:-1] = crop.T
    steps = np.diff(padded, axis=1)  # [w, h + 1], one row per column of the image
    starts = _flat_positions(steps == 1, region, height)
    ends = _flat_positions(steps == -1, region, height)
    # Join runs that continue from the end of one column to the start of the next.
    joined = np.flatnonzero(ends[:-1] == starts[1:])
    starts = np.delete(starts, joined + 1)
    ends = np.delete(ends, joined)
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(edges, prepend=0).tolist()
    last = int(edges[-1]) if edges.size else 0
    if last < height * width:
        counts.append(height * width - last)
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _flat_positions(flags, region, height):
    """Returns the positions of flags [w, h + 1] in the image read column by column."""
    cols, rows = np.nonzero(flags)
    return (cols + region[1]) * height + rows + region[0]


def rle_counts(counts: Any) -> list[int]:
    """Returns the run lengths of a COCO code.

    Args:
        counts: bytes or str (compressed), or list of ints (not compressed).

    Returns:
        list of ints, the lengths of the runs; the first run is outside the mask.

    Raises:
        ValueError: if `counts` is of another type or damaged.
    """
    if isinstance(counts, (list, tuple)):
        if not all(isinstance(n, (int, np.integer)) and n >= 0 for n in counts):
            raise ValueError("the RLE counts must be whole numbers of at least 0.")
        return [int(n) for n in counts]
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if not isinstance(counts, bytes):
        raise ValueError(
            f"the RLE counts must be a list or text, got {type(counts).__name__}. Expected "
            "COCO's {'size': [height, width], 'counts': ...}."
        )
    return _uncompress(counts)


def _uncompress(text: bytes) -> list[int]:
    """Decompresses COCO's code.

    Each character is 48 plus 5 bits of a number, low bits first; bit 5 is set if more characters
    of that number follow. From the third number on, each is the difference to the one two before.
    """
    result: list[int] = []
    value = 0
    shift = 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(_DAMAGED)
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign bit of the last character
            value -= 1 << shift
        if len(result) > 2:
            value += result[-2]
        if value < 0:
            raise ValueError(_DAMAGED)
        result.append(value)
        value = 0
        shift = 0
    if shift:
        raise ValueError(
            "the compressed RLE counts end too early. Export or download the annotations again."
        )
    return result


def decode_rle(rle: dict) -> np.ndarray:
    """Decodes a COCO run-length code, after checking it before any memory is allocated.

    Args:
        rle: dict, {"size": [H, W], "counts": bytes, str or list}.

    Returns:
        bool [H, W].

    Raises:
        ValueError: if the counts do not add up to H * W, or the code is damaged or too large.
    """
    height, width = (int(side) for side in rle["size"])
    if height < 0 or width < 0 or height * width > MAX_RLE_PIXELS:
        raise ValueError(
            f"an RLE mask of {height}x{width} pixels is too large or has a negative side; at most "
            f"{MAX_RLE_PIXELS} pixels are read. Correct its size, or cut the image into tiles."
        )
    counts = rle_counts(rle["counts"])
    if sum(counts) != height * width:
        raise ValueError(
            f"the RLE counts add up to {sum(counts)}, expected {height} * {width} = "
            f"{height * width}. The size must be that of the image, [height, width]."
        )
    # Runs alternate between outside and inside, column by column.
    values = np.zeros(len(counts), bool)
    values[1::2] = True
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def masks_to_rles(masks: np.ndarray) -> list[dict]:
    """Encodes a stack of masks.

    Args:
        masks: array [H, W, N], bool, or numbers of which those above 0.5 are inside.

    Returns:
        list of N codes, as `encode_rle` returns them.

    Raises:
        ValueError: if `masks` does not have three axes.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(
            f"masks must be [height, width, instances], got shape {masks.shape}. For one mask "
            "give mask[..., None]."
        )
    return [mask_to_rle(mask) for mask in instances_first(masks)]


def mask_to_rle(mask: np.ndarray) -> dict:
    """Encodes one mask.

    Args:
        mask: bool [H, W].

    Returns:
        A code, as `encode_rle` returns it.
    """
    y1, x1, y2, x2 = mask_bounds(mask) or (0, 0, 0, 0)
    return encode_rle(mask[y1:y2, x1:x2], (y1, x1, y2, x2), mask.shape)


def text_rle(rle: dict) -> dict:
    """Converts a run-length code to the form that JSON can hold.

    Args:
        rle: dict, {"size": [H, W], "counts": bytes, str or list}.

    Returns:
        {"size": [H, W], "counts": str}, compressed.
    """
    counts = rle["counts"]
    if isinstance(counts, list):
        counts = coco_mask.frPyObjects(rle, *rle["size"])["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}
