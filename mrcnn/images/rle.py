"""COCO run-length codes of masks."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.images.masks import instances_first, mask_bounds

MAX_RLE_PIXELS = (
    2**28
)  # a larger mask in a file is refused: it would take the memory of the machine


# --- Run-length codes ----------------------------------------------------------------------------
def encode_rle(crop, region, image_shape) -> dict:
    """COCO run-length code of a mask that is known only inside a region.

    The full mask is never built: time and memory follow the region.

    Args:
        crop: bool [h, w].
        region: (y1, x1, y2, x2), int, inside the image, of the size of `crop`.
        image_shape: (H, W).

    Returns:
        {"size": [H, W], "counts": bytes}, equal to `pycocotools.mask.encode` of the full mask.
    """
    height, width = int(image_shape[0]), int(image_shape[1])
    crop = np.asarray(crop, bool)
    padded = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    padded[:, 1:-1] = crop.T
    steps = np.diff(padded, axis=1)  # [w, h + 1], columns of the picture one after another
    starts = _flat_positions(steps == 1, region, height)
    ends = _flat_positions(steps == -1, region, height)
    joined = np.flatnonzero(ends[:-1] == starts[1:])  # runs over the foot of a column
    starts, ends = np.delete(starts, joined + 1), np.delete(ends, joined)
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(edges, prepend=0).tolist()
    last = int(edges[-1]) if edges.size else 0
    if last < height * width:
        counts.append(height * width - last)
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def _flat_positions(flags, region, height):
    cols, rows = np.nonzero(flags)
    return (cols + region[1]) * height + rows + region[0]


def rle_counts(counts) -> list[int]:
    """The run lengths of a COCO code, compressed (bytes or text) or not (a list).

    Raises:
        ValueError: not such a code.
    """
    if isinstance(counts, (list, tuple)):
        if not all(isinstance(n, (int, np.integer)) and n >= 0 for n in counts):
            raise ValueError("RLE counts must be whole numbers of at least 0.")
        return [int(n) for n in counts]
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if not isinstance(counts, bytes):
        raise ValueError(f"RLE counts must be a list or text, got {type(counts).__name__}.")
    return _uncompress(counts)


def _uncompress(text: bytes) -> list[int]:
    """COCO's code: 5 bits a character plus 48, bit 5 says "more"; from the third, differences."""
    result, value, shift = [], 0, 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("the compressed RLE counts are damaged.")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        if len(result) > 2:
            value += result[-2]
        if value < 0:
            raise ValueError("the compressed RLE counts are damaged.")
        result.append(value)
        value, shift = 0, 0
    if shift:
        raise ValueError("the compressed RLE counts end too early.")
    return result


def decode_rle(rle) -> np.ndarray:
    """Mask of a COCO run-length code, checked before any memory is taken.

    Args:
        rle: {"size": [H, W], "counts": bytes, text or list}.

    Returns:
        bool [H, W].

    Raises:
        ValueError: the counts do not add up to H * W, or the code is damaged or too large.
    """
    height, width = (int(side) for side in rle["size"])
    if height < 0 or width < 0 or height * width > MAX_RLE_PIXELS:
        raise ValueError(f"an RLE mask of {height}x{width} pixels is too large.")
    counts = rle_counts(rle["counts"])
    if sum(counts) != height * width:
        raise ValueError(
            f"the RLE counts add up to {sum(counts)}, expected {height} * {width} = "
            f"{height * width}."
        )
    values = np.zeros(len(counts), bool)
    values[1::2] = True
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def masks_to_rles(masks) -> list[dict]:
    """COCO run-length codes of masks [H, W, N] (bool, or numbers: above 0.5 is inside)."""
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must be [height, width, instances], got shape {masks.shape}.")
    return [mask_to_rle(mask) for mask in instances_first(masks)]


def mask_to_rle(mask) -> dict:
    """COCO run-length code of one mask, bool [H, W]."""
    y1, x1, y2, x2 = mask_bounds(mask) or (0, 0, 0, 0)
    return encode_rle(mask[y1:y2, x1:x2], (y1, x1, y2, x2), mask.shape)


def text_rle(rle: dict) -> dict:
    """A run-length code as JSON can hold it: compressed, counts as text."""
    counts = rle["counts"]
    if isinstance(counts, list):
        counts = coco_mask.frPyObjects(rle, *rle["size"])["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}
