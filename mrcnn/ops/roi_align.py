"""RoIAlign (He et al. 2017) on a pyramid, and mask targets that are sampled the same way.

RoIAlign is built on `kernels.crop_and_resize`: the box is shrunk to the centers of its outermost
samples, cropped from a map that is padded with one repeated edge pixel, and average-pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import kernels
from mrcnn.ops.canvas import edge_padded, lay_out


def assign_levels(
    boxes: Any,
    min_level: int = 2,
    max_level: int = 5,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
    tolerance: float = 0.0,
) -> Any:
    """Returns the pyramid level of each box by its size (Lin et al. 2017, equation 1).

    Args:
        boxes: tensor `[..., 4]` in pixels of the network's image.
        min_level: int. Lower bound of the result. Defaults to 2.
        max_level: int. Upper bound of the result. Defaults to 5.
        canonical_size: float. A box of this side in pixels is pooled from `canonical_level`.
            Defaults to 224.
        canonical_level: int. Defaults to 4.
        tolerance: float. Added to the logarithm; 1e-6 in torchvision. Defaults to 0.

    Returns:
        int32 `[...]`: floor(canonical_level + log2(sqrt(area) / canonical_size + 1e-8) +
        tolerance), clipped. The constant 1e-8 is that of Detectron2. Empty boxes get `min_level`.
    """
    side = ops.sqrt(box_ops.area(boxes))
    level = canonical_level + ops.log(side / canonical_size + 1e-8) / math.log(2.0) + tolerance
    return ops.cast(ops.clip(ops.floor(level), min_level, max_level), "int32")


def roi_align(
    feature_map: Any,
    boxes: Any,
    box_indices: Any,
    output_size: int | tuple[int, int],
    stride: float,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Any:
    """Computes RoIAlign on one feature map.

    Each cell of the output is the mean of `sampling_ratio` squared bilinear samples. Samples up to
    one cell outside the map take the value of the edge; those beyond are 0. The networks use
    `pyramid_roi_align`; this simpler function defines what it computes, and the tests compare the
    two.

    Args:
        feature_map: tensor `[batch, height, width, channels]`.
        boxes: tensor `[n, 4]` in pixels.
        box_indices: int32 tensor `[n]`. Index of each box's image in the batch.
        output_size: int or (rows, columns). Cells of the output.
        stride: float. Pixels per cell of the map.
        sampling_ratio: int, at least 1. Samples per side of an output cell. Defaults to 2.
        aligned: bool. Whether pixel centers lie half a cell from the corner, as in Detectron2's
            ROIAlignV2. False is the older convention, in which boxes have at least one cell.
            Defaults to True.

    Returns:
        `[n, rows, columns, channels]`, in the dtype of `feature_map`.
    """
    size = _pair(output_size)
    padded = edge_padded(feature_map)
    height, width = ops.shape(padded)[1:3]
    low, high = _corners(boxes / float(stride), aligned)
    frames = _sample_frames(low, high, size, sampling_ratio)
    frames = (frames + 1.0) / _last((height, width))  # + 1: the padding
    grid = (size[0] * sampling_ratio, size[1] * sampling_ratio)
    crops = kernels.crop_and_resize(padded, frames, box_indices, grid)
    return ops.cast(_pooled(crops, sampling_ratio), feature_map.dtype)


def pyramid_roi_align(
    feature_maps: Sequence[Any],
    boxes: Any,
    strides: Sequence[float],
    output_size: int | tuple[int, int],
    levels: Any,
    sampling_ratio: int = 2,
    aligned: bool = True,
    bounded: bool = False,
) -> Any:
    """Computes RoIAlign with each box pooled from its own pyramid level.

    All levels are laid out on one canvas and every box is cropped from it once. So shapes are
    static, and no work is spent on the levels that a box is not in.

    Args:
        feature_maps: list of tensors `[batch, height, width, channels]`, finest first.
        boxes: tensor `[batch, num_rois, 4]` in pixels, inside the image. The samples of a box that
            reaches beyond the image can fall into another level's part of the canvas.
        strides: sequence of floats. Pixels per cell, one per map.
        output_size: int or (rows, columns). Cells of the output.
        levels: int tensor `[batch, num_rois]`. Level of each box, 2 for the first map.
        sampling_ratio: int. Samples per side of an output cell. With 0, each box and axis has as
            many as an output cell covers cells of the map, rounded up (Detectron2). Defaults to 2.
        aligned: bool. See `roi_align`. Defaults to True.
        bounded: bool. Whether `levels` come from `assign_levels`, which bounds the number of
            samples. Required for gradients on JAX. Ignored unless `sampling_ratio` is 0. Defaults
            to False.

    Returns:
        `[batch, num_rois, rows, columns, channels]`, as `roi_align` on each box's level.
    """
    size = _pair(output_size)
    canvas, origins = lay_out(feature_maps)
    index = ops.clip(ops.cast(levels, "int32") - 2, 0, len(feature_maps) - 1)
    stride = ops.take(ops.convert_to_tensor([float(s) for s in strides]), index, axis=0)
    low, high = _corners(boxes / stride[..., None], aligned)
    # One row per box of the batch: [batch * num_rois, 2], and the image [batch * num_rois].
    rows = {
        "low": ops.reshape(low, (-1, 2)),
        "high": ops.reshape(high, (-1, 2)),
        "image": _image_of_each(boxes),
        "origin": ops.reshape(ops.take(origins, index, axis=0), (-1, 2)),  # of the level's map
    }
    if sampling_ratio == 0 and boxes.shape[1] != 0:
        pooled = _pool_adaptively(canvas, rows, size, _most_samples(canvas, size, bounded))
    else:
        sampling_ratio = sampling_ratio or 1
        frames = _sample_frames(rows["low"], rows["high"], size, sampling_ratio)
        grid = (size[0] * sampling_ratio, size[1] * sampling_ratio)
        crops = _crop_canvas(canvas, frames, rows["origin"], rows["image"], grid)
        if not aligned:
            # Boxes are enlarged to at least one cell, so samples can lie beyond the map's end.
            limits = _map_sizes(feature_maps)
            limit = ops.reshape(ops.take(limits, index, axis=0), (-1, 2))
            crops = crops * _inside(frames, limit, grid)
        pooled = _pooled(crops, sampling_ratio)
    shape = (*ops.shape(boxes)[:2], *size, feature_maps[0].shape[-1])
    return ops.reshape(ops.cast(pooled, feature_maps[0].dtype), shape)


def _image_of_each(boxes):
    """Returns the index of the image of each box, int32 [batch * num_rois]."""
    batch, num_rois = ops.shape(boxes)[:2]
    image = ops.arange(batch, dtype="int32")[:, None]
    return ops.reshape(ops.broadcast_to(image, (batch, num_rois)), (-1,))


def _map_sizes(feature_maps):
    """Returns the height and width of each map: float32 `[levels, 2]`."""
    sizes = [ops.stack(list(ops.shape(feature_map)[1:3])) for feature_map in feature_maps]
    return ops.convert_to_tensor([ops.cast(size, "float32") for size in sizes])


def _crop_canvas(canvas, frames, origin, image, grid):
    """Samples frames `[n, 4]`, in cells of the map at `origin`: `[n, *grid, channels]`."""
    frames = frames + 1.0 + ops.concatenate([origin, origin], axis=-1)  # + 1: the padding
    return kernels.crop_and_resize(canvas, frames / _last(ops.shape(canvas)[1:3]), image, grid)


def _inside(frames, limit, grid):
    """Returns 1 for samples of frames `[n, 4]` up to `limit` `[n, 2]`, else 0: `[n, *grid, 1]`."""
    inside = []
    for axis, count in enumerate(grid):
        first, last = frames[:, axis], frames[:, axis + 2]
        steps = ops.arange(count, dtype="float32") / max(count - 1, 1)
        at = first[:, None] + steps * (last - first)[:, None]
        inside.append(ops.cast(at <= limit[:, axis, None], "float32"))
    return inside[0][:, :, None, None] * inside[1][:, None, :, None]


def _pool_adaptively(canvas, rows, size, at_most):
    """Computes RoIAlign with as many samples as an output cell covers cells of the map.

    All samples of one kind, such as the upper left ones of all output cells of a box, are one
    crop. The crops of all boxes form a list, which is processed in pieces with as many crops as
    there are boxes. So every shape is static, and time and memory follow the number of samples.

    Args:
        canvas: tensor `[batch, height, width, channels]`. See `lay_out`.
        rows: dict. `low` and `high` corner and `origin` of the map, `[n, 2]` in cells, and the
            index of the `image` `[n]` of each box.
        size: (rows, columns) of the output.
        at_most: int or None. See `kernels.repeat`.

    Returns:
        `[n, *size, channels]`; 0 for boxes without area.
    """
    count = ops.shape(rows["low"])[0]
    cell = (rows["high"] - rows["low"]) / ops.convert_to_tensor([float(n) for n in size])
    usable = ops.logical_and(cell > 0, ops.isfinite(cell))  # a NaN box has no samples
    samples = ops.cast(ops.ceil(ops.where(usable, cell, 0.0)), "int32")  # [n, 2]
    crops = samples[:, 0] * samples[:, 1]  # of each box
    ends = ops.cumsum(crops)  # of each box in the list of crops

    def add_piece(step, pooled):
        number = step * count + ops.arange(count, dtype="int32")  # in the list of crops
        box = ops.minimum(ops.searchsorted(ends, number, side="right"), count - 1)
        box = ops.cast(box, "int32")
        own = {name: ops.take(row, box, axis=0) for name, row in rows.items()}
        own_samples = ops.take(samples, box, axis=0)
        own_cell = ops.take(cell, box, axis=0)
        # Which sample of an output cell this crop takes, as (row, column) inside the cell.
        kind = number - (ops.take(ends, box) - ops.take(crops, box))
        columns = ops.maximum(own_samples[:, 1], 1)
        place = ops.cast(ops.stack([kind // columns, kind % columns], axis=-1), "float32") + 0.5
        first = own["low"] + place * own_cell / ops.cast(ops.maximum(own_samples, 1), "float32")
        last = first + own_cell * ops.convert_to_tensor([float(n - 1) for n in size])
        frames = ops.concatenate([first, last], axis=-1)
        crop = _crop_canvas(canvas, frames, own["origin"], own["image"], size)
        # Each crop counts as one sample of its box's mean; numbers past the list count nothing.
        share = ops.where(number < ends[-1], 1.0 / ops.cast(ops.take(crops, box), "float32"), 0.0)
        share = share[:, None, None, None]
        crop = ops.where(share > 0, crop * share, 0.0)
        return pooled + ops.segment_sum(crop, box, num_segments=count)

    shape = (count, *size, canvas.shape[-1])
    pieces = (ends[-1] + count - 1) // count
    return kernels.repeat(pieces, add_piece, ops.zeros(shape), at_most)


def _most_samples(canvas, size, bounded):
    """Returns an upper bound of the mean number of crops per box, or None if there is none.

    On P2 to P4 a box has an area of at most 28 x 28 cells, but may be as wide as the map. On P5 it
    may be the whole map, whose sides are an eighth of the first map's.
    """
    height, width = canvas.shape[1:3]
    if not bounded or height is None or width is None:
        return None
    rows, columns = size
    longest = -(-max(height, width) // min(size)) + 1  # -(-a // b) rounds up
    square = 36
    whole_p5 = (-(-height // 8 // rows) + 1) * (-(-width // 8 // columns) + 1)
    return max(longest, square, whole_p5)


def assign_nearest_levels(boxes: Any, image_area: Any) -> Any:
    """Returns the pyramid level of each box by its size, rounded to nearest (Matterport's rule).

    Args:
        boxes: tensor `[..., 4]` in the coordinates of `ops.boxes.normalize`.
        image_area: number or scalar tensor. Height * width of the network's image in pixels.

    Returns:
        int32 `[...]`: 4 + round(log2(sqrt(area) / (224 / sqrt(image_area)))), clipped to 2..5.
    """
    side = ops.sqrt(box_ops.area(boxes)) / (224.0 / ops.sqrt(ops.cast(image_area, "float32")))
    level = ops.round(ops.log(ops.maximum(side, 1e-30)) / math.log(2.0))  # ties to even
    return ops.cast(ops.clip(4.0 + level, 2, 5), "int32")


def pyramid_crop(feature_maps: Sequence[Any], boxes: Any, output_size: int, levels: Any) -> Any:
    """Pools each box with one bilinear sample per cell, the outermost on the bounds of the box.

    This is not RoIAlign, but the pooling of Matterport's Mask_RCNN, for weights trained with it.
    Every level is cropped for all boxes, because samples at the border of one map must not see
    another map.

    Args:
        feature_maps: list of tensors `[batch, height, width, channels]`, finest first.
        boxes: tensor `[batch, num_rois, 4]` in the coordinates of `ops.boxes.normalize`.
        output_size: int. Cells per side of the output.
        levels: int tensor `[batch, num_rois]`. Level of each box, 2 for the first map.

    Returns:
        `[batch, num_rois, output_size, output_size, channels]`.
    """
    image = _image_of_each(boxes)
    total = 0.0
    for level, feature_map in enumerate(feature_maps, start=2):
        # Boxes of other levels are moved outside the map, where every sample is 0.
        own = ops.where((levels == level)[..., None], boxes, -2.0)
        total = total + kernels.crop_and_resize(
            feature_map,
            ops.reshape(own, (-1, 4)),
            image,
            (output_size, output_size),
        )
    shape = (*ops.shape(boxes)[:2], output_size, output_size, feature_maps[0].shape[-1])
    return ops.reshape(total, shape)


def crop_masks(
    masks: Any,
    frames: Any,
    boxes: Any,
    gt_index: Any,
    output_size: int | tuple[int, int],
    sampling_ratio: int = 2,
) -> Any:
    """Computes mask targets: the part of an instance's mask that each box sees.

    Samples as aligned `roi_align` does, on the mask surrounded by zeros.

    Args:
        masks: tensor `[batch, num_gt, mask_height, mask_width]`, 0..1.
        frames: tensor `[batch, num_gt, 4]` in pixels. Where each mask lies: the instance's box for
            a mini-mask, the whole image for a full mask.
        boxes: tensor `[batch, num_rois, 4]` in pixels.
        gt_index: int32 tensor `[batch, num_rois]`. Index of each box's instance.
        output_size: int or (rows, columns). Cells of the output.
        sampling_ratio: int. Samples per side of an output cell. Defaults to 2.

    Returns:
        `[batch, num_rois, rows, columns]`, 0..1, 0 outside the frame. There is no gradient.
    """
    size = _pair(output_size)
    batch, num_gt = ops.shape(masks)[:2]
    num_rois = ops.shape(boxes)[1]
    mask_shape = ops.shape(masks)[2:4]
    # Boxes in cells of their instance's mask.
    frame = ops.take_along_axis(frames, gt_index[..., None], axis=1)
    extent = ops.maximum(frame[..., 2:] - frame[..., :2], box_ops.EPSILON)
    cells = ops.cast(ops.stack(list(mask_shape)), "float32") / extent  # per pixel
    origin = ops.concatenate([frame[..., :2]] * 2, axis=-1)
    low, high = _corners((boxes - origin) * ops.concatenate([cells, cells], axis=-1), True)
    where = _sample_frames(low, high, size, sampling_ratio) + 1.0  # + 1: the padding
    padded = ops.pad(masks, ((0, 0), (0, 0), (1, 1), (1, 1)))
    # Every mask becomes an image of its own: [batch * num_gt, height + 2, width + 2, 1].
    padded = ops.reshape(padded, (-1, mask_shape[0] + 2, mask_shape[1] + 2, 1))
    where = where / _last((mask_shape[0] + 2, mask_shape[1] + 2))
    first = ops.arange(batch, dtype="int32")[:, None] * num_gt
    crops = kernels.crop_and_resize(
        padded,
        ops.reshape(where, (-1, 4)),
        ops.reshape(first + ops.cast(gt_index, "int32"), (-1,)),
        (size[0] * sampling_ratio, size[1] * sampling_ratio),
    )
    pooled = _pooled(crops, sampling_ratio)
    return ops.stop_gradient(ops.reshape(pooled, (batch, num_rois, *size)))


def crop_masks_at_corners(
    masks: Any, frames: Any, boxes: Any, gt_index: Any, output_size: int | tuple[int, int]
) -> Any:
    """Computes mask targets sampled corner to corner, one sample per cell (Matterport's rule).

    Args:
        masks: tensor `[batch, num_gt, mask_height, mask_width]`, 0..1.
        frames: tensor `[batch, num_gt, 4]`. Where each mask lies, in the coordinates of `boxes`.
        boxes: tensor `[batch, num_rois, 4]`, in any coordinates, such as `ops.boxes.normalize`'s.
        gt_index: int32 tensor `[batch, num_rois]`. Index of each box's instance.
        output_size: int or (rows, columns). Cells of the output.

    Returns:
        `[batch, num_rois, rows, columns]`, 0..1, 0 outside the frame. There is no gradient.
    """
    batch, num_gt, height, width = ops.shape(masks)
    num_rois = ops.shape(boxes)[1]
    size = _pair(output_size)
    frame = ops.take_along_axis(frames, gt_index[..., None], axis=1)
    origin = ops.concatenate([frame[..., :2]] * 2, axis=-1)
    extent = ops.concatenate([frame[..., 2:] - frame[..., :2]] * 2, axis=-1)
    # An instance of one pixel has no extent in normalized coordinates.
    where = (boxes - origin) / ops.maximum(extent, 1e-9)
    # Samples outside the mask are 0, so bounds that rounding moved off the mask are moved back.
    # The last sample is rounded once more by the crop, hence 1 - 1e-6.
    where = ops.where(ops.abs(where) < 1e-5, 0.0, where)
    where = ops.where(ops.abs(where - 1.0) < 1e-5, 1.0 - 1e-6, where)
    first = ops.arange(batch, dtype="int32")[:, None] * num_gt
    crops = kernels.crop_and_resize(
        ops.reshape(masks, (-1, height, width, 1)),  # every mask an image of its own
        ops.reshape(where, (-1, 4)),
        ops.reshape(first + ops.cast(gt_index, "int32"), (-1,)),
        size,
    )
    return ops.stop_gradient(ops.reshape(crops, (batch, num_rois, *size)))


def _corners(boxes, aligned):
    """Returns low and high corner `[..., 2]` of boxes in cells, in coordinates of pixel centers."""
    low, high = boxes[..., :2], boxes[..., 2:]
    if aligned:
        return low - 0.5, high - 0.5
    return low, low + ops.maximum(high - low, 1.0)


def _sample_frames(low, high, size, ratio):
    """Returns boxes `[..., 4]` from the first to the last sample of a grid of size * ratio."""
    samples = ops.convert_to_tensor([float(n * ratio) for n in size])
    margin = 0.5 * (high - low) / samples
    return ops.concatenate([low + margin, high - margin], axis=-1)


def _pooled(crops, ratio):
    """Averages blocks: `[n, rows * ratio, columns * ratio, c]` to `[n, rows, columns, c]`."""
    if ratio == 1:
        return crops
    # On CPU the pooling kernel is three to five times faster than a mean over split axes.
    return ops.average_pool(crops, ratio, ratio, data_format="channels_last")


def _last(shape):
    """Returns the last indices of (height, width) for (y1, x1, y2, x2): float32 `[4]`."""
    last = ops.cast(ops.stack([shape[0] - 1, shape[1] - 1]), "float32")
    return ops.concatenate([last, last])


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)
