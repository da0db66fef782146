"""The contract between data and network: name, shape and dtype of every array of a batch.

The pipeline makes these arrays, the training graph takes them; neither knows the other.
"""

from __future__ import annotations

from typing import NamedTuple

# Matterport's names of the network's inputs.
IMAGE = "input_image"
IMAGE_META = "input_image_meta"
ANCHORS = "input_anchors"
WINDOW = "input_window"  # ours, for dialects that clip boxes to it
GT_CLASS_IDS = "input_gt_class_ids"
GT_BOXES = "input_gt_boxes"
GT_MASKS = "input_gt_masks"
# Columns of image_meta before one flag a class, and those flags.
META_COLUMNS = {
    "image_id": slice(0, 1),
    "original_image_shape": slice(1, 4),
    "image_shape": slice(4, 7),
    "window": slice(7, 11),
    "scale": slice(11, 12),
    "active_class_ids": slice(12, None),
}


class ArraySpec(NamedTuple):
    """Shape (without the batch dimension; None: any) and dtype of one array of a batch."""

    shape: tuple
    dtype: str


def training_specs(
    image_shape: tuple, max_instances: int, mask_shape: tuple | None, meta_size: int | None = None,
    window: bool = False,
) -> dict[str, ArraySpec]:  # fmt: skip
    """The arrays of a training batch.

    Args:
        image_shape: height, width (None: any) and channels.
        max_instances: G, rows of ground truth an image; unused rows are padding.
        mask_shape: height and width of a ground-truth mask; None: no masks (Faster R-CNN).
        meta_size: length of Matterport's image_meta, for a dialect of molded images; None: none.
        window: for a dialect that takes the window of the picture in the image.

    Returns:
        By name:
        `input_image` float32 [H, W, C], 0..255, RGB, the picture at the top left, the padding
        filled with the mean pixel. `input_gt_class_ids` int32 [G]: 0 padding, negative a crowd.
        `input_gt_boxes` float32 [G, 4]: y1, x1, y2, x2 in pixels of the image, zeros in padding.
        `input_gt_masks` uint8 [G, mh, mw]: 0..255, soft edges; the frame of a mask is its box (mini
        masks) or the image. With `meta_size`, the image is less its mean pixel ("molded"), and
        `input_image_meta` float32 [meta_size] is as `compat.images.compose_image_meta` makes it.
        With `window`, `input_window` float32 [4]: y1, x1, y2, x2 in pixels, the rest is padding.
    """
    specs = {
        IMAGE: ArraySpec(tuple(image_shape), "float32"),
        GT_CLASS_IDS: ArraySpec((max_instances,), "int32"),
        GT_BOXES: ArraySpec((max_instances, 4), "float32"),
    }
    if meta_size is not None:
        specs[IMAGE_META] = ArraySpec((meta_size,), "float32")
    if window:
        specs[WINDOW] = ArraySpec((4,), "float32")
    if mask_shape is not None:
        specs[GT_MASKS] = ArraySpec((max_instances, *mask_shape), "uint8")
    return specs
