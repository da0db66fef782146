"""Captions of instances: their texts, and free places for them in a crowded image."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mrcnn.images.values import LUMINANCE

FONT = cv2.FONT_HERSHEY_SIMPLEX


def ascii_text(text: Any, class_id: int) -> str:
    """Converts a text to letters that OpenCV can draw.

    Args:
        text: str, or any object that becomes one.
        class_id: int. The class that the text names.

    Returns:
        The text without accents, or "class 3" if it has other letters outside ASCII.
    """
    plain = unicodedata.normalize("NFKD", str(text))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain if plain.isascii() and plain.isprintable() else f"class {class_id}"


def class_name(class_names: Sequence[str], class_id: int) -> str:
    """Returns the name of a class, or "class 3" if there are fewer names than classes.

    Args:
        class_names: list of str, indexed by class id.
        class_id: int. The class; negative for a crowd of it.
    """
    number = abs(int(class_id))
    return class_names[number] if number < len(class_names) else f"class {number}"


def caption_texts(
    index: int, class_ids: Any, class_names: Sequence[str] | None, scores: Any
) -> list[str]:
    """Returns the possible texts of an instance's caption.

    Args:
        index: int. Index of the instance.
        class_ids: array [N].
        class_names: list of str, indexed by class id, or None.
        scores: array [N] or None.

    Returns:
        list of str, longest first; empty if there is neither name nor score.
    """
    name = None
    if class_names:
        name = ascii_text(class_name(class_names, class_ids[index]), class_ids[index])
    score = None if scores is None or not scores[index] else f"{scores[index]:.2f}"
    if name and score:
        return [f"{name} {score}", score]
    return [text for text in (name, score) if text]


def draw_captions(
    canvas: np.ndarray,
    boxes: np.ndarray,
    texts: list[list[str]],
    paints: np.ndarray,
    forced: bool,
) -> None:
    """Writes, for each instance, the first of its texts that has a free place, in place.

    Args:
        canvas: uint8 [H, W, 3] RGB.
        boxes: array [N, 4] in pixels of the canvas. Boxes of zeros get no caption.
        texts: N lists of str, longest first.
        paints: uint8 [N, 3] RGB. Background colors of the captions.
        forced: bool. Whether the first text is written even where there is no free place.
    """
    font = float(np.clip(min(canvas.shape[:2]) / 1000, 0.38, 1.5))
    if not forced:
        texts = _fitting(texts, font, canvas.shape)
    taken = boxes.astype(float)  # the instances; captions are appended as they are written
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
    """Drops the longest texts while all together would cover over 30 % of the image."""
    while any(texts):
        sizes = [_caption_size(choices[0], font) for choices in texts if choices]
        if sum(height * width for height, width in sizes) <= 0.3 * shape[0] * shape[1]:
            break
        texts = [choices[1:] for choices in texts]
    return texts


def _text_metrics(text, font):
    weight = 1 if font < 0.8 else 2
    pad = max(2, round(font * 5))
    (width, height), below = cv2.getTextSize(text, FONT, font, weight)
    return width, height, below, weight, pad


def _caption_size(text, font):
    width, height, below, _, pad = _text_metrics(text, font)
    return height + below + 2 * pad - 2, width + 2 * pad


def _write_caption(canvas, text, place, size, color, font):
    (top, left), (height, width) = place, size
    _, _, below, weight, pad = _text_metrics(text, font)
    # Black letters on bright colors, white letters on dark ones.
    ink = (0, 0, 0) if float(np.dot(LUMINANCE, np.asarray(color, float))) > 140 else (255, 255, 255)
    corner = (left + width - 1, top + height - 1)
    cv2.rectangle(canvas, (left, top), corner, tuple(int(value) for value in color), -1)
    foot = (left + pad, top + height - below - pad + 1)
    cv2.putText(canvas, text, foot, FONT, font, ink, weight, cv2.LINE_AA)


def _free_place(shape, taken, index, size, count):
    """Returns a free (top, left) for a caption above, inside or below its box, or None.

    A caption may cover part of a large instance: only other captions and boxes of up to 6 times
    its area block a place, boxes only if a tenth of the caption's area overlaps them.
    """
    y1, x1, y2, x2 = (int(value) for value in taken[index])
    height, width = size
    area = (taken[:, 2] - taken[:, 0]) * (taken[:, 3] - taken[:, 1])
    blocks = area <= 6 * height * width
    blocks[count:] = True  # captions always block
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
