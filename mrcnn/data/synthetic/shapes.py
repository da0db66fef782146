"""Synthetic images, made on the fly: squares, circles, triangles, and discs that look like coins.

Endless and deterministic: an image follows from the seed of its dataset and its number alone.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.synthetic.coins import draw_coins

SOURCE = "shapes"
NAMES = ("square", "circle", "triangle")
STYLES = ("plain", "textured", "coins", "mixed")
MIXED = ("textured", "coins")
NOISE_SIGMA = 8.0  # of style "plain", grey levels
HALF_WIDTHS = (12, 32)  # pixels in an image of REFERENCE_SIDE, others in proportion
REFERENCE_SIDE = 128
BORDER = 20 / REFERENCE_SIDE  # centres keep this share of the side from the border
_KEPT_RENDERS = 16  # load_image and load_mask of one image ask for the same picture


class ShapesDataset(Dataset):
    """Synthetic images with the classes square (1), circle (2) and triangle (3).

    Args:
        count: number of images, any.
        height, width: of the images, pixels.
        seed: images of different seeds never coincide.
        style: "plain": one to four flat shapes on a flat background, noise of sigma 8.
            "textured": up to eight turned, textured shapes on uneven, textured backgrounds.
            "coins": grey photographs of 6 to 30 coins (class circle) with relief, rim and shadow.
            "mixed": "textured" and "coins" in turn.

    Raises:
        ValueError: unknown style, a negative count, or sides below 16 pixels.
    """

    def __init__(self, count, height=128, width=128, seed=0, style="plain"):
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
        self._renders, self._lock = {}, threading.Lock()
        for class_id, name in enumerate(NAMES, 1):
            self.add_class(SOURCE, class_id, name)
        for index in range(int(count)):
            self.add_image(SOURCE, f"{style}-{self.seed}-{index}", None)
        self.prepare()

    def image_reference(self, image_id) -> str:
        """Style, seed and number of a synthetic image."""
        return f"shapes {self.image_info[image_id]['id']}"

    def load_image(self, image_id) -> np.ndarray:
        """uint8 [height, width, 3]."""
        return self._render(int(image_id))[0].copy()

    def load_mask(self, image_id) -> tuple[np.ndarray, np.ndarray]:
        """Visible parts, bool [height, width, N], and class ids, int32 [N]."""
        _, masks, class_ids = self._render(int(image_id))
        return masks.copy(), class_ids.copy()

    def _render(self, image_id):
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


def visible_masks(alphas, class_ids, shape):
    """What is to be seen of objects drawn one over the other; hidden ones are left out.

    Args:
        alphas: list of (region, alpha): (y1, x1, y2, x2) and coverage 0..1 inside it, in the order
            of drawing. A pixel belongs to the last object that covers half of it.
        class_ids: list of ints.
        shape: height and width.

    Returns:
        (masks, class_ids): bool [H, W, N] and int32 [N].
    """
    owner = np.zeros(shape, np.int32)
    for index, ((y1, x1, y2, x2), alpha) in enumerate(alphas, 1):
        owner[y1:y2, x1:x2][alpha >= 0.5] = index
    seen = np.unique(owner)
    seen = seen[seen > 0]
    return owner[..., None] == seen, np.asarray(class_ids, np.int32)[seen - 1]


# --- Shapes --------------------------------------------------------------------------------------
def shape_alpha(name, y, x, half_width, angle, shape):
    """Coverage of one shape, with edges one pixel wide.

    Args:
        name: "square", "circle" or "triangle" (equilateral, pointing up).
        y, x: centre, pixels.
        half_width: half side or radius, pixels.
        angle: turn, radians.
        shape: height and width of the image.

    Returns:
        (region, alpha): (y1, x1, y2, x2) inside the image and float32 [h, w], 0..1.
    """
    reach = half_width * 1.5 + 2
    y1, x1 = max(0, int(y - reach)), max(0, int(x - reach))
    y2, x2 = min(shape[0], int(y + reach) + 2), min(shape[1], int(x + reach) + 2)
    dy = (np.arange(y1, y2, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    dx = (np.arange(x1, x2, dtype=np.float32) + np.float32(0.5 - x))[None]
    if angle:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        dy, dx = cos * dy - sin * dx, sin * dy + cos * dx
    if name == "circle":
        distance = np.sqrt(dy * dy + dx * dx) - half_width
    elif name == "square":
        distance = np.maximum(np.abs(dy), np.abs(dx)) - half_width
    else:
        rise = half_width * np.sqrt(3) / 2  # half the height
        sides = np.abs(dx) * np.float32(np.sqrt(3) / 2) - (dy + rise) / 2
        distance = np.maximum(sides, dy - rise)
    alpha = np.clip(np.float32(0.5) - distance, 0, 1).astype(np.float32)
    return (y1, x1, y2, x2), alpha


def _place(rng, height, width, widths):
    """Centre and half-width of one object."""
    scale = min(height, width) / REFERENCE_SIDE
    half_width = rng.uniform(*widths) * scale
    y = rng.uniform(BORDER * height, (1 - BORDER) * height)
    x = rng.uniform(BORDER * width, (1 - BORDER) * width)
    return y, x, half_width


def _blend(image, region, alpha, colour):
    y1, x1, y2, x2 = region
    part = image[y1:y2, x1:x2]
    part += alpha[..., None] * (colour - part)


def draw_plain(rng, height, width):
    """One to four flat shapes on a flat background with Gaussian noise: the benchmark setting.

    Returns:
        (image, alphas, class_ids): uint8 [height, width, 3], and what `visible_masks` takes.
    """
    image = np.empty((height, width, 3), np.float32)
    image[:] = rng.uniform(0, 255, 3)
    alphas, class_ids = [], []
    for _ in range(rng.integers(1, 5)):
        class_id = int(rng.integers(1, 4))
        colour = rng.uniform(0, 255, 3).astype(np.float32)
        y, x, half_width = _place(rng, height, width, HALF_WIDTHS)
        region, alpha = shape_alpha(NAMES[class_id - 1], y, x, half_width, 0.0, (height, width))
        _blend(image, region, alpha, colour)
        alphas.append((region, alpha))
        class_ids.append(class_id)
    image += NOISE_SIGMA * rng.standard_normal(image.shape, dtype=np.float32)
    return _to_uint8(image), alphas, class_ids


def draw_textured(rng, height, width):
    """One to eight turned and textured shapes on an uneven background; see `draw_plain`."""
    shape = (height, width)
    image = texture(rng, shape) + 40 * rng.uniform(0.3, 1.5) * clouds(rng, shape, 3)[..., None]
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
    image *= (1 + 0.3 * rng.uniform(0, 1) * clouds(rng, shape, 2))[..., None]
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    image += rng.uniform(0, 12) * rng.standard_normal(image.shape, dtype=np.float32)
    return _to_uint8(image), alphas, class_ids


def clouds(rng, shape, cells) -> np.ndarray:
    """Smooth noise, float32 [H, W], about -1..1, with `cells` cells a side."""
    coarse = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def texture(rng, shape) -> np.ndarray:
    """A coloured surface, float32 [H, W, 3]: flat, stripes, checks, grain or a gradient."""
    height, width = shape
    colour = rng.uniform(0, 255, 3).astype(np.float32)
    other = colour + rng.uniform(-70, 70, 3).astype(np.float32)
    kind = rng.integers(0, 5)
    if kind == 0:
        blend = np.zeros(shape, np.float32)
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
    return colour + blend[..., None] * (other - colour)


def _to_uint8(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
