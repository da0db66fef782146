"""Augmentation of an image together with its masks, by rules that keep every mask exact."""

from __future__ import annotations

import numpy as np


class Augmenter:
    """Random flips, quarter turns, brightness and contrast; scale jitter for the pipeline.

    Any callable ``(image, masks) -> (image, masks)`` can stand in its place.

    Args:
        fliplr, flipud: probability of a mirror image, left-right and upside-down.
        rot90: probability of a turn by 90, 180 or 270 degrees (each as likely).
        scale: (low, high): the pipeline multiplies its scale by a factor from this range, drawn
            evenly in the logarithm, then crops or pads.
        brightness: largest shift, as a share of 255, drawn evenly from -brightness..brightness.
        contrast: the distance to the mean of the image is multiplied by a factor from
            1 - contrast to 1 + contrast.

    Raises:
        ValueError: a value outside its range.
    """

    def __init__(
        self, fliplr=0.0, flipud=0.0, rot90=0.0, scale=(1, 1), brightness=0.0, contrast=0.0
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

    def __call__(self, image, masks, rng):
        """Augments one image.

        Args:
            image: [H, W, C], uint8 or float32, 0..255.
            masks: [H, W, N], any dtype; only moved, never resampled.
            rng: `numpy.random.Generator`.

        Returns:
            (image, masks): image keeps its dtype; both may be views.
        """
        left_right, up_down, turn = rng.random(3) < (self.fliplr, self.flipud, self.rot90)
        turns = int(rng.integers(1, 4)) if turn else 0
        image = move(image, left_right, up_down, turns)
        masks = move(masks, left_right, up_down, turns)
        return self._recolour(image, rng), masks

    def _recolour(self, image, rng):
        shift, stretch = rng.uniform(-1, 1, 2)
        if not self.brightness and not self.contrast:
            return image
        mean = float(image.mean())
        factor = np.float32(1 + stretch * self.contrast)
        offset = np.float32(mean - mean * factor + 255 * shift * self.brightness)
        changed = np.clip(image * factor + offset, 0, 255)
        return np.rint(changed).astype(np.uint8) if image.dtype == np.uint8 else changed

    def draw_scale(self, rng) -> float:
        """A factor for the pipeline's scale, log-uniform in `scale`."""
        low, high = np.log(self.scale)
        return float(np.exp(rng.uniform(low, high)))


def move(array, left_right: bool, up_down: bool, turns: int) -> np.ndarray:
    """Mirrors and turns the first two axes; `turns` quarter turns against the clock. A view."""
    if left_right:
        array = array[:, ::-1]
    if up_down:
        array = array[::-1]
    return np.rot90(array, turns) if turns else array
