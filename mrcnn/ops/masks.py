"""Masks of instances: bounds, mini masks, pasting into an image, run-length codes.

At the user's door masks are bool [H, W, N]. OpenCV caps arrays at 128 channels and is wrong above
64 in places, so every function here handles one instance at a time.
"""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.ops.images import resize

MAX_RLE_PIXELS = (
    2**28
)  # a larger mask in a file is refused: it would take the memory of the machine


def boxes_from_masks(masks) -> np.ndarray:
    """Bounds of masks.

    Args:
        masks: [H, W, N], bool or numbers (not zero: inside).

    Returns:
        float32 [N, 4]: y1, x1, y2, x2 in pixels, upper bound exclusive; zeros for an empty mask.
    """
    masks = np.asarray(masks)
    boxes = np.zeros((masks.shape[-1], 4), np.float32)
    if masks.size == 0:
        return boxes
    rows, cols = masks.any(axis=1), masks.any(axis=0)  # [H, N], [W, N]
    filled = rows.any(axis=0)
    boxes[:, 0] = rows.argmax(axis=0)
    boxes[:, 1] = cols.argmax(axis=0)
    boxes[:, 2] = rows.shape[0] - rows[::-1].argmax(axis=0)
    boxes[:, 3] = cols.shape[0] - cols[::-1].argmax(axis=0)
    boxes[~filled] = 0
    return boxes


def mask_bounds(mask) -> tuple[int, int, int, int] | None:
    """(y1, x1, y2, x2) of one mask [H, W], upper bound exclusive; None when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    cols = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1


def minimize_crop(crop, shape) -> np.ndarray:
    """Scales one mask to a fixed shape, as soft values.

    Area average on an axis that shrinks, bilinear on one that grows.

    Args:
        crop: bool [h, w], at least one pixel.
        shape: (mh, mw).

    Returns:
        uint8 [mh, mw], 0..255.
    """
    return resize(np.ascontiguousarray(crop, dtype=np.uint8) * np.uint8(255), shape)


def minimize_masks(masks, boxes, shape) -> np.ndarray:
    """Crops each mask to its box and scales it to a fixed shape.

    Args:
        masks: bool [H, W, N].
        boxes: [N, 4], pixels; rounded to whole pixels. A box without area gives zeros.
        shape: (mh, mw).

    Returns:
        uint8 [N, mh, mw], 0..255, soft edges.
    """
    minis = np.zeros((masks.shape[-1], *shape), np.uint8)
    for index, (y1, x1, y2, x2) in enumerate(np.rint(boxes).astype(int)):
        crop = masks[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0), index]
        if crop.size:
            minis[index] = minimize_crop(crop, shape)
    return minis


def paste_mask(mask, box, image_shape, threshold=0.5):
    """Puts a predicted mask into its image, computed only where it can be.

    Detectron2's rule: the centre (y + .5, x + .5) of a pixel lies at
    u = (y + .5 - y1) / (y2 - y1) * mh - .5 in the mask, sampled bilinearly, zero outside.

    Args:
        mask: [mh, mw], 0..1.
        box: y1, x1, y2, x2, float pixels; may reach over the border of the image.
        image_shape: (H, W).
        threshold: a pixel belongs to the object from this value on.

    Returns:
        (crop, region): crop bool [h, w] and region (y1, x1, y2, x2), int, inside the image, of the
        same size. Everything outside the region is False. A box without area, or outside the
        image, gives an empty crop.
    """
    mask = np.asarray(mask, np.float32)
    y1, x1, y2, x2 = (float(value) for value in box)
    top, wy = _paste_weights(y1, y2, mask.shape[0], int(image_shape[0]))
    left, wx = _paste_weights(x1, x2, mask.shape[1], int(image_shape[1]))
    crop = wy @ mask @ wx.T >= threshold
    return crop, (top, left, top + crop.shape[0], left + crop.shape[1])


def paste_bordered_mask(mask, box, image_shape, threshold=0.5):
    """Puts a predicted mask into its image by torchvision's rule.

    The mask gets a border of zeros, and its box grows with it about its centre; the box is cut to
    whole pixels, both bounds included, and the mask is scaled to it.

    Args, returns: as `paste_mask`.
    """
    mask = np.asarray(mask, np.float32)
    box = np.asarray(box, np.float32)
    growth = np.float32([(side + 2) / side for side in mask.shape])
    centre, half = (box[2:] + box[:2]) * 0.5, (box[2:] - box[:2]) * 0.5 * growth
    first, last = np.trunc(centre - half).astype(int), np.trunc(centre + half).astype(int)
    scaled = resize(np.pad(mask, 1), np.maximum(last - first + 1, 1), "bilinear")
    low = np.clip(first, 0, image_shape)
    high = np.maximum(np.clip(last + 1, 0, image_shape), low)
    y1, x1 = low - first
    y2, x2 = high - first
    return scaled[y1:y2, x1:x2] >= threshold, (*low.tolist(), *high.tolist())


def _paste_weights(low, high, cells, size):
    """First pixel and bilinear weights [pixels, cells] of the pixels of one axis."""
    if not high > low:
        return 0, np.zeros((0, cells), np.float32)
    half_cell = (high - low) / cells / 2  # so far outside the box values are above 0
    first = min(max(int(np.floor(low - half_cell)), 0), size)
    last = max(min(int(np.ceil(high + half_cell)), size), first)
    position = (np.arange(first, last) + 0.5 - low) / (high - low) * cells - 0.5
    weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells)))
    return first, weights.astype(np.float32)


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
