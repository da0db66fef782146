"""RoIAlign (He et al. 2017) on one map and on a pyramid, and mask targets cut the same way."""

from __future__ import annotations

import math

from keras import ops

from mrcnn.ops import boxes as box_ops
from mrcnn.ops import kernels


def assign_levels(
    boxes, min_level=2, max_level=5, canonical_size=224.0, canonical_level=4, tolerance=0.0
):
    """Pyramid level of each box by its size (Lin et al. 2017, equation 1).

    Args:
        boxes: [..., 4] in pixels of the network's image.
        min_level, max_level: the result is clipped to these.
        canonical_size: a box of this side is pooled from `canonical_level`.
        tolerance: added to the logarithm: 1e-6 in torchvision.

    Returns:
        int32 [...]: floor(canonical_level + log2(sqrt(area) / canonical_size + 1e-8) + tolerance),
        the constant as in Detectron2. Empty boxes: `min_level`.
    """
    side = ops.sqrt(box_ops.area(boxes))
    level = canonical_level + ops.log(side / canonical_size + 1e-8) / math.log(2.0) + tolerance
    return ops.cast(ops.clip(ops.floor(level), min_level, max_level), "int32")


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


def pyramid_roi_align(
    feature_maps, boxes, strides, output_size, levels, sampling_ratio=2, aligned=True,
    bounded=False,
):  # fmt: skip
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
        sampling_ratio: samples per side of an output cell; 0: as many as there are cells of the map
            in it, rounded up, for each box and axis (Detectron2).
        aligned: see `roi_align`.
        bounded: levels are as `assign_levels` gives them, which bounds the number of samples: on
            JAX there is no gradient without. Of no meaning but to ratio 0.

    Returns:
        [batch, rois, rows, columns, channels], as `roi_align` on each box's level.
    """
    size = _pair(output_size)
    batch, rois = ops.shape(boxes)[:2]
    canvas, origins = _canvas(feature_maps)
    index = ops.clip(ops.cast(levels, "int32") - 2, 0, len(feature_maps) - 1)
    stride = ops.take(ops.convert_to_tensor([float(s) for s in strides]), index, axis=0)
    low, high = _corners(boxes / stride[..., None], aligned)
    image = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, rois))
    rows = {
        "low": low, "high": high, "image": image[..., None],
        "origin": ops.take(origins, index, axis=0),  # [batch, rois, 2], of the level's map
    }  # fmt: skip
    rows = {name: ops.reshape(row, (-1, row.shape[-1])) for name, row in rows.items()}
    rows["image"] = rows["image"][:, 0]
    if sampling_ratio == 0 and boxes.shape[1] != 0:
        pooled = _pool_adaptively(canvas, rows, size, _most_samples(canvas, size, bounded))
    else:
        sampling_ratio = sampling_ratio or 1
        frames = _sample_frames(rows["low"], rows["high"], size, sampling_ratio)
        grid = (size[0] * sampling_ratio, size[1] * sampling_ratio)
        crops = _crop_canvas(canvas, frames, rows["origin"], rows["image"], grid)
        if not aligned:  # the least size of a cell can lead beyond the map's end
            limits = ops.convert_to_tensor(
                [ops.cast(ops.stack(list(ops.shape(m)[1:3])), "float32") for m in feature_maps]
            )
            limit = ops.reshape(ops.take(limits, index, axis=0), (-1, 2))
            crops = crops * _inside(frames, limit, grid)
        pooled = _pooled(crops, sampling_ratio)
    pooled = ops.cast(pooled, feature_maps[0].dtype)
    return ops.reshape(pooled, (batch, rois, *size, feature_maps[0].shape[-1]))


def _crop_canvas(canvas, frames, origin, image, grid):
    """Samples [n, rows, columns, channels] of frames [n, 4], in cells of the map at `origin`."""
    frames = frames + 1.0 + ops.concatenate([origin, origin], axis=-1)  # + 1: the padding
    return kernels.crop_and_resize(canvas, frames / _last(ops.shape(canvas)[1:3]), image, grid)


def _inside(frames, limit, grid):
    """1 for the samples of frames [n, 4] at most at `limit` [n, 2], else 0: [n, *grid, 1]."""
    inside = []
    for axis, count in enumerate(grid):
        first, last = frames[:, axis], frames[:, axis + 2]
        steps = ops.arange(count, dtype="float32") / max(count - 1, 1)
        at = first[:, None] + steps * (last - first)[:, None]
        inside.append(ops.cast(at <= limit[:, axis, None], "float32"))
    return inside[0][:, :, None, None] * inside[1][:, None, :, None]


def _pool_adaptively(canvas, rows, size, at_most):
    """RoIAlign with a sample for every cell of the map in an output cell, rounded up.

    The samples of one kind, such as the upper left of all output cells of a box, are one crop; the
    crops of all boxes form a list, which is worked off in pieces as long as there are boxes. So
    every shape is static, and work and memory follow the number of samples.

    Args:
        canvas: see `_canvas`.
        rows: `low` and `high` corner and `origin`, [n, 2] in cells, and `image` [n] of each box.
        size: output (rows, columns).
        at_most: see `kernels.repeat`.

    Returns:
        [n, *size, channels]; 0 for boxes without area.
    """
    count = ops.shape(rows["low"])[0]
    cell = (rows["high"] - rows["low"]) / ops.convert_to_tensor([float(n) for n in size])
    known = ops.logical_and(cell > 0, ops.isfinite(cell))  # a box that is no number has no samples
    samples = ops.cast(ops.ceil(ops.where(known, cell, 0.0)), "int32")  # [n, 2]
    crops = samples[:, 0] * samples[:, 1]
    ends = ops.cumsum(crops)

    def piece(step, pooled):
        number = step * count + ops.arange(count, dtype="int32")  # in the list of crops
        box = ops.minimum(ops.searchsorted(ends, number, side="right"), count - 1)
        box = ops.cast(box, "int32")
        mine = {name: ops.take(row, box, axis=0) for name, row in rows.items()}
        width, step_size = ops.take(samples, box, axis=0), ops.take(cell, box, axis=0)
        kind = number - (ops.take(ends, box) - ops.take(crops, box))
        across = ops.maximum(width[:, 1], 1)
        place = ops.cast(ops.stack([kind // across, kind % across], axis=-1), "float32") + 0.5
        first = mine["low"] + place * step_size / ops.cast(ops.maximum(width, 1), "float32")
        last = first + step_size * ops.convert_to_tensor([float(n - 1) for n in size])
        frames = ops.concatenate([first, last], axis=-1)
        crop = _crop_canvas(canvas, frames, mine["origin"], mine["image"], size)
        share = ops.where(number < ends[-1], 1.0 / ops.cast(ops.take(crops, box), "float32"), 0.0)
        crop = ops.where(share[:, None, None, None] > 0, crop * share[:, None, None, None], 0.0)
        return pooled + ops.segment_sum(crop, box, num_segments=count)

    shape = (count, *size, canvas.shape[-1])
    pieces = (ends[-1] + count - 1) // count
    return kernels.repeat(pieces, piece, ops.zeros(shape), at_most)


def _most_samples(canvas, size, bounded):
    """A bound of the mean number of crops a box, or None.

    On P2 to P4 a box has at most 28 x 28 cells in area, but may be as wide as the map; on P5 it may
    be the whole map, an eighth of the first one along each side.
    """
    height, width = canvas.shape[1:3]
    if not bounded or height is None or width is None:
        return None
    return max(
        -(-max(height, width) // min(size)) + 1, 36,
        (-(-height // 8 // size[0]) + 1) * (-(-width // 8 // size[1]) + 1),
    )  # fmt: skip


def assign_nearest_levels(boxes, image_area):
    """Pyramid level of each box by its size, rounded to the nearest (Matterport's rule).

    Args:
        boxes: [..., 4] in the coordinates of `ops.boxes.normalize`.
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
        boxes: [batch, rois, 4] in the coordinates of `ops.boxes.normalize`.
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
            of coordinates, such as that of `ops.boxes.normalize`.

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
