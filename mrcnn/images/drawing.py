"""Instances drawn into a picture with OpenCV: no figure, no screen, hundreds of objects at once."""

from __future__ import annotations

import colorsys
import random
import unicodedata

import cv2
import numpy as np

from mrcnn.images.atomic import atomic_path
from mrcnn.images.masks import instances_first, mask_bounds
from mrcnn.images.rle import decode_rle

FONT = cv2.FONT_HERSHEY_SIMPLEX
GOLDEN = 0.61803398875  # steps of the golden ratio spread hues evenly for any number of them
LUMINANCE = np.array([0.299, 0.587, 0.114])


def to_display(image) -> np.ndarray:
    """A picture fit to be looked at.

    uint8, and numbers within 0..255, are shown as they are; floats within 0..1 and bools are
    scaled; all else (16 bits, negative values) is stretched from percentile 0.1 to 99.9.

    Args:
        image: [H, W] or [H, W, C] with C of 1, 2 (grey, alpha), 3, 4 (RGB, alpha); other numbers of
            channels show the first three.

    Returns:
        uint8 [H, W, 3], a new array.

    Raises:
        ValueError: not a picture.
    """
    image = np.asarray(image)
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
    if high <= low:  # nearly all pixels alike
        low, high = values.min(), values.max()
    return np.clip((values - low) * (255 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)


def palette(n: int) -> np.ndarray:
    """Colours that are told apart: uint8 [n, 3] RGB, all different.

    Colour i is the same for every n, so a class keeps its colour.
    """
    index = np.arange(n)
    hue = (0.02 + index * GOLDEN) % 1 * 180
    saturation = np.choose(index // 7 % 3, (215, 150, 255))
    value = np.choose(index // 21 % 2, (255, 205))
    hsv = np.stack([hue, saturation, value], axis=1).astype(np.float32)
    hsv = hsv * np.float32([2, 1 / 255, 1 / 255])  # float HSV of OpenCV: degrees, 0..1, 0..1
    rgb = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] if n else np.zeros((0, 3))
    return np.rint(rgb * 255).astype(np.uint8)


def instance_colors(colors, class_ids) -> np.ndarray:
    """A colour for each instance: uint8 [N, 3].

    Args:
        colors: "instance" (each its own), "class" (by class id), or a list of N colours, RGB
            as floats in 0..1 or integers in 0..255.
        class_ids: [N].
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
        raise ValueError(f"colors: expected one RGB colour for each of {count} instances, "
                         f"got shape {listed.shape}.")  # fmt: skip
    listed = listed[:, :3]
    return np.rint(listed * 255 if listed.dtype.kind == "f" else listed).astype(np.uint8)


def random_colors(N, bright=True):
    """N hues at even distances in random order: list of RGB tuples, 0..1."""
    value = 1.0 if bright else 0.7
    colors = [colorsys.hsv_to_rgb(index / N, 1, value) for index in range(N)]
    random.shuffle(colors)
    return colors


def apply_mask(image, mask, color, alpha=0.5):
    """Blends a colour into an image where a mask is 1, in place.

    Args:
        image: [H, W, 3], 0..255.
        mask: [H, W], bool or 0 and 1.
        color: RGB, 0..1.
        alpha: share of the colour.

    Returns:
        `image`.
    """
    inside = np.asarray(mask) == 1
    paint = np.array(color[:3], float) * 255
    image[inside, :3] = image[inside, :3] * (1 - alpha) + alpha * paint
    return image


def draw_box(image, box, color):
    """Draws lines 2 pixels wide along a box (y1, x1, y2, x2) in place; returns the image."""
    y1, x1, y2, x2 = (int(value) for value in box)
    image[y1 : y1 + 2, x1:x2] = color
    image[y2 : y2 + 2, x1:x2] = color
    image[y1:y2, x1 : x1 + 2] = color
    image[y1:y2, x2 : x2 + 2] = color
    return image


def check_counts(rois, masks, class_ids, **others) -> int:
    """The number of instances; ValueError with all shapes where the parts disagree.

    Args:
        rois: [N, 4].
        masks: [H, W, N], a list of N run-length codes, or None.
        class_ids: [N].
        **others: further sequences of N, or None.
    """
    counts = {
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
            f"The parts must have one entry an instance, got {shapes}; expected boxes [N, 4], "
            "masks [height, width, N] and N of each of the others."
        )
    return len(rois)


def draw_instances(
    image, rois, masks=None, class_ids=None, class_names=None, scores=None, colors="instance",
    alpha=0.45, scale=1, boxes=True, captions=True,
) -> np.ndarray:  # fmt: skip
    """Draws masks, outlines, boxes and captions.

    Large objects lie under small ones. A caption that would hide small objects or other captions
    is cut down to the score, then left out, so that crowded pictures stay readable.

    Args:
        image: see `to_display`.
        rois: boxes [N, 4] in pixels of the image, or a result of `detect`, whose parts are then
            taken for those not given.
        masks: bool [H, W, N], list of N run-length codes, or None.
        class_ids: [N]; None: no names in captions.
        class_names: names by class id; None: no names in captions.
        scores: [N] or None.
        colors: "instance", "class" or a list, see `instance_colors`.
        alpha: share of the colour inside a mask, 0..1.
        scale: whole factor by which the picture is enlarged first.
        boxes: whether to draw boxes.
        captions: True, False, or a list of N texts, which are never left out.

    Returns:
        uint8 [H * scale, W * scale, 3] RGB; the image given is not changed.

    Raises:
        ValueError: parts of different lengths, masks of another size than the image.
    """
    if isinstance(rois, dict):
        result = rois
        rois, scores = result["rois"], result.get("scores") if scores is None else scores
        class_ids = result["class_ids"] if class_ids is None else class_ids
        if masks is None:
            masks = result.get("masks") if result.get("masks") is not None else result.get("rles")
    rois = np.asarray(rois).reshape(-1, 4)
    named = class_ids is not None and class_names is not None
    class_ids = np.zeros(len(rois), int) if class_ids is None else np.asarray(class_ids)
    texts = captions if isinstance(captions, (list, tuple)) else None
    count = check_counts(rois, masks, class_ids, scores=scores, captions=texts)
    if scale != int(scale) or scale < 1:
        raise ValueError(f"scale must be a whole number of at least 1, got {scale!r}.")
    canvas, scale = to_display(image), int(scale)
    shape = canvas.shape[:2]
    if scale > 1:
        canvas = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    line = max(1, round(min(canvas.shape[:2]) / 450))
    paints = instance_colors(colors, class_ids)
    if masks is not None and not isinstance(masks, (list, tuple)):
        masks = list(instances_first(np.asarray(masks)))
    size = (rois[:, 2] - rois[:, 0]) * (rois[:, 3] - rois[:, 1])
    order = np.argsort(-size.astype(float), kind="stable")
    for index in order:
        color = tuple(int(value) for value in paints[index])
        if masks is not None:
            mask = _one_mask(masks[index], shape)
            _draw_mask(canvas, mask, color, alpha, line, scale)
        if boxes and rois[index].any():
            _draw_box(canvas, rois[index] * scale, color, line)
    if captions is not False:
        if texts is None:
            names = class_names if named else None
            texts = [_choices(index, class_ids, names, scores) for index in range(count)]
        else:
            texts = [[ascii_text(text, class_ids[i])] for i, text in enumerate(texts)]
        _draw_captions(canvas, rois * scale, texts, paints, forced=captions is not True)
    return canvas


def _one_mask(mask, shape):
    mask = decode_rle(mask) if isinstance(mask, dict) else np.asarray(mask) != 0
    if mask.shape != shape:
        raise ValueError(
            f"The masks are {mask.shape[0]}x{mask.shape[1]} (height x width), but the image is "
            f"{shape[0]}x{shape[1]}: give masks of the size of the image."
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
    region = canvas[y1:y2, x1:x2]
    region[inner] = region[inner] * (1 - alpha) + np.array(color) * alpha
    outlines, _ = cv2.findContours(
        crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x1 - scale, y1 - scale)
    )
    cv2.drawContours(canvas, outlines, -1, color, line)


def _draw_box(canvas, box, color, line):
    y1, x1, y2, x2 = (int(round(float(value))) for value in box)
    corner = (max(x2 - 1, x1), max(y2 - 1, y1))  # the upper bound is exclusive
    cv2.rectangle(canvas, (x1, y1), corner, color, line)


# --- Captions ------------------------------------------------------------------------------------
def ascii_text(text, class_id) -> str:
    """The text in letters that OpenCV can draw: accents dropped, else "class 3"."""
    plain = unicodedata.normalize("NFKD", str(text))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain if plain.isascii() and plain.isprintable() else f"class {class_id}"


def _choices(index, class_ids, class_names, scores):
    """Texts for a caption, longest first."""
    name = class_names and ascii_text(class_names[abs(int(class_ids[index]))], class_ids[index])
    score = None if scores is None or not scores[index] else f"{scores[index]:.2f}"
    return [text for text in (f"{name} {score}" if name and score else None, score or name) if text]


def _draw_captions(canvas, boxes, texts, paints, forced):
    """Writes the first text of each instance that finds a place; `forced`: in any case."""
    font = float(np.clip(min(canvas.shape[:2]) / 1000, 0.38, 1.5))
    if not forced:
        texts = _fitting(texts, font, canvas.shape)
    taken = boxes.astype(float)  # first the objects themselves, then the captions
    for index in np.flatnonzero(boxes.any(axis=1)):
        for text in texts[index]:
            size = _caption_size(text, font)
            place = _free_place(canvas.shape, taken, index, size, len(boxes))
            if place is None and forced:
                y1, x1 = boxes[index, :2]
                place = int(np.clip(y1 - size[0], 0, None)), int(np.clip(x1, 0, None))
            if place is not None:
                top = max(min(place[0], canvas.shape[0] - size[0]), 0)
                left = max(min(place[1], canvas.shape[1] - size[1]), 0)
                _write_caption(canvas, text, (top, left), size, paints[index], font)
                taken = np.vstack([taken, [top, left, top + size[0], left + size[1]]])
                break


def _fitting(texts, font, shape):
    """The texts; the short ones alone, or none, where all would cover over 30% of the picture."""
    while any(texts):
        sizes = [_caption_size(choices[0], font) for choices in texts if choices]
        if sum(height * width for height, width in sizes) <= 0.3 * shape[0] * shape[1]:
            break
        texts = [choices[1:] for choices in texts]
    return texts


def _text_metrics(text, font):
    weight, pad = 1 if font < 0.8 else 2, max(2, round(font * 5))
    (width, height), below = cv2.getTextSize(text, FONT, font, weight)
    return width, height, below, weight, pad


def _caption_size(text, font):
    width, height, below, _, pad = _text_metrics(text, font)
    return height + below + 2 * pad - 2, width + 2 * pad


def _write_caption(canvas, text, place, size, color, font):
    (top, left), (height, width) = place, size
    _, _, below, weight, pad = _text_metrics(text, font)
    ink = (0, 0, 0) if float(LUMINANCE @ np.asarray(color, float)) > 140 else (255, 255, 255)
    corner = (left + width - 1, top + height - 1)
    cv2.rectangle(canvas, (left, top), corner, tuple(int(value) for value in color), -1)
    foot = (left + pad, top + height - below - pad + 1)
    cv2.putText(canvas, text, foot, FONT, font, ink, weight, cv2.LINE_AA)


def _free_place(shape, taken, index, size, count):
    """(top, left) for a caption above its box, inside or below, that hides nothing; else None.

    Large objects under a caption do no harm: only captions and boxes up to 6 times its size count.
    """
    y1, x1, y2, x2 = (int(value) for value in taken[index])
    height, width = size
    area = (taken[:, 2] - taken[:, 0]) * (taken[:, 3] - taken[:, 1])
    blocks = area <= 6 * height * width
    blocks[count:] = True  # captions
    others = taken[blocks]
    allowed = np.where(np.flatnonzero(blocks) < count, 0.1 * height * width, 0)
    left, right = (int(np.clip(x, 0, max(shape[1] - width, 0))) for x in (x1, x2 - width))
    for top in (y1 - height, y1, y2, y2 - height):
        for start in (left, right):
            rows = np.minimum(top + height, others[:, 2]) - np.maximum(top, others[:, 0])
            columns = np.minimum(start + width, others[:, 3]) - np.maximum(start, others[:, 1])
            hidden = np.maximum(rows, 0) * np.maximum(columns, 0) > allowed
            if 0 <= top <= shape[0] - height and not hidden.any():
                return top, start
    return None


def save_instances(path, image, *args, **kwargs):
    """Writes `draw_instances(image, ...)` as a picture, whole or not at all.

    Args:
        path: the file; its suffix (.png, .jpg, .tif, ...) chooses the format.
        image: see `draw_instances`, as all further arguments.

    Raises:
        ValueError: a suffix that no format has.
        OSError: the file cannot be written.
    """
    drawn = draw_instances(image, *args, **kwargs)
    with atomic_path(path) as temporary:
        try:
            _, data = cv2.imencode(temporary.suffix, drawn[..., ::-1])
        except cv2.error as error:
            raise ValueError(
                f"{path}: pictures cannot be written as {temporary.suffix!r}. Use .png or .jpg."
            ) from error
        temporary.write_bytes(data.tobytes())
