"""Augmentation of an image together with its masks; masks are moved, never resampled."""

from __future__ import annotations

from typing import Any

import numpy as np


class Augmenter:
    """Randomly flips, rotates by quarter turns, scales, and changes brightness and contrast.

    Any callable `(image, masks) -> (image, masks)` can be used instead.

    Args:
        fliplr: float in 0..1. Probability of a flip from left to right. Defaults to 0.
        flipud: float in 0..1. Probability of a flip upside down. Defaults to 0.
        rot90: float in 0..1. Probability of a rotation by 90, 180 or 270 degrees, each equally
            likely. Defaults to 0.
        scale: (low, high). The scale of the image is multiplied by a factor from this range,
            log-uniform; the image is then cropped or padded. Defaults to (1, 1).
        brightness: float in 0..1. Largest shift as a share of 255, uniform from -brightness to
            brightness. Defaults to 0.
        contrast: float in 0..1. The distance to the mean of the image is multiplied by a factor
            from 1 - contrast to 1 + contrast. Defaults to 0.

    Raises:
        ValueError: if a value is outside its range.
    """

    def __init__(
        self,
        fliplr: float = 0.0,
        flipud: float = 0.0,
        rot90: float = 0.0,
        scale: tuple[float, float] = (1, 1),
        brightness: float = 0.0,
        contrast: float = 0.0,
    ):
        shares = {
            "fliplr": fliplr,
            "flipud": flipud,
            "rot90": rot90,
            "brightness": brightness,
            "contrast": contrast,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise ValueError(f"Augmenter: {name} must be from 0 to 1, got {value!r}.")
        low, high = scale
        if not 0 < low <= high:
            raise ValueError(
                f"Augmenter: scale must be (low, high) with 0 < low <= high, got {scale!r}."
            )
        self.fliplr, self.flipud, self.rot90 = fliplr, flipud, rot90
        self.scale = (float(low), float(high))
        self.brightness, self.contrast = brightness, contrast

    def __call__(
        self, image: np.ndarray, masks: Any, rng: np.random.Generator
    ) -> tuple[np.ndarray, Any]:
        """Augments one image.

        Args:
            image: array [H, W, C], uint8 or float32, 0..255.
            masks: array [H, W, N] of any dtype, or SourceMasks.
            rng: numpy.random.Generator.

        Returns:
            (image, masks): arrays of the same dtypes. Both may be views.
        """
        left_right, up_down, turn = rng.random(3) < (self.fliplr, self.flipud, self.rot90)
        turns = int(rng.integers(1, 4)) if turn else 0
        image = move(image, left_right, up_down, turns)
        masks = move(masks, left_right, up_down, turns)
        return self._recolor(image, rng), masks

    def _recolor(self, image, rng):
        shift, stretch = rng.uniform(-1, 1, 2)
        if not self.brightness and not self.contrast:
            return image
        mean = float(image.mean())
        factor = np.float32(1 + stretch * self.contrast)
        offset = np.float32(mean - mean * factor + 255 * shift * self.brightness)
        changed = np.clip(image * factor + offset, 0, 255)
        return np.rint(changed).astype(np.uint8) if image.dtype == np.uint8 else changed

    def draw_scale(self, rng: np.random.Generator) -> float:
        """Draws the factor of the scale, log-uniform in `scale`."""
        low, high = np.log(self.scale)
        return float(np.exp(rng.uniform(low, high)))


def move(array: Any, left_right: bool, up_down: bool, turns: int) -> Any:
    """Flips and rotates the first two axes of an array, or `SourceMasks`.

    Args:
        array: array [H, W, ...], or SourceMasks.
        left_right: bool. Whether to flip it from left to right.
        up_down: bool. Whether to flip it upside down.
        turns: int. Number of quarter turns counterclockwise, after the flips.

    Returns:
        A view of the array, or SourceMasks.
    """
    if not isinstance(array, np.ndarray):
        return array.moved(left_right, up_down, turns)
    if left_right:
        array = array[:, ::-1]
    if up_down:
        array = array[::-1]
    return np.rot90(array, turns) if turns else array


def move_region(
    region: tuple[int, int, int, int],
    shape: tuple[int, ...],
    left_right: bool,
    up_down: bool,
    turns: int,
) -> tuple[int, int, int, int]:
    """Returns where a region of an array lies after `move`.

    Args:
        region: (y1, x1, y2, x2), upper bounds exclusive.
        shape: (H, W) of the array before it is moved.
        left_right: bool. See `move`.
        up_down: bool. See `move`.
        turns: int. See `move`.
    """
    y1, x1, y2, x2 = region
    height, width = shape[:2]
    if left_right:
        x1, x2 = width - x2, width - x1
    if up_down:
        y1, y2 = height - y2, height - y1
    for _ in range(turns):
        y1, x1, y2, x2 = width - x2, y1, width - x1, y2
        height, width = width, height
    return y1, x1, y2, x2
