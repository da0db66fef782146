"""COCO run-length codes (RLE) of masks."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask
from scipy.ndimage import find_objects

from mrcnn.errors import shorten
from mrcnn.images.masks import instances_first, mask_bounds

# A larger mask in a file is refused: decoding it could use up the memory of the machine.
MAX_RLE_PIXELS = 2**28
MAX_RLE_LENGTH = 2**23  # of the counts: decompressing takes about 80 bytes per character
MAX_CHARACTERS = 7  # of one number in a compressed code: 35 bits hold MAX_RLE_PIXELS and its sign
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


def rle_counts(rle: dict) -> np.ndarray:
    """Returns the run lengths of a COCO code, after checking it before any memory is allocated.

    Args:
        rle: dict, {"size": [H, W], "counts": ...}. The counts are bytes or str (compressed), or a
            list of ints (not compressed).

    Returns:
        int64 [runs], the lengths of the runs down the columns; the first run is outside the mask.

    Raises:
        ValueError: if the counts do not add up to H * W, or the code is damaged or too large.
    """
    height, width = _checked_size(rle["size"])
    counts = rle["counts"]
    if isinstance(counts, (list, tuple, str, bytes)) and len(counts) > MAX_RLE_LENGTH:
        raise ValueError(
            f"the RLE counts are {len(counts)} long, more than {MAX_RLE_LENGTH}. Cut the image "
            "into tiles."
        )
    if isinstance(counts, (list, tuple)):
        whole = all(type(n) is int or isinstance(n, np.integer) for n in counts)
        if not whole or min(counts, default=0) < 0:
            raise ValueError("the RLE counts must be whole numbers of at least 0.")
        # A value that is cut makes the sum wrong, as it was before, and fits into an int64.
        runs = np.array([min(n, MAX_RLE_PIXELS + 1) for n in counts], np.int64)
    elif isinstance(counts, (str, bytes)):
        runs = _uncompress(counts.encode("ascii", "replace") if isinstance(counts, str) else counts)
    else:
        raise ValueError(
            f"the RLE counts must be a list or text, got {type(counts).__name__}. Expected "
            "COCO's {'size': [height, width], 'counts': ...}."
        )
    if runs.min(initial=0) < 0:
        raise ValueError(_DAMAGED)
    if runs.sum() != height * width:
        raise ValueError(
            f"the RLE counts add up to {runs.sum()}, expected {height} * {width} = "
            f"{height * width}. The size must be that of the image, [height, width]."
        )
    return runs


def _checked_size(size):
    """Returns the (height, width) of a code, ints."""
    try:
        height, width = (int(side) for side in size)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"the size of an RLE must be [height, width], got {shorten(size)}."
        ) from error
    if height < 0 or width < 0 or height * width > MAX_RLE_PIXELS:
        raise ValueError(
            f"an RLE mask of {shorten(height)}x{shorten(width)} pixels is too large or has a "
            f"negative side; at most {MAX_RLE_PIXELS} pixels are read. Correct its size, or cut "
            "the image into tiles."
        )
    return height, width


def _uncompress(text: bytes) -> np.ndarray:
    """Decompresses COCO's code.

    Each character is 48 plus 5 bits of a number, low bits first; bit 5 is set if more characters
    of that number follow. From the fourth number on, each is the difference to the one two before.
    """
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not bits.size:
        return bits
    if bits.min() < 0 or bits.max() > 63:
        raise ValueError(_DAMAGED)
    ends = np.flatnonzero(bits < 32)  # the last character of each number
    if not ends.size or ends[-1] != bits.size - 1:
        raise ValueError(
            "the compressed RLE counts end too early. Export or download the annotations again."
        )
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > MAX_CHARACTERS:
        raise ValueError(_DAMAGED)
    places = np.arange(bits.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((bits & 31) << (5 * places), starts)
    negative = bits[ends] & 16 > 0  # the sign bit of the last character
    values[negative] -= 1 << (5 * lengths[negative])
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def decode_rle(rle: dict) -> np.ndarray:
    """Decodes a COCO run-length code, after checking it before any memory is allocated.

    Args:
        rle: dict, {"size": [H, W], "counts": bytes, str or list}.

    Returns:
        bool [H, W].

    Raises:
        ValueError: as `rle_counts`.
    """
    runs = rle_counts(rle)
    height, width = (int(side) for side in rle["size"])
    return np.ascontiguousarray(np.repeat(_inside(runs), runs).reshape(width, height).T)


def _inside(runs):
    """Whether each run is inside the mask: they alternate, column by column."""
    inside = np.zeros(len(runs), bool)
    inside[1::2] = True
    return inside


def rle_region(rle: dict) -> tuple[int, int, int, int]:
    """Returns the bounds of the mask of a code, without decoding it.

    Args:
        rle: dict, {"size": [H, W], "counts": bytes, str or list}.

    Returns:
        (y1, x1, y2, x2) in pixels, upper bounds exclusive; zeros for an empty mask.

    Raises:
        ValueError: as `rle_counts`.
    """
    return _region(rle_counts(rle), int(rle["size"][0]))


def _region(runs, height):
    ends = np.cumsum(runs)[1::2]
    lengths = runs[1::2]
    starts, ends = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if not starts.size:
        return 0, 0, 0, 0
    first, last = starts // height, ends // height  # columns
    tops, bottoms = starts % height, ends % height
    # A run that continues in the next column touches the last row and the first.
    whole = first < last
    y1 = 0 if whole.any() else int(tops.min())
    y2 = height if whole.any() else int(bottoms.max()) + 1
    return y1, int(first[0]), y2, int(last[-1]) + 1


def crop_rle(rle: dict) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Decodes a mask inside its bounds; only the columns that it touches are built.

    Args:
        rle: dict, {"size": [H, W], "counts": bytes, str or list}.

    Returns:
        crop: bool [h, w].
        region: (y1, x1, y2, x2), as `rle_region`.

    Raises:
        ValueError: as `rle_counts`.
    """
    runs = rle_counts(rle)
    height = int(rle["size"][0])
    y1, x1, y2, x2 = region = _region(runs, height)
    edges = np.clip(np.cumsum(runs), x1 * height, x2 * height)
    pixels = np.repeat(_inside(runs), np.diff(edges, prepend=x1 * height))
    return np.ascontiguousarray(pixels.reshape(x2 - x1, height)[:, y1:y2].T), region


def checked_rle(rle: dict) -> dict:
    """Returns a code in the form that pycocotools itself writes, after checking it.

    Args:
        rle: dict, {"size": [H, W], "counts": bytes, str or list}.

    Returns:
        {"size": [H, W], "counts": bytes}, without runs of length 0.

    Raises:
        ValueError: as `rle_counts`.
    """
    runs = rle_counts(rle)
    height, width = (int(side) for side in rle["size"])
    inside = _inside(runs)[runs > 0]
    runs = runs[runs > 0]
    firsts = np.flatnonzero(inside != np.append(~inside[:1], inside[:-1]))
    counts = np.add.reduceat(runs, firsts).tolist() if runs.size else []
    if inside[:1].any():
        counts.insert(0, 0)
    return coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def labels_to_rles(labels: np.ndarray, count: int) -> list[dict]:
    """Encodes the instances of a label image.

    Args:
        labels: int [H, W]. 0 for nothing and i + 1 for instance i.
        count: int. N, the number of instances.

    Returns:
        list of N codes, as `encode_rle` returns them.
    """
    rles = []
    for number, place in enumerate(find_objects(labels, max_label=count), 1):
        rows, cols = place or (slice(0, 0), slice(0, 0))
        region = (rows.start, cols.start, rows.stop, cols.stop)
        rles.append(encode_rle(labels[rows, cols] == number, region, labels.shape))
    return rles


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
