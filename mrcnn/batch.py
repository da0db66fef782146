"""The contract between data and network: name, shape and dtype of every array of a batch.

The pipeline makes these arrays and the training graph takes them. Neither knows the other.
"""

from __future__ import annotations

from typing import NamedTuple

# Names of the network's inputs. Matterport's package has the same ones, except for the window and
# the active classes, which are columns of its `input_image_meta`.
IMAGE = "input_image"
WINDOW = "input_window"
ACTIVE_CLASSES = "input_active_class_ids"
GT_CLASS_IDS = "input_gt_class_ids"
GT_BOXES = "input_gt_boxes"
GT_MASKS = "input_gt_masks"
LEFT_OUT = "input_left_out_boxes"

# Rows of `LEFT_OUT`: enough for the cells of a large micrograph, and only 128 KB per image.
LEFT_OUT_ROWS = 8192


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch.

    Attributes:
        shape: tuple of int or None. Without the batch dimension; None stands for any size.
        dtype: str. Name of the dtype.
    """

    shape: tuple[int | None, ...]
    dtype: str


def training_specs(
    image_shape: tuple[int | None, ...],
    max_instances: int,
    mask_shape: tuple[int, int] | None,
    active_classes: int | None = None,
) -> dict[str, ArraySpec]:
    """Describes the arrays of a training batch.

    Args:
        image_shape: tuple of int or None. Height, width (None: any) and channels of the images.
        max_instances: int. G, the rows of ground truth per image. Unused rows are padding.
        mask_shape: tuple of int or None. Height and width of a ground-truth mask. None: there are
            no masks (Faster R-CNN).
        active_classes: int or None. The number of classes, for a dialect whose class loss knows
            which of them the source of an image has. Defaults to None: there is no such array.

    Returns:
        Dict of `ArraySpec` by name:

        - `input_image`: float32 `[H, W, C]`, RGB in 0..255. Where padding goes and how it is filled
          is up to the dialect; see `dialects.pixels.Frame`.
        - `input_window`: float32 `[4]`, y1, x1, y2, x2 in pixels: what boxes are clipped to.
        - `input_gt_class_ids`: int32 `[G]`. 0 is padding, negative numbers are crowds.
        - `input_gt_boxes`: float32 `[G, 4]`, y1, x1, y2, x2 in pixels. Zeros in padding.
        - `input_gt_masks`: uint8 `[G, mask height, mask width]` in 0..255, with soft edges. A mask
          covers its box (mini-masks) or the whole image.
        - `input_left_out_boxes`: float32 `[LEFT_OUT_ROWS, 4]`, as `input_gt_boxes`: the instances
          beyond G, as many as there are rows. What lies on them teaches nothing.
        - `input_active_class_ids`: float32 `[active_classes]`, 1 for the classes that the source of
          the image has.
    """
    specs = {
        IMAGE: ArraySpec(tuple(image_shape), "float32"),
        WINDOW: ArraySpec((4,), "float32"),
        GT_CLASS_IDS: ArraySpec((max_instances,), "int32"),
        GT_BOXES: ArraySpec((max_instances, 4), "float32"),
        LEFT_OUT: ArraySpec((LEFT_OUT_ROWS, 4), "float32"),
    }
    if mask_shape is not None:
        specs[GT_MASKS] = ArraySpec((max_instances, *mask_shape), "uint8")
    if active_classes is not None:
        specs[ACTIVE_CLASSES] = ArraySpec((active_classes,), "float32")
    return specs
