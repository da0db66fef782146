"""Synthetic images, drawn when they are needed: squares, circles, triangles and coins.

An image depends only on its number and on the style, the size and the seed of its dataset. It is
the same each time, and a dataset may have any length.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.synthetic.coins import draw_coins

SOURCE = "shapes"
NAMES = ("square", "circle", "triangle")
STYLES = ("plain", "textured", "coins", "mixed")
MIXED = ("textured", "coins")
NOISE_STD = 8.0  # standard deviation of the noise in style "plain", in gray levels
HALF_WIDTHS = (12, 32)  # pixels in an image of REFERENCE_SIDE; scaled with the image
REFERENCE_SIDE = 128
BORDER = 20 / REFERENCE_SIDE  # share of the side that centers keep from the border
_KEPT_RENDERS = 16  # load_image and load_mask of one image share a drawing


class ShapesDataset(Dataset):
    """Synthetic images with the classes square (1), circle (2) and triangle (3).

    The masks show the visible parts of the objects: later objects hide earlier ones.

    Args:
        count: int. Number of images, at least 0.
        height: int. Height of the images in pixels, at least 16. Defaults to 128.
        width: int. Width of the images in pixels, at least 16. Defaults to 128.
        seed: int. Different seeds give different images. Defaults to 0.
        style: str. One of the following. Defaults to "plain".

            - "plain": one to four shapes of one color on a background of one color, with noise of
              standard deviation 8.
            - "textured": one to eight rotated, textured shapes on an uneven, textured background.
            - "coins": 6 to 30 gray coins (class circle) with relief, rims and shadows.
            - "mixed": "textured" and "coins" in turn.

    Raises:
        ValueError: unknown style, a negative count, or a side below 16 pixels.
    """

    def __init__(
        self,
        count: int,
        height: int = 128,
        width: int = 128,
        seed: int = 0,
        style: str = "plain",
    ) -> None:
        super().__init__()
        if style not in STYLES:
            raise ValueError(
                f"ShapesDataset: style must be one of {', '.join(STYLES)}, got {style!r}."
            )
        if count < 0 or min(height, width) < 16:
            raise ValueError(
                "ShapesDataset: count must be at least 0 and both sides at least 16 pixels, got "
                f"count {count}, {height}x{width}."
            )
        self.height, self.width = int(height), int(width)
        self.seed, self.style = int(seed), style
        self._renders: dict[int, tuple] = {}
        self._lock = threading.Lock()
        for class_id, name in enumerate(NAMES, 1):
            self.add_class(SOURCE, class_id, name)
        for index in range(int(count)):
            self.add_image(SOURCE, f"{style}-{self.seed}-{index}", None)
        self.prepare()

    def image_reference(self, image_id: int) -> str:
        """Returns the style, the seed and the number of a synthetic image."""
        return f"shapes {self.image_info[image_id]['id']}"

    def load_image(self, image_id: int) -> np.ndarray:
        """Returns an image, uint8 `[height, width, 3]`."""
        return self._render(int(image_id))[0].copy()

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the visible parts, bool `[height, width, N]`, and class ids, int32 `[N]`."""
        _, masks, class_ids = self._render(int(image_id))
        return masks.copy(), class_ids.copy()

    def _render(self, image_id):
        """Returns (image, masks, class_ids), from the last few drawings if it is among them."""
        with self._lock:
            if image_id in self._renders:
                return self._renders[image_id]
        style = MIXED[image_id % len(MIXED)] if self.style == "mixed" else self.style
        rng = np.random.default_rng([self.seed, STYLES.index(style), image_id])
        draw = {"plain": draw_plain, "textured": draw_textured, "coins": draw_coins}[style]
        image, alphas, class_ids = draw(rng, self.height, self.width)
        result = (image, *visible_masks(alphas, class_ids, image.shape[:2]))
        with self._lock:
            while len(self._renders) >= _KEPT_RENDERS:
                del self._renders[next(iter(self._renders))]
            self._renders[image_id] = result
        return result


def visible_masks(
    alphas: Sequence[tuple[Any, np.ndarray]], class_ids: Sequence[int], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the visible parts of objects that were drawn one over the other.

    A pixel belongs to the last object that covers at least half of it. Objects without a visible
    pixel are left out.

    Args:
        alphas: sequence of (region, alpha), in the order of drawing. `region` is (y1, x1, y2, x2)
            in pixels, and `alpha` is the share 0..1 of each of these pixels that is covered.
        class_ids: sequence of int. Class of each object.
        shape: tuple of int. Height and width of the image.

    Returns:
        (masks, class_ids): bool `[height, width, N]` and int32 `[N]`.
    """
    # The number of the object that each pixel belongs to; 0 is the background.
    owner = np.zeros(shape, np.int32)
    for index, ((y1, x1, y2, x2), alpha) in enumerate(alphas, 1):
        owner[y1:y2, x1:x2][alpha >= 0.5] = index
    seen = np.unique(owner)
    seen = seen[seen > 0]
    return owner[..., None] == seen, np.asarray(class_ids, np.int32)[seen - 1]


# --- Shapes --------------------------------------------------------------------------------------
def shape_alpha(
    name: str,
    y: float,
    x: float,
    half_width: float,
    angle: float,
    shape: tuple[int, int],
) -> tuple[tuple[int, int, int, int], np.ndarray]:
    """Returns the share of each pixel that a shape covers. Edges are one pixel wide.

    Args:
        name: str. "square", "circle" or "triangle" (equilateral, pointing up).
        y: float. Vertical position of the center in pixels.
        x: float. Horizontal position of the center in pixels.
        half_width: float. Half of the side, or the radius, in pixels.
        angle: float. Rotation in radians.
        shape: tuple of int. Height and width of the image.

    Returns:
        (region, alpha): (y1, x1, y2, x2) inside the image, and float32
        `[y2 - y1, x2 - x1]` in 0..1.
    """
    reach = half_width * 1.5 + 2
    y1, x1 = max(0, int(y - reach)), max(0, int(x - reach))
    y2, x2 = min(shape[0], int(y + reach) + 2), min(shape[1], int(x + reach) + 2)
    dy = (np.arange(y1, y2, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    dx = (np.arange(x1, x2, dtype=np.float32) + np.float32(0.5 - x))[None]
    if angle:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dy, dx = cos * dy - sin * dx, sin * dy + cos * dx
    # Signed distance of each pixel from the edge, in pixels; negative inside the shape.
    if name == "circle":
        distance = np.sqrt(dy * dy + dx * dx) - half_width
    elif name == "square":
        distance = np.maximum(np.abs(dy), np.abs(dx)) - half_width
    else:
        rise = half_width * np.sqrt(3) / 2  # half of the height
        sides = np.abs(dx) * np.float32(np.sqrt(3) / 2) - (dy + rise) / 2
        distance = np.maximum(sides, dy - rise)
    alpha = np.clip(np.float32(0.5) - distance, 0, 1).astype(np.float32)
    return (y1, x1, y2, x2), alpha


def _place(rng, height, width, widths):
    """Returns a random center (y, x) and half of the width of an object."""
    scale = min(height, width) / REFERENCE_SIDE
    half_width = rng.uniform(*widths) * scale
    y = rng.uniform(BORDER * height, (1 - BORDER) * height)
    x = rng.uniform(BORDER * width, (1 - BORDER) * width)
    return y, x, half_width


def _blend(image, region, alpha, color):
    """Draws a color, or a surface `[h, w, 3]`, into a region of the image in place."""
    y1, x1, y2, x2 = region
    part = image[y1:y2, x1:x2]
    part += alpha[..., None] * (color - part)


def draw_plain(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[tuple[Any, np.ndarray]], list[int]]:
    """Draws one to four shapes of one color on a background of one color, with Gaussian noise.

    `benchmarks/shapes.py` trains on these images.

    Args:
        rng: Generator. Source of the random numbers.
        height: int. Height of the image in pixels.
        width: int. Width of the image in pixels.

    Returns:
        (image, alphas, class_ids): the image, uint8 `[height, width, 3]`, and the objects in it as
        `visible_masks` takes them.
    """
    image: np.ndarray = np.empty((height, width, 3), np.float32)
    image[:] = rng.uniform(0, 255, 3)
    alphas, class_ids = [], []
    for _ in range(rng.integers(1, 5)):
        class_id = int(rng.integers(1, 4))
        color = rng.uniform(0, 255, 3).astype(np.float32)
        y, x, half_width = _place(rng, height, width, HALF_WIDTHS)
        region, alpha = shape_alpha(NAMES[class_id - 1], y, x, half_width, 0.0, (height, width))
        _blend(image, region, alpha, color)
        alphas.append((region, alpha))
        class_ids.append(class_id)
    image += NOISE_STD * rng.standard_normal(image.shape, dtype=np.float32)
    return _to_uint8(image), alphas, class_ids


def draw_textured(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[tuple[Any, np.ndarray]], list[int]]:
    """Draws one to eight rotated and textured shapes on an uneven, textured background.

    Args:
        rng: Generator. Source of the random numbers.
        height: int. Height of the image in pixels.
        width: int. Width of the image in pixels.

    Returns:
        (image, alphas, class_ids): as `draw_plain` returns them.
    """
    shape = (height, width)
    image: np.ndarray = texture(rng, shape)
    image = image + 40 * rng.uniform(0.3, 1.5) * clouds(rng, shape, 3)[..., None]
    alphas, class_ids = [], []
    for _ in range(rng.integers(1, 9)):
        class_id = int(rng.integers(1, 4))
        y, x, half_width = _place(rng, height, width, (6, 30))
        angle = rng.uniform(0, 2 * np.pi)
        region, alpha = shape_alpha(NAMES[class_id - 1], y, x, half_width, angle, shape)
        if not alpha.size:
            continue
        _blend(image, region, alpha, texture(rng, alpha.shape))
        alphas.append((region, alpha))
        class_ids.append(class_id)
    # Uneven light, blur and noise, as in the image of a camera.
    image *= (1 + 0.3 * rng.uniform(0, 1) * clouds(rng, shape, 2))[..., None]
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    image += rng.uniform(0, 12) * rng.standard_normal(image.shape, dtype=np.float32)
    return _to_uint8(image), alphas, class_ids


def clouds(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Returns smooth noise.

    Args:
        rng: Generator. Source of the random numbers.
        shape: tuple of int. Height and width.
        cells: int. Number of random values along each side, less one. More cells give finer noise.

    Returns:
        float32 array `[height, width]`, from about -1 to 1.
    """
    coarse = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def texture(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Returns a surface of two colors: plain, clouds, stripes, a checkerboard or a gradient.

    Args:
        rng: Generator. Source of the random numbers.
        shape: tuple of int. Height and width.

    Returns:
        float32 array `[height, width, 3]`, which may leave 0..255.
    """
    height, width = shape
    color = rng.uniform(0, 255, 3).astype(np.float32)
    other = color + rng.uniform(-70, 70, 3).astype(np.float32)
    kind = rng.integers(0, 5)
    if kind == 0:
        blend: Any = np.zeros(shape, np.float32)
    elif kind == 1:
        cells = int(rng.integers(3, max(4, min(height, width) // 3 + 4)))
        blend = 0.5 + 0.5 * clouds(rng, shape, cells)
    else:
        angle, period = rng.uniform(0, np.pi), rng.uniform(4, 16)
        y = np.arange(height, dtype=np.float32)[:, None]
        x = np.arange(width, dtype=np.float32)[None]
        along = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
        across = np.float32(np.cos(angle)) * y - np.float32(np.sin(angle)) * x
        if kind == 2:
            blend = 0.5 + 0.5 * np.sin(along * np.float32(2 * np.pi / period))
        elif kind == 3:
            blend = ((along // period + across // period) % 2).astype(np.float32)
        else:
            blend = (along - along.min()) / max(float(np.ptp(along)), 1.0)
    return color + blend[..., None] * (other - color)


def _to_uint8(image):
    """Rounds an image and clips it to 0..255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
