"""The contract between data and network: name, shape and dtype of every array of a batch.

The pipeline makes these arrays, the training graph takes them; neither knows the other.
"""

from __future__ import annotations

from typing import NamedTuple

IMAGE = "image"
GT_CLASS_IDS = "gt_class_ids"
GT_BOXES = "gt_boxes"
GT_MASKS = "gt_masks"
WINDOW = "window"  # of inference in a dialect of normalised boxes: see network/assemble.py


class ArraySpec(NamedTuple):
    """Shape (without the batch dimension; None: any) and dtype of one array of a batch."""

    shape: tuple
    dtype: str


def training_specs(
    image_shape: tuple, max_instances: int, mask_shape: tuple | None
) -> dict[str, ArraySpec]:
    """The arrays of a training batch.

    Args:
        image_shape: height, width (None: any) and channels.
        max_instances: G, rows of ground truth an image; unused rows are padding.
        mask_shape: height and width of a ground-truth mask; None: no masks (Faster R-CNN).

    Returns:
        By name:
        `image` float32 [H, W, C], 0..255, RGB, the picture at the top left, the padding filled with
        the mean pixel. `gt_class_ids` int32 [G]: 0 padding, negative a crowd. `gt_boxes` float32
        [G, 4]: y1, x1, y2, x2 in pixels of `image`, zeros in padding. `gt_masks` uint8
        [G, mh, mw]: 0..255, soft edges; the frame of a mask is its box (mini masks) or the image.
    """
    specs = {
        IMAGE: ArraySpec(tuple(image_shape), "float32"),
        GT_CLASS_IDS: ArraySpec((max_instances,), "int32"),
        GT_BOXES: ArraySpec((max_instances, 4), "float32"),
    }
    if mask_shape is not None:
        specs[GT_MASKS] = ArraySpec((max_instances, *mask_shape), "uint8")
    return specs
