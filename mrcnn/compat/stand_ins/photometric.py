"""imgaug's augmenters that change values but move nothing: masks stay unchanged."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mrcnn.compat.stand_ins.meta import Augmenter, as_probability
from mrcnn.compat.stand_ins.parameters import to_parameter
from mrcnn.compat.stand_ins.warp import like


class _Photometric(Augmenter):
    """Base class of augmenters that change the values of an image `[height, width, channels]`.

    Subclasses implement `_change(values, rng)` on float32 values in the units of the image.
    """

    def _act(self, array, rng, masks, active):
        changed = self._change(array.astype(np.float32), rng)
        return like(np.asarray(changed, np.float32), array.dtype)

    def _change(self, values, rng):
        raise NotImplementedError


class _PerChannel(_Photometric):
    """A change that may draw one value per channel, with probability `per_channel`."""

    def __init__(self, per_channel: Any = False, **base: Any):
        super().__init__(**base)
        self.per_channel = as_probability(float(per_channel))

    def _draw(self, parameter, values, rng):
        """Draws one value, or one per channel, to be broadcast against the image."""
        count = values.shape[-1] if self.per_channel.draw_sample(rng) > 0.5 else 1
        return parameter.draw_samples((count,), rng).astype(np.float32)

    def _draw_each(self, parameter, values, rng):
        """Draws one value per pixel, or per pixel and channel."""
        count = values.shape[-1] if self.per_channel.draw_sample(rng) > 0.5 else 1
        return parameter.draw_samples((*values.shape[:2], count), rng).astype(np.float32)


class Add(_PerChannel):
    """Adds a value. `value` is a number, tuple, list or parameter; it defaults to (-20, 20)."""

    def __init__(self, value: Any = (-20, 20), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.value = to_parameter(value)

    def _change(self, values, rng):
        return values + self._draw(self.value, values, rng)


class AddElementwise(Add):
    """Adds a value drawn for each pixel. Arguments as in `Add`."""

    def _change(self, values, rng):
        return values + self._draw_each(self.value, values, rng)


class Multiply(_PerChannel):
    """Multiplies by `mul`: a number, tuple, list or parameter; it defaults to (0.8, 1.2)."""

    def __init__(self, mul: Any = (0.8, 1.2), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.mul = to_parameter(mul)

    def _change(self, values, rng):
        return values * self._draw(self.mul, values, rng)


class MultiplyElementwise(Multiply):
    """Multiplies by a value drawn for each pixel. Arguments as in `Multiply`."""

    def _change(self, values, rng):
        return values * self._draw_each(self.mul, values, rng)


class AdditiveGaussianNoise(_PerChannel):
    """Adds normal noise.

    Args:
        loc: number, tuple, list or parameter. Mean. Defaults to 0.
        scale: number, tuple, list or parameter. Standard deviation. Defaults to (0, 15).
        per_channel: bool or probability. Whether each channel has its own noise. Defaults to False.
        **base: as in `Augmenter`.
    """

    def __init__(self, loc: Any = 0, scale: Any = (0, 15), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.loc = to_parameter(loc)
        self.scale = to_parameter(scale)

    def _change(self, values, rng):
        loc, scale = self.loc.draw_sample(rng), self.scale.draw_sample(rng)
        count = values.shape[-1] if self.per_channel.draw_sample(rng) > 0.5 else 1
        return values + rng.normal(loc, abs(scale), (*values.shape[:2], count))


class LinearContrast(_PerChannel):
    """Multiplies the distance to the middle value 128 by `alpha`, which defaults to (0.6, 1.4)."""

    def __init__(self, alpha: Any = (0.6, 1.4), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.alpha = to_parameter(alpha)

    def _change(self, values, rng):
        return 128 + (values - 128) * self._draw(self.alpha, values, rng)


class ContrastNormalization(LinearContrast):
    """The older name of `LinearContrast`."""


class GammaContrast(_PerChannel):
    """Raises the values, as shares of 255, to the power `gamma`, which defaults to (0.7, 1.7)."""

    def __init__(self, gamma: Any = (0.7, 1.7), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.gamma = to_parameter(gamma)

    def _change(self, values, rng):
        gamma = self._draw(self.gamma, values, rng)
        return 255 * np.power(np.clip(values / 255, 0, None), gamma)


class Invert(_PerChannel):
    """Takes 255 minus the values, with probability `p`. `p` defaults to 1."""

    def __init__(self, p: Any = 1, per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.p = as_probability(p)

    def _change(self, values, rng):
        return np.where(self._draw(self.p, values, rng) > 0.5, 255 - values, values)


class Dropout(_PerChannel):
    """Sets pixels to 0, each with probability `p`, which defaults to (0, 0.05)."""

    def __init__(self, p: Any = (0.0, 0.05), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.p = to_parameter(p)

    def _change(self, values, rng):
        p = float(self.p.draw_sample(rng))
        count = values.shape[-1] if self.per_channel.draw_sample(rng) > 0.5 else 1
        return values * (rng.random((*values.shape[:2], count)) >= p)


class CoarseDropout(Dropout):
    """Sets rectangles to 0: those of a coarse grid, each with probability `p`.

    Args:
        p: number, tuple, list or parameter. Defaults to (0.02, 0.1).
        size_px: number, tuple, list or parameter. Cells per side of the grid. Defaults to (3, 8).
        size_percent: the same as a share of the side of the image. Defaults to None.
        per_channel: bool or probability. Defaults to False.
        min_size: int. Fewest cells per side. Defaults to 3.
        **base: as in `Augmenter`.
    """

    def __init__(
        self,
        p: Any = (0.02, 0.1),
        size_px: Any = None,
        size_percent: Any = None,
        per_channel: Any = False,
        min_size: int = 3,
        **base: Any,
    ):
        super().__init__(p, per_channel, **base)
        if size_px is None and size_percent is None:
            size_px = (3, 8)
        self.share = size_percent is not None
        size = size_percent if self.share else size_px
        self.size = to_parameter(size, discrete=not self.share)
        self.min_size = min_size

    def _change(self, values, rng):
        height, width = values.shape[:2]
        p, size = float(self.p.draw_sample(rng)), self.size.draw_sample(rng)
        sides = (height * size, width * size) if self.share else (size, size)
        rows, columns = (max(int(side), self.min_size) for side in sides)
        count = values.shape[-1] if self.per_channel.draw_sample(rng) > 0.5 else 1
        kept = rng.random((rows, columns, count)) >= p
        ys = np.arange(height) * rows // height
        xs = np.arange(width) * columns // width
        return values * kept[ys][:, xs]


class SaltAndPepper(_PerChannel):
    """Makes pixels black or white, each with probability `p`, which defaults to (0, 0.03)."""

    def __init__(self, p: Any = (0.0, 0.03), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.p = to_parameter(p)

    def _change(self, values, rng):
        p = float(self.p.draw_sample(rng))
        count = values.shape[-1] if self.per_channel.draw_sample(rng) > 0.5 else 1
        shape = (*values.shape[:2], count)
        hit = rng.random(shape) < p
        return np.where(hit, 255 * rng.integers(0, 2, shape), values)


class GaussianBlur(_Photometric):
    """Blurs with a normal kernel. `sigma`, in pixels, defaults to (0, 3); 0 does nothing."""

    def __init__(self, sigma: Any = (0.0, 3.0), **base: Any):
        super().__init__(**base)
        self.sigma = to_parameter(sigma)

    def _change(self, values, rng):
        sigma = float(self.sigma.draw_sample(rng))
        if sigma < 1e-3:
            return values
        return _by_channel(values, lambda one: cv2.GaussianBlur(one, (0, 0), sigma))


class AverageBlur(_Photometric):
    """Blurs by the mean of `k` x `k` pixels. `k` defaults to (1, 7)."""

    def __init__(self, k: Any = (1, 7), **base: Any):
        super().__init__(**base)
        self.k = to_parameter(k, discrete=True)

    def _change(self, values, rng):
        k = max(int(self.k.draw_sample(rng)), 1)
        return _by_channel(values, lambda one: cv2.blur(one, (k, k)))


class MedianBlur(_Photometric):
    """Blurs by the median of `k` x `k` pixels; an even `k` counts as the next odd one.

    `k` defaults to (1, 7).
    """

    def __init__(self, k: Any = (1, 7), **base: Any):
        super().__init__(**base)
        self.k = to_parameter(k, discrete=True)

    def _change(self, values, rng):
        from scipy.ndimage import median_filter

        k = max(int(self.k.draw_sample(rng)), 1) // 2 * 2 + 1
        return _by_channel(values, lambda one: median_filter(one, k))


class Sharpen(_Photometric):
    """Mixes in a sharpened image.

    Args:
        alpha: number, tuple, list or parameter. Its share. Defaults to (0, 0.2).
        lightness: number, tuple, list or parameter. Brightness of the sharpened image; 1 keeps
            it. Defaults to (0.8, 1.2).
        **base: as in `Augmenter`.
    """

    def __init__(self, alpha: Any = (0.0, 0.2), lightness: Any = (0.8, 1.2), **base: Any):
        super().__init__(**base)
        self.alpha = to_parameter(alpha)
        self.lightness = to_parameter(lightness)

    def _change(self, values, rng):
        alpha, lightness = self.alpha.draw_sample(rng), self.lightness.draw_sample(rng)
        kernel = np.full((3, 3), -1, np.float32)
        kernel[1, 1] = 8 + lightness
        sharp = _by_channel(values, lambda one: cv2.filter2D(one, -1, kernel))
        return (1 - alpha) * values + alpha * sharp


class Emboss(_Photometric):
    """Mixes in an embossed image.

    Args:
        alpha: number, tuple, list or parameter. Its share. Defaults to (0, 1).
        strength: number, tuple, list or parameter. Of the relief. Defaults to (0.25, 1).
        **base: as in `Augmenter`.
    """

    def __init__(self, alpha: Any = (0.0, 1.0), strength: Any = (0.25, 1.0), **base: Any):
        super().__init__(**base)
        self.alpha = to_parameter(alpha)
        self.strength = to_parameter(strength)

    def _change(self, values, rng):
        alpha, strength = self.alpha.draw_sample(rng), self.strength.draw_sample(rng)
        # Light from the bottom right: minus the neighbors above and left, plus the others.
        relief = np.array([[-1, -1, 0], [-1, 0, 1], [0, 1, 1]], np.float32)
        kernel = strength * relief
        kernel[1, 1] = 1
        embossed = _by_channel(values, lambda one: cv2.filter2D(one, -1, kernel))
        return (1 - alpha) * values + alpha * embossed


class ChannelShuffle(_Photometric):
    """Puts the channels into another order, with probability `p`, which defaults to 1."""

    def __init__(self, p: Any = 1, **base: Any):
        super().__init__(**base)
        self.p = as_probability(p)

    def _change(self, values, rng):
        order = rng.permutation(values.shape[-1])
        return values[..., order] if self.p.draw_sample(rng) > 0.5 else values


class Grayscale(_Photometric):
    """Mixes in the gray image. `alpha` is its share and defaults to 1."""

    def __init__(self, alpha: Any = 1, **base: Any):
        super().__init__(**base)
        self.alpha = to_parameter(alpha)

    def _change(self, values, rng):
        alpha = float(self.alpha.draw_sample(rng))
        if values.shape[-1] != 3:
            return values
        gray = values @ np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
        return (1 - alpha) * values + alpha * gray[..., None]


class AddToHueAndSaturation(_PerChannel):
    """Adds a value to hue and saturation of an RGB image. `value` defaults to (-20, 20)."""

    def __init__(self, value: Any = (-20, 20), per_channel: Any = False, **base: Any):
        super().__init__(per_channel, **base)
        self.value = to_parameter(value, discrete=True)

    def _change(self, values, rng):
        per_channel = self.per_channel.draw_sample(rng) > 0.5
        drawn = self.value.draw_samples((2,), rng).astype(float)
        hue, saturation = drawn if per_channel else drawn[[0, 0]]
        if values.shape[-1] != 3:
            return values
        hsv = cv2.cvtColor(np.clip(values, 0, 255) / 255, cv2.COLOR_RGB2HSV)  # 0..360, 0..1, 0..1
        hsv[..., 0] = (hsv[..., 0] + hue / 255 * 360) % 360
        hsv[..., 1] = np.clip(hsv[..., 1] + saturation / 255, 0, 1)
        return 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _by_channel(values, function):
    """Applies a function of `[H, W]` to each channel: OpenCV takes only a few at once."""
    parts = [function(np.ascontiguousarray(values[..., i])) for i in range(values.shape[-1])]
    return np.stack(parts, axis=-1)
