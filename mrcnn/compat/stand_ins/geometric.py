"""imgaug's augmenters that move pixels: masks follow the image exactly.

All of them keep the size of the image, as training requires.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mrcnn.compat.stand_ins.meta import Augmenter, as_probability
from mrcnn.compat.stand_ins.parameters import Choice, to_parameter
from mrcnn.compat.stand_ins.warp import BORDERS, warp

ALL = "ALL"  # imgaug.ALL: every value that an argument may have


class _Geometric(Augmenter):
    """Base class of augmenters that move pixels."""

    moves = True


class Fliplr(_Geometric):
    """Mirrors left-right.

    Args:
        p: float or parameter. Probability. Defaults to 1.
        **base: as in `Augmenter`.
    """

    axis = 1

    def __init__(self, p: Any = 1, **base: Any):
        super().__init__(**base)
        self.p = as_probability(p)

    def _act(self, array, rng, masks, active):
        if self.p.draw_sample(rng) > 0.5:
            return np.ascontiguousarray(np.flip(array, self.axis))
        return array


class Flipud(Fliplr):
    """Mirrors upside down. Arguments as in `Fliplr`."""

    axis = 0


HorizontalFlip, VerticalFlip = Fliplr, Flipud


class Rot90(_Geometric):
    """Rotates by multiples of 90 degrees, clockwise.

    Args:
        k: int, tuple, list or parameter. Number of quarter turns. Defaults to 1.
        keep_size: bool. Must be True here. Defaults to True.
        **base: as in `Augmenter`.
    """

    def __init__(self, k: Any = 1, keep_size: bool = True, **base: Any):
        super().__init__(**base)
        _must_keep_size("Rot90", keep_size)
        self.k = _choice_of_all(k, [0, 1, 2, 3], discrete=True)

    def _act(self, array, rng, masks, active):
        height, width = array.shape[:2]
        turns = int(self.k.draw_sample(rng)) % 4
        if turns == 0:
            return array
        turned = np.rot90(array, -turns)
        if turned.shape == array.shape:
            return np.ascontiguousarray(turned)
        xs, ys = _grid(height, width)  # a tall image made wide again, or the reverse
        xs, ys = (xs + 0.5) * height / width - 0.5, (ys + 0.5) * width / height - 0.5
        return warp(np.ascontiguousarray(turned), xs, ys, masks=masks, mode="edge")


class Affine(_Geometric):
    """Scales, shears, rotates and shifts around the center of the image.

    Args:
        scale: number, tuple, list, parameter or dict of "x" and "y". Defaults to 1.
        translate_percent: the same types. As fractions of the sides of the image. Defaults to None.
        translate_px: the same types. In whole pixels. Defaults to None.
        rotate: number, tuple, list or parameter. Degrees, clockwise. Defaults to 0.
        shear: number, tuple, list, parameter or dict of "x" and "y". Degrees. Defaults to 0.
        order: 0, 1 or 3, a list of these, or `ALL`. Interpolation of the image. Defaults to 1.
        cval: number, tuple or parameter. Color of new areas. Defaults to 0.
        mode: str, list of str or `ALL`. What new areas show. Defaults to `"constant"`.
        fit_output: bool. Must be False here. Defaults to False.
        backend: str. Not used: always OpenCV. Defaults to "auto".
        **base: as in `Augmenter`.
    """

    # More arguments than a constructor of this package may have: the signature is imgaug's own.
    def __init__(
        self,
        scale: Any = 1.0,
        translate_percent: Any = None,
        translate_px: Any = None,
        rotate: Any = 0.0,
        shear: Any = 0.0,
        order: Any = 1,
        cval: Any = 0,
        mode: Any = "constant",
        fit_output: bool = False,
        backend: str = "auto",
        **base: Any,
    ):
        super().__init__(**base)
        _must_keep_size("Affine", not fit_output, "fit_output=False")
        if translate_percent is not None and translate_px is not None:
            raise ValueError("imgaug Affine: expected translate_percent or translate_px, got both.")
        self.scale = _pair(scale, 1)
        self.in_pixels = translate_percent is None
        shift = translate_px if self.in_pixels else translate_percent
        self.shift = _pair(0 if shift is None else shift, 0, discrete=self.in_pixels)
        self.rotate = to_parameter(rotate)
        self.shear = _shear(shear)
        self.order = _choice_of_all(order, [0, 1, 3])
        self.cval = to_parameter((0, 255) if cval == ALL else cval)
        self.mode = _choice_of_all(mode, list(BORDERS))

    def _act(self, array, rng, masks, active):
        height, width = array.shape[:2]
        scale = _draw_pair(self.scale, rng)
        if min(scale) <= 0:
            raise ValueError(f"imgaug Affine: scale must be above 0, got {min(scale)}.")
        shift = _draw_pair(self.shift, rng)
        if not self.in_pixels:
            shift = shift[0] * width, shift[1] * height
        angle = np.deg2rad(float(self.rotate.draw_sample(rng)))
        shear = np.deg2rad(_draw_pair(self.shear, rng))
        order = int(self.order.draw_sample(rng))
        mode, cval = str(self.mode.draw_sample(rng)), float(self.cval.draw_sample(rng))
        matrix = _matrix(scale, shear, angle)
        inverse = np.linalg.inv(matrix)
        xs, ys = _grid(height, width)
        center_x, center_y = (width - 1) / 2, (height - 1) / 2
        xs, ys = xs - center_x - shift[0], ys - center_y - shift[1]
        source_x = inverse[0, 0] * xs + inverse[0, 1] * ys + center_x
        source_y = inverse[1, 0] * xs + inverse[1, 1] * ys + center_y
        return warp(array, source_x, source_y, masks=masks, order=order, mode=mode, cval=cval)


def _matrix(scale, shear, angle):
    """Returns the matrix `[2, 2]`, for column vectors (x, y), that scales, shears and rotates."""
    sine, cosine = np.sin(angle), np.cos(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    lean_x = np.array([[1, -np.sin(shear[0])], [0, np.cos(shear[0])]])
    lean_y = np.array([[np.cos(shear[1]), 0], [np.sin(shear[1]), 1]])
    return turn @ lean_x @ lean_y @ np.diag(scale)


class Rotate(Affine):
    """Rotates by degrees, clockwise. Other arguments as in `Affine`."""

    def __init__(self, rotate: Any = (-30, 30), **others: Any):
        super().__init__(rotate=rotate, **others)


class ShearX(Affine):
    """Shears along x by degrees. Other arguments as in `Affine`."""

    def __init__(self, shear: Any = (-30, 30), **others: Any):
        super().__init__(shear={"x": shear}, **others)


class ShearY(Affine):
    """Shears along y by degrees. Other arguments as in `Affine`."""

    def __init__(self, shear: Any = (-30, 30), **others: Any):
        super().__init__(shear={"y": shear}, **others)


class CropAndPad(_Geometric):
    """Crops (negative values) or pads each side, and scales back to the size of the image.

    Args:
        px: int, tuple, list, parameter, or one of these for each of top, right, bottom and left.
            Pixels. Defaults to None.
        percent: the same types. As fractions of the sides. Defaults to None.
        pad_mode: str, list of str or `ALL`. What new areas show. Defaults to `"constant"`.
        pad_cval: number, tuple or parameter. Their color. Defaults to 0.
        keep_size: bool. Must be True here. Defaults to True.
        sample_independently: bool. Draw each side by itself. Defaults to True.
        **base: as in `Augmenter`.
    """

    sign = 1  # multiplied with the amounts; -1 makes positive amounts crop

    def __init__(
        self,
        px: Any = None,
        percent: Any = None,
        pad_mode: Any = "constant",
        pad_cval: Any = 0,
        keep_size: bool = True,
        sample_independently: bool = True,
        **base: Any,
    ):
        super().__init__(**base)
        name = type(self).__name__
        _must_keep_size(name, keep_size)
        if px is not None and percent is not None:
            raise ValueError(f"imgaug {name}: expected px or percent, got both.")
        self.in_pixels = percent is None
        amount = px if self.in_pixels else percent
        amount = 0 if amount is None else amount
        sides = amount if isinstance(amount, tuple) and len(amount) == 4 else (amount,) * 4
        self.equal = sides[0] is sides[3] and not sample_independently
        self.sides = [to_parameter(side, discrete=self.in_pixels) for side in sides]
        self.pad_mode = _choice_of_all(pad_mode, list(BORDERS))
        self.pad_cval = to_parameter((0, 255) if pad_cval == ALL else pad_cval)

    def _act(self, array, rng, masks, active):
        height, width = array.shape[:2]
        drawn = np.array([float(side.draw_sample(rng)) for side in self.sides]) * self.sign
        if self.equal:
            drawn[:] = drawn[0]
        if not self.in_pixels:
            drawn = drawn * (height, width, height, width)
        top, right, bottom, left = np.rint(drawn)
        mode, cval = str(self.pad_mode.draw_sample(rng)), float(self.pad_cval.draw_sample(rng))
        # At least one pixel is left.
        new_height, new_width = max(height + top + bottom, 1), max(width + left + right, 1)
        xs, ys = _grid(height, width)
        xs = (xs + 0.5) * new_width / width - 0.5 - left
        ys = (ys + 0.5) * new_height / height - 0.5 - top
        return warp(array, xs, ys, masks=masks, mode=mode, cval=cval)


class Pad(CropAndPad):
    """Pads each side. Arguments as in `CropAndPad`."""


class Crop(CropAndPad):
    """Crops each side.

    Args:
        px: as in `CropAndPad`, but positive. Defaults to None.
        percent: as in `CropAndPad`, but positive. Defaults to None.
        keep_size: bool. Must be True here. Defaults to True.
        sample_independently: bool. Draw each side by itself. Defaults to True.
        **base: as in `Augmenter`.
    """

    sign = -1

    def __init__(
        self,
        px: Any = None,
        percent: Any = None,
        keep_size: bool = True,
        sample_independently: bool = True,
        **base: Any,
    ):
        super().__init__(
            px, percent, keep_size=keep_size, sample_independently=sample_independently, **base
        )


class PerspectiveTransform(_Geometric):
    """Moves the corners of the image at random, like a change of viewpoint.

    Args:
        scale: number, tuple, list or parameter. Standard deviation of the moves, as a share of the
            sides of the image. Defaults to (0, 0.06).
        cval: number, tuple or parameter. Color of new areas. Defaults to 0.
        mode: str, list of str or `ALL`. What new areas show. Defaults to `"constant"`.
        keep_size: bool. Must be True here. Defaults to True.
        fit_output: bool. Must be False here. Defaults to False.
        **base: as in `Augmenter`.
    """

    def __init__(
        self,
        scale: Any = (0.0, 0.06),
        cval: Any = 0,
        mode: Any = "constant",
        keep_size: bool = True,
        fit_output: bool = False,
        **base: Any,
    ):
        super().__init__(**base)
        _must_keep_size("PerspectiveTransform", keep_size)
        _must_keep_size("PerspectiveTransform", not fit_output, "fit_output=False")
        self.scale = to_parameter(scale)
        self.cval = to_parameter((0, 255) if cval == ALL else cval)
        self.mode = _choice_of_all(mode, list(BORDERS))

    def _act(self, array, rng, masks, active):
        height, width = array.shape[:2]
        mode, cval = str(self.mode.draw_sample(rng)), float(self.cval.draw_sample(rng))
        # Inwards and less than half a side, so that the corners stay in order.
        moves = np.abs(rng.normal(0, abs(self.scale.draw_sample(rng)), (4, 2))).clip(0, 0.45)
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        inner = np.abs(corners - moves.astype(np.float32))
        size = np.array([width - 1, height - 1], np.float32)
        matrix = cv2.getPerspectiveTransform(corners * size, inner * size)
        xs, ys = _grid(height, width)
        x, y, depth = np.tensordot(matrix, np.stack([xs, ys, np.ones_like(xs)]), 1)
        return warp(array, x / depth, y / depth, masks=masks, mode=mode, cval=cval)


class _Displacement(_Geometric):
    """Moves each pixel by a smooth random field."""

    def __init__(self, order: Any = 1, cval: Any = 0, mode: Any = "constant", **base: Any):
        super().__init__(**base)
        self.order = _choice_of_all(order, [0, 1, 3])
        self.cval = to_parameter((0, 255) if cval == ALL else cval)
        self.mode = _choice_of_all(mode, list(BORDERS))

    def _field(self, height, width, rng):
        raise NotImplementedError

    def _act(self, array, rng, masks, active):
        height, width = array.shape[:2]
        move_x, move_y = self._field(height, width, rng)
        xs, ys = _grid(height, width)
        order = int(self.order.draw_sample(rng))
        mode, cval = str(self.mode.draw_sample(rng)), float(self.cval.draw_sample(rng))
        xs, ys = xs + move_x, ys + move_y
        return warp(array, xs, ys, masks=masks, order=order, mode=mode, cval=cval)


class PiecewiseAffine(_Displacement):
    """Moves the points of a coarse grid at random, and interpolates between them.

    Args:
        scale: number, tuple, list or parameter. Standard deviation of the moves, as a share of the
            sides of the image. Defaults to 0.
        nb_rows: int, tuple, list or parameter. Rows of the grid. Defaults to 4.
        nb_cols: int, tuple, list or parameter. Columns of the grid. Defaults to 4.
        **others: order, cval and mode as in `Affine`, the rest as in `Augmenter`.
    """

    def __init__(self, scale: Any = 0, nb_rows: Any = 4, nb_cols: Any = 4, **others: Any):
        super().__init__(**others)
        self.scale = to_parameter(scale)
        self.nb_rows = to_parameter(nb_rows, discrete=True)
        self.nb_cols = to_parameter(nb_cols, discrete=True)

    def _field(self, height, width, rng):
        scale = float(self.scale.draw_sample(rng))
        grid = [max(int(side.draw_sample(rng)), 2) for side in (self.nb_rows, self.nb_cols)]
        moves = rng.normal(0, abs(scale), (*grid, 2)) * (width, height)
        field = cv2.resize(moves, (width, height), interpolation=cv2.INTER_LINEAR)
        return field[..., 0], field[..., 1]


class ElasticTransformation(_Displacement):
    """Moves pixels by smoothed noise (Simard et al. 2003).

    Args:
        alpha: number, tuple, list or parameter. Strength in pixels. Defaults to 0.
        sigma: number, tuple, list or parameter. Standard deviation of the smoothing in pixels.
            Defaults to 4.
        **others: order, cval and mode as in `Affine`, the rest as in `Augmenter`.
    """

    def __init__(self, alpha: Any = 0, sigma: Any = 4, **others: Any):
        super().__init__(**others)
        self.alpha = to_parameter(alpha)
        self.sigma = to_parameter(sigma)

    def _field(self, height, width, rng):
        alpha = float(self.alpha.draw_sample(rng))
        sigma = max(float(self.sigma.draw_sample(rng)), 0.1)
        noise = rng.uniform(-1, 1, (height, width, 2))
        field = cv2.GaussianBlur(noise, (0, 0), sigma) * alpha
        return field[..., 0], field[..., 1]


# --- Arguments -----------------------------------------------------------------------------------
def _grid(height, width):
    ys, xs = np.mgrid[:height, :width].astype(np.float64)
    return xs, ys


def _must_keep_size(name, kept, how="keep_size=True"):
    if not kept:
        raise NotImplementedError(
            f"imgaug.augmenters.{name}: training requires images that keep their size; set {how}. "
            "Other sizes have no stand-in."
        )


def _pair(value, neutral, discrete=False):
    """Returns the parameters of x and y; one object if both share one draw.

    `neutral` is the value of an axis that a dict does not name.
    """
    if isinstance(value, dict):
        if set(value) - {"x", "y"}:
            raise ValueError(f"imgaug: expected a dict of 'x' and 'y', got {value!r}.")
        return tuple(to_parameter(value.get(axis, neutral), discrete) for axis in "xy")
    both = to_parameter(value, discrete)
    return both, both


def _shear(value):
    """Returns the parameters of the degrees along x and y; a single value is along x."""
    return _pair(value if isinstance(value, dict) else {"x": value}, 0)


def _draw_pair(pair, rng):
    first = pair[0].draw_sample(rng)
    return float(first), float(first if pair[1] is pair[0] else pair[1].draw_sample(rng))


def _choice_of_all(value, values, discrete=False):
    """Returns a parameter; for `ALL`, one that draws any of the values."""
    if isinstance(value, str) and value == ALL:
        return Choice(values)
    return to_parameter(value, discrete)
