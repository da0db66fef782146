"""Draws instances into an image with OpenCV: fast for hundreds of them, without a screen."""

from __future__ import annotations

import colorsys
import os
import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mrcnn.images.atomic import atomic_path
from mrcnn.images.captions import ascii_text, caption_texts, draw_captions
from mrcnn.images.masks import instances_first, mask_bounds
from mrcnn.images.rle import decode_rle
from mrcnn.images.values import as_native

# Steps of the golden ratio spread hues evenly, for any number of colors.
GOLDEN = 0.61803398875


def to_display(image: Any) -> np.ndarray:
    """Converts an image of any type to one that can be shown.

    uint8 and numbers within 0..255 are unchanged. Floats within 0..1 and bools are scaled. All
    other values (16 bits, negative values) are stretched from percentile 0.1 to 99.9.

    Args:
        image: array [H, W] or [H, W, C] with 1, 2 (gray, alpha), 3 or 4 (RGB, alpha) channels. Of
            more channels, the first three are shown.

    Returns:
        uint8 [H, W, 3], a new array.

    Raises:
        ValueError: if the array has other axes or no pixels.
    """
    image = as_native(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or not image.size:
        raise ValueError(
            "An image must have the axes [height, width] or [height, width, channels] and pixels, "
            f"got shape {image.shape}."
        )
    image = image[..., :1] if image.shape[2] <= 2 else image[..., :3]
    if image.shape[2] == 1:
        image = np.repeat(image, 3, axis=2)
    return np.ascontiguousarray(_to_uint8(image))


def _to_uint8(image):
    if image.dtype == np.uint8:
        return image.copy()
    if image.dtype == bool:
        return image.astype(np.uint8) * np.uint8(255)
    values = np.nan_to_num(image.astype(np.float32), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    if image.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    if image.dtype != np.uint16 and low >= 0 and high <= 255:
        return values.astype(np.uint8)
    low, high = np.percentile(values, (0.1, 99.9))
    if high <= low:  # nearly all pixels are equal
        low, high = values.min(), values.max()
    return np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)


def palette(n: int) -> np.ndarray:
    """Returns colors that are easy to tell apart.

    Color i is the same for every n, so a class keeps its color.

    Args:
        n: int. Number of colors.

    Returns:
        uint8 [n, 3] RGB, all different.
    """
    index = np.arange(n)
    hue = (0.02 + index * GOLDEN) % 1 * 180
    saturation = np.choose(index // 7 % 3, (215, 150, 255))
    value = np.choose(index // 21 % 2, (255, 205))
    hsv = np.stack([hue, saturation, value], axis=1).astype(np.float32)
    # OpenCV's float HSV is in degrees, 0..1 and 0..1.
    hsv = hsv * np.array([2, 1 / 255, 1 / 255], np.float32)
    rgb = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] if n else np.zeros((0, 3))
    return np.rint(rgb * 255).astype(np.uint8)


def instance_colors(colors: str | Sequence, class_ids: Sequence[int]) -> np.ndarray:
    """Returns a color for each instance.

    Args:
        colors: "instance" (a color per instance), "class" (a color per class id), or a list of N
            RGB colors, floats in 0..1 or ints in 0..255.
        class_ids: sequence of N ints.

    Returns:
        uint8 [N, 3] RGB.

    Raises:
        ValueError: if `colors` is another word or its length is not N.
    """
    count = len(class_ids)
    if isinstance(colors, str):
        if colors == "instance":
            return palette(count)
        if colors == "class":
            ids = np.abs(np.asarray(class_ids, int))
            return palette(int(ids.max(initial=0)) + 1)[ids]
        raise ValueError(f"colors must be 'instance', 'class' or a list, got {colors!r}.")
    listed = np.asarray(colors)
    if listed.ndim != 2 or listed.shape[0] != count or listed.shape[1] not in (3, 4):
        raise ValueError(
            f"colors: expected one RGB color for each of {count} instances, got shape "
            f"{listed.shape}."
        )
    listed = listed[:, :3]
    return np.rint(listed * 255 if listed.dtype.kind == "f" else listed).astype(np.uint8)


def random_colors(N: int, bright: bool = True) -> list[tuple[float, float, float]]:
    """Returns evenly spaced hues in random order.

    Args:
        N: int. Number of colors.
        bright: bool. Whether the colors have full brightness, or 70 % of it. Defaults to True.

    Returns:
        list of N RGB tuples, 0..1.
    """
    value = 1.0 if bright else 0.7
    colors = [colorsys.hsv_to_rgb(index / N, 1, value) for index in range(N)]
    random.Random().shuffle(colors)  # not the generator that the user may have seeded
    return colors


def apply_mask(image: np.ndarray, mask: np.ndarray, color: Any, alpha: float = 0.5) -> np.ndarray:
    """Blends a color into an image where a mask is 1, in place.

    Args:
        image: array [H, W, 3], 0..255.
        mask: array [H, W], bool or 0 and 1.
        color: RGB, floats in 0..1.
        alpha: float in 0..1. Weight of the color. Defaults to 0.5.

    Returns:
        `image`.
    """
    inside = np.asarray(mask) == 1
    paint = np.array(color[:3], float) * 255
    image[inside, :3] = image[inside, :3] * (1 - alpha) + alpha * paint
    return image


def draw_box(image: np.ndarray, box: Any, color: Any) -> np.ndarray:
    """Draws a box with lines 2 pixels wide, in place.

    Args:
        image: array [H, W, C].
        box: y1, x1, y2, x2 in pixels.
        color: C values in the range of the image.

    Returns:
        `image`.
    """
    y1, x1, y2, x2 = (int(value) for value in box)
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def check_counts(rois: Any, masks: Any, class_ids: Any, **others: Any) -> int:
    """Checks that all parts of the instances have the same length.

    Args:
        rois: array [N, 4].
        masks: array [H, W, N], a list of N run-length codes, or None.
        class_ids: array [N].
        **others: further sequences of length N, or None.

    Returns:
        N, the number of instances.

    Raises:
        ValueError: if the lengths differ. The message holds all shapes.
    """
    counts: dict[str, tuple[Any, int]] = {
        "boxes": (np.shape(rois), len(rois)),
        "class_ids": (np.shape(class_ids), len(class_ids)),
    }
    if masks is not None:
        is_list = isinstance(masks, (list, tuple))
        shape = f"{len(masks)} codes" if is_list else np.shape(masks)
        counts["masks"] = (shape, len(masks) if is_list else np.shape(masks)[-1])
    for name, value in others.items():
        if value is not None:
            counts[name] = (np.shape(value), len(value))
    if len({count for _, count in counts.values()}) > 1:
        shapes = ", ".join(f"{name} {shape}" for name, (shape, _) in counts.items())
        raise ValueError(
            f"Expected one entry per instance: boxes [N, 4], masks [height, width, N] and N of "
            f"each of the others. Got {shapes}."
        )
    return len(rois)


def draw_instances(
    image: Any,
    rois: Any,
    masks: Any = None,
    class_ids: Any = None,
    class_names: Sequence[str] | None = None,
    scores: Any = None,
    colors: str | Sequence = "instance",
    alpha: float = 0.45,
    scale: int = 1,
    boxes: bool = True,
    captions: bool | Sequence[str] = True,
) -> np.ndarray:
    """Draws masks, outlines, boxes and captions.

    Large instances are drawn first, so that small ones stay visible. A caption that would hide
    small instances or other captions is shortened to the score, then left out.

    Args:
        image: array. See `to_display`.
        rois: array [N, 4], boxes in pixels of the image, or a result of `detect`, whose parts then
            replace the arguments that are None.
        masks: bool array [H, W, N], list of N run-length codes, or None. Defaults to None.
        class_ids: array [N], or None for captions without names. Defaults to None.
        class_names: list of str, indexed by class id, or None (no names). Defaults to None.
        scores: array [N] or None. Defaults to None.
        colors: "instance", "class" or a list. See `instance_colors`. Defaults to "instance".
        alpha: float in 0..1. Weight of the color inside a mask. Defaults to 0.45.
        scale: int. Factor by which the image is enlarged before drawing. Defaults to 1.
        boxes: bool. Whether to draw boxes. Defaults to True.
        captions: bool, or a list of N texts, which are never left out. Defaults to True.

    Returns:
        uint8 [H * scale, W * scale, 3] RGB, a new array.

    Raises:
        ValueError: if the parts differ in length, the masks in size, or `scale` is below 1.
    """
    if isinstance(rois, dict):
        rois, masks, class_ids, scores = _parts(rois, masks, class_ids, scores)
    rois = np.asarray(rois).reshape(-1, 4)
    names = class_names if class_ids is not None else None
    class_ids = np.zeros(len(rois), int) if class_ids is None else np.asarray(class_ids)
    texts = captions if isinstance(captions, (list, tuple)) else None
    check_counts(rois, masks, class_ids, scores=scores, captions=texts)
    canvas, shape, scale = _canvas(image, scale)
    line = max(1, round(min(canvas.shape[:2]) / 450))
    paints = instance_colors(colors, class_ids)
    if masks is not None and not isinstance(masks, (list, tuple)):
        masks = list(instances_first(np.asarray(masks)))
    for index in _largest_first(rois):
        color = tuple(int(value) for value in paints[index])
        if masks is not None:
            _draw_mask(canvas, _one_mask(masks[index], shape), color, alpha, line, scale)
        if boxes and rois[index].any():
            _draw_box(canvas, rois[index] * scale, color, line)
    if captions is not False:
        choices = _caption_choices(class_ids, names, scores, texts)
        draw_captions(canvas, rois * scale, choices, paints, forced=captions is not True)
    return canvas


def _canvas(image, scale):
    """Returns the enlarged image, the height and width of the original, and the whole scale."""
    if scale != int(scale) or scale < 1:
        raise ValueError(f"scale must be a whole number of at least 1, got {scale!r}.")
    scale = int(scale)
    canvas = to_display(image)
    shape = canvas.shape[:2]
    if scale > 1:
        canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return canvas, shape, scale


def _caption_choices(class_ids, names, scores, texts):
    """Returns the possible captions of each instance: the given text, or those of its parts."""
    if texts is not None:
        return [[ascii_text(text, class_ids[i])] for i, text in enumerate(texts)]
    return [caption_texts(index, class_ids, names, scores) for index in range(len(class_ids))]


def _parts(result, masks, class_ids, scores):
    """Returns boxes, masks, class ids and scores: those given, else those of a result."""
    if class_ids is None:
        class_ids = result["class_ids"]
    if scores is None:
        scores = result.get("scores")
    if masks is None:
        masks = result.get("masks")
    if masks is None:
        masks = result.get("rles")
    return result["rois"], masks, class_ids, scores


def _largest_first(rois):
    """Returns the indices of boxes [N, 4] by descending area; equal areas keep their order."""
    areas = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
    return np.argsort(-areas.astype(float), kind="stable")


def _one_mask(mask, shape):
    mask = decode_rle(mask) if isinstance(mask, dict) else np.asarray(mask) != 0
    if mask.shape != shape:
        raise ValueError(
            f"The masks are {mask.shape[0]}x{mask.shape[1]} (height x width), but the image is "
            f"{shape[0]}x{shape[1]}. Give masks of the size of the image."
        )
    return mask


def _draw_mask(canvas, mask, color, alpha, line, scale):
    bounds = mask_bounds(mask)
    if bounds is None:
        return
    y1, x1, y2, x2 = bounds
    crop = np.pad(mask[y1:y2, x1:x2].astype(np.uint8), 1)  # the border closes the outline
    if scale > 1:
        soft = cv2.resize(crop * np.uint8(255), None, fx=scale, fy=scale)
        crop = (soft > 127).astype(np.uint8)
    inner = crop[scale:-scale, scale:-scale].astype(bool)
    y1, x1, y2, x2 = (value * scale for value in bounds)
    region = canvas[y1:y2, x1:x2]  # a view: writing to it draws on the canvas
    region[inner] = region[inner] * (1 - alpha) + np.array(color) * alpha
    outlines, _ = cv2.findContours(
        crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x1 - scale, y1 - scale)
    )
    cv2.drawContours(canvas, outlines, -1, color, line)


def _draw_box(canvas, box, color, line):
    y1, x1, y2, x2 = (int(round(float(value))) for value in box)
    corner = (max(x2 - 1, x1), max(y2 - 1, y1))  # the upper bound is exclusive
    cv2.rectangle(canvas, (x1, y1), corner, color, line)


def save_instances(path: str | os.PathLike, image: Any, *args: Any, **kwargs: Any) -> None:
    """Draws instances into an image and writes it to a file, atomically.

    Args:
        path: str or path. The file to write; its suffix (.png, .jpg, .tif, ...) chooses the
            format.
        image: array. See `draw_instances`.
        *args: further arguments of `draw_instances`.
        **kwargs: further arguments of `draw_instances`.

    Raises:
        ValueError: if no image format has this suffix.
        OSError: if the file cannot be written.
    """
    drawn = draw_instances(image, *args, **kwargs)
    with atomic_path(path) as temporary:
        try:
            _, data = cv2.imencode(temporary.suffix, drawn[..., ::-1])
        except cv2.error as error:
            raise ValueError(
                f"{path}: {temporary.suffix!r} is not an image format. Use .png or .jpg."
            ) from error
        temporary.write_bytes(data.tobytes())
