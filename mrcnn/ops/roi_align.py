"""RoIAlign (He et al. 2017) on one map and on a pyramid, and mask targets cut the same way."""

from __future__ import annotations

import math

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import kernels


def assign_levels(boxes, min_level=2, max_level=5, canonical_size=224.0, canonical_level=4):
    """Pyramid level of each box by its size (Lin et al. 2017, equation 1).

    Args:
        boxes: [..., 4] in pixels of the network's image.
        min_level, max_level: the result is clipped to these.
        canonical_size: a box of this side is pooled from `canonical_level`.

    Returns:
        int32 [...]: floor(canonical_level + log2(sqrt(area) / canonical_size + 1e-8)), the
        constant as in Detectron2. Empty boxes: `min_level`.
    """
    side = ops.sqrt(box_ops.area(boxes))
    level = ops.floor(canonical_level + ops.log(side / canonical_size + 1e-8) / math.log(2.0))
    return ops.cast(ops.clip(level, min_level, max_level), "int32")


def roi_align(feature_map, boxes, box_indices, output_size, stride, sampling_ratio=2, aligned=True):
    """RoIAlign on one feature map.

    Each of the output's cells is the mean of `sampling_ratio` squared bilinear samples. Samples
    up to one cell outside the map take the value of the edge, those beyond are 0.

    Args:
        feature_map: [batch, height, width, channels].
        boxes: [n, 4] in pixels.
        box_indices: int32 [n], the image of each box.
        output_size: cells per side, or (rows, columns).
        stride: pixels per cell of the map.
        sampling_ratio: samples per side of an output cell, at least 1.
        aligned: True: pixel centres lie half a cell in (Detectron2's ROIAlignV2). False: the older
            convention, with boxes of at least one cell.

    Returns:
        [n, rows, columns, channels].
    """
    size = _pair(output_size)
    padded = _edge_padded(feature_map)
    height, width = ops.shape(padded)[1:3]
    low, high = _corners(boxes / float(stride), aligned)
    frames = _sample_frames(low, high, size, sampling_ratio)
    frames = (frames + 1.0) / _last((height, width))  # + 1: the padding
    crops = kernels.crop_and_resize(
        padded, frames, box_indices, (size[0] * sampling_ratio, size[1] * sampling_ratio)
    )
    return ops.cast(_pooled(crops, sampling_ratio), feature_map.dtype)


def pyramid_roi_align(feature_maps, boxes, strides, output_size, levels, sampling_ratio=2):
    """RoIAlign in which each box is pooled from its own pyramid level.

    All levels are laid out on one canvas and every box is cropped once from it, so that shapes are
    static and no work is done for the levels a box is not in.

    Args:
        feature_maps: list of [batch, height, width, channels], finest first.
        boxes: [batch, rois, 4] in pixels, inside the image (else their samples reach into another
            level's part of the canvas).
        strides: pixels per cell, one a map.
        output_size: cells per side, or (rows, columns).
        levels: int [batch, rois], 2 for the first map.
        sampling_ratio: samples per side of an output cell.

    Returns:
        [batch, rois, rows, columns, channels], as `roi_align` (aligned) on each box's level.
    """
    size = _pair(output_size)
    batch, rois = ops.shape(boxes)[:2]
    canvas, origins = _canvas(feature_maps)
    index = ops.clip(ops.cast(levels, "int32") - 2, 0, len(feature_maps) - 1)
    stride = ops.take(ops.convert_to_tensor([float(s) for s in strides]), index, axis=0)
    low, high = _corners(boxes / stride[..., None], True)
    frames = _sample_frames(low, high, size, sampling_ratio)
    origin = ops.take(origins, index, axis=0)  # [batch, rois, 2]
    frames = frames + 1.0 + ops.concatenate([origin, origin], axis=-1)
    frames = frames / _last(ops.shape(canvas)[1:3])
    image = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, rois))
    crops = kernels.crop_and_resize(
        canvas,
        ops.reshape(frames, (-1, 4)),
        ops.reshape(image, (-1,)),
        (size[0] * sampling_ratio, size[1] * sampling_ratio),
    )
    pooled = ops.cast(_pooled(crops, sampling_ratio), feature_maps[0].dtype)
    return ops.reshape(pooled, (batch, rois, *size, feature_maps[0].shape[-1]))


def assign_nearest_levels(boxes, image_area):
    """Pyramid level of each box by its size, rounded to the nearest (Matterport's rule).

    Args:
        boxes: [..., 4] in the coordinates of `ops.boxes.normalise`.
        image_area: height * width of the network's image in pixels.

    Returns:
        int32 [...]: 4 + round(log2(sqrt(area) / (224 / sqrt(image_area)))) within 2..5.
    """
    side = ops.sqrt(box_ops.area(boxes)) / (224.0 / ops.sqrt(ops.cast(image_area, "float32")))
    level = ops.round(ops.log(ops.maximum(side, 1e-30)) / math.log(2.0))  # ties to even
    return ops.cast(ops.clip(4.0 + level, 2, 5), "int32")


def pyramid_crop(feature_maps, boxes, output_size, levels):
    """One bilinear sample a cell, the outermost on the bounds of the box: no RoIAlign.

    The pooling of Matterport's Mask_RCNN, for weights that were trained with it. Each level is
    cropped for all boxes, since the borders of one map must not see another's.

    Args:
        feature_maps: list of [batch, height, width, channels], finest first.
        boxes: [batch, rois, 4] in the coordinates of `ops.boxes.normalise`.
        output_size: cells per side.
        levels: int [batch, rois], 2 for the first map.

    Returns:
        [batch, rois, output_size, output_size, channels].
    """
    batch, rois = ops.shape(boxes)[:2]
    image = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, rois))
    total = 0.0
    for level, feature_map in enumerate(feature_maps, start=2):
        mine = ops.where((levels == level)[..., None], boxes, -2.0)  # outside: gives zeros
        total = total + kernels.crop_and_resize(
            feature_map,
            ops.reshape(mine, (-1, 4)),
            ops.reshape(image, (-1,)),
            (output_size, output_size),
        )
    shape = (batch, rois, output_size, output_size, feature_maps[0].shape[-1])
    return ops.reshape(total, shape)


def crop_masks(masks, frames, boxes, gt_index, output_size, sampling_ratio=2):
    """Mask targets: what each box sees of its object's mask.

    Sampled as by aligned `roi_align`, on the mask surrounded by zeros.

    Args:
        masks: [batch, gt, mh, mw], 0..1.
        frames: [batch, gt, 4], where each mask lies, in pixels: its object's box for a mini-mask,
            the whole image for a full one.
        boxes: [batch, rois, 4] in pixels.
        gt_index: int32 [batch, rois], the object of each box.
        output_size: (rows, columns).
        sampling_ratio: samples per side of an output cell.

    Returns:
        [batch, rois, rows, columns], 0..1, 0 outside the frame. No gradient.
    """
    size = _pair(output_size)
    batch, count = ops.shape(masks)[:2]
    rois = ops.shape(boxes)[1]
    mask_shape = ops.shape(masks)[2:4]
    frame = ops.take_along_axis(frames, gt_index[..., None], axis=1)
    extent = ops.maximum(frame[..., 2:] - frame[..., :2], box_ops.EPSILON)
    cells = ops.cast(ops.stack(list(mask_shape)), "float32") / extent  # mask cells per pixel
    origin = ops.concatenate([frame[..., :2]] * 2, axis=-1)
    low, high = _corners((boxes - origin) * ops.concatenate([cells, cells], axis=-1), True)
    where = _sample_frames(low, high, size, sampling_ratio) + 1.0
    padded = ops.pad(masks, ((0, 0), (0, 0), (1, 1), (1, 1)))
    padded = ops.reshape(padded, (-1, mask_shape[0] + 2, mask_shape[1] + 2, 1))
    where = where / _last((mask_shape[0] + 2, mask_shape[1] + 2))
    first = ops.arange(batch, dtype="int32")[:, None] * count
    crops = kernels.crop_and_resize(
        padded,
        ops.reshape(where, (-1, 4)),
        ops.reshape(first + ops.cast(gt_index, "int32"), (-1,)),
        (size[0] * sampling_ratio, size[1] * sampling_ratio),
    )
    pooled = _pooled(crops, sampling_ratio)
    return ops.stop_gradient(ops.reshape(pooled, (batch, rois, *size)))


def crop_masks_at_corners(masks, frames, boxes, gt_index, output_size):
    """Mask targets sampled from corner to corner, one bilinear sample a cell (Matterport's rule).

    Args:
        masks, frames, boxes, gt_index, output_size: see `crop_masks`; frames and boxes in one frame
            of coordinates, such as that of `ops.boxes.normalise`.

    Returns:
        [batch, rois, rows, columns], 0..1, 0 outside the frame. No gradient.
    """
    batch, count, height, width = ops.shape(masks)
    rois = ops.shape(boxes)[1]
    frame = ops.take_along_axis(frames, gt_index[..., None], axis=1)
    origin = ops.concatenate([frame[..., :2]] * 2, axis=-1)
    extent = ops.concatenate([frame[..., 2:] - frame[..., :2]] * 2, axis=-1)
    where = (boxes - origin) / ops.maximum(extent, 1e-9)  # an object of one pixel has no extent
    # On a bound, not outside by rounding, where all is 0: the last sample is rounded once more.
    where = ops.where(ops.abs(where) < 1e-5, 0.0, where)
    where = ops.where(ops.abs(where - 1.0) < 1e-5, 1.0 - 1e-6, where)
    first = ops.arange(batch, dtype="int32")[:, None] * count
    crops = kernels.crop_and_resize(
        ops.reshape(masks, (-1, height, width, 1)),
        ops.reshape(where, (-1, 4)),
        ops.reshape(first + ops.cast(gt_index, "int32"), (-1,)),
        _pair(output_size),
    )
    return ops.stop_gradient(ops.reshape(crops, (batch, rois, *_pair(output_size))))


def _corners(boxes, aligned):
    """Boxes [..., 4] in cells -> low and high corner [..., 2] in coordinates of pixel centres."""
    low, high = boxes[..., :2], boxes[..., 2:]
    if aligned:
        return low - 0.5, high - 0.5
    return low, low + ops.maximum(high - low, 1.0)


def _sample_frames(low, high, size, ratio):
    """Boxes [..., 4] from the first to the last sample of a grid of size * ratio samples."""
    samples = ops.convert_to_tensor([float(n * ratio) for n in size])
    margin = 0.5 * (high - low) / samples
    return ops.concatenate([low + margin, high - margin], axis=-1)


def _pooled(crops, ratio):
    """Mean of each ratio x ratio block: [n, rows * ratio, columns * ratio, c] -> [n, rows, ...]."""
    if ratio == 1:
        return crops
    # The pooling kernel: on CPU three to five times faster than a mean over split axes.
    return ops.average_pool(crops, ratio, ratio, data_format="channels_last")


def _edge_padded(feature_map):
    """The map with its border pixels repeated once: [batch, height + 2, width + 2, channels]."""
    rows = ops.concatenate([feature_map[:, :1], feature_map, feature_map[:, -1:]], axis=1)
    return ops.concatenate([rows[:, :, :1], rows, rows[:, :, -1:]], axis=2)


def _canvas(feature_maps):
    """The padded maps on one canvas: the first on the left, the others stacked on its right.

    Returns:
        [batch, height, width, channels], and float32 [levels, 2]: the (y, x) of each padded map.
    """
    maps = [_edge_padded(feature_map) for feature_map in feature_maps]
    sizes = [ops.shape(padded)[1:3] for padded in maps]
    if len(maps) == 1:
        return maps[0], ops.zeros((1, 2))
    height = _larger(sizes[0][0], sum(size[0] for size in sizes[1:]))
    width = sizes[1][1]  # the others are narrower
    right = ops.concatenate([_grown(padded, None, width) for padded in maps[1:]], axis=1)
    canvas = ops.concatenate([_grown(maps[0], height, None), _grown(right, height, None)], axis=2)
    origins, top = [(0, 0)], 0
    for size in sizes[1:]:
        origins.append((top, sizes[0][1]))
        top = top + size[0]
    origins = ops.stack([ops.cast(ops.stack(list(origin)), "float32") for origin in origins])
    return canvas, origins


def _grown(images, height, width):
    """Zeros added at the bottom and on the right up to the given size; None: as it is."""
    batch, rows, columns = ops.shape(images)[:3]
    channels = images.shape[3]
    if height is not None and not _same(height, rows):
        zeros = ops.zeros((batch, height - rows, columns, channels), dtype=images.dtype)
        images = ops.concatenate([images, zeros], axis=1)
        rows = height
    if width is not None and not _same(width, columns):
        zeros = ops.zeros((batch, rows, width - columns, channels), dtype=images.dtype)
        images = ops.concatenate([images, zeros], axis=2)
    return images


def _larger(a, b):
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else ops.maximum(a, b)


def _same(a, b):
    return isinstance(a, int) and isinstance(b, int) and a == b


def _last(shape):
    """(height, width) -> float32 [4] of the last indices, for (y1, x1, y2, x2)."""
    last = ops.cast(ops.stack([shape[0] - 1, shape[1] - 1]), "float32")
    return ops.concatenate([last, last])


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)
