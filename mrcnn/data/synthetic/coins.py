"""Synthetic images of coins: gray, with uneven light, relief, rims, shadows and clutter."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

CIRCLE = 2  # class id of a circle in ShapesDataset
DIAMETERS = (32, 64)  # pixels in an image whose short side is REFERENCE_SIDE
REFERENCE_SIDE = 303  # pixels, the short side of `skimage.data.coins()`
COINS = (6, 30)  # least and greatest number of coins per image


def draw_coins(
    rng: np.random.Generator, height: int, width: int
) -> tuple[np.ndarray, list[tuple[Any, np.ndarray]], list[int]]:
    """Draws a gray image of coins on a dark, uneven background.

    Args:
        rng: Generator. Source of the random numbers.
        height: int. Height of the image in pixels.
        width: int. Width of the image in pixels.

    Returns:
        (image, alphas, class_ids): the image, uint8 `[height, width, 3]` with three equal channels;
        one (region, alpha) per coin in the order of drawing, as `shapes.visible_masks` takes them;
        and one class id per coin, which is always that of a circle.
    """
    shape = (height, width)
    light = _light(rng)
    image = _background(rng, shape)
    for _ in range(rng.integers(0, 5)):
        _clutter(rng, image)
    coins = _layout(rng, height, width)
    # All coins of an image have about the same gray level, brighter than the background.
    tone = rng.uniform(85, 215)
    under = float(np.median(image))
    tone = under + max(tone - under, rng.uniform(25, 60))
    spread, relief = rng.uniform(0, 32), rng.uniform(10, 105)
    _shadows(rng, image, coins, light)
    alphas = []
    for coin in coins:
        region, alpha, place = _outline(rng, coin, shape)
        if alpha.size == 0 or not (alpha >= 0.5).any():
            continue
        surface = _surface(rng, place, light, relief)
        surface += tone + spread * rng.uniform(-1, 1)
        y1, x1, y2, x2 = region
        part = image[y1:y2, x1:x2]
        # The uneven light also falls on the coin, but changes it less than the background.
        surface += rng.uniform(0, 0.5) * (part - under)
        part += alpha * (surface - part)
        alphas.append((region, alpha))
    return _photograph(rng, image), alphas, [CIRCLE] * len(alphas)


def _light(rng):
    """Returns the direction that the light comes from as a unit vector (y, x)."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.float32(np.sin(angle)), np.float32(np.cos(angle))


def _smooth(rng, shape, cells):
    """Returns smooth noise from about -1 to 1, float32 `[height, width]`.

    `cells` is the number of cells along the longer side.
    """
    rows = max(2, round(cells * shape[0] / max(shape)) + 1)
    cols = max(2, round(cells * shape[1] / max(shape)) + 1)
    coarse = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _background(rng, shape):
    """Returns a dark background with a gradient, patches and grain, float32 `[height, width]`.

    At its bright end, the gradient may reach the gray level of the coins.
    """
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)[None]
    dy, dx = _light(rng)
    ramp = np.clip((dy * y + dx * x + rng.uniform(-0.6, 1)) / 2 + 0.5, 0, 1.3)
    image = rng.uniform(12, 75) + rng.uniform(0, 95) * ramp ** rng.uniform(0.8, 3)
    image = image + rng.uniform(0, 16) * _smooth(rng, shape, 3)
    image += rng.uniform(0, 14) * _smooth(rng, shape, int(rng.integers(6, 30)))
    image += rng.uniform(0, 6) * _smooth(rng, shape, int(rng.integers(60, 160)))
    return image.astype(np.float32)


def _clutter(rng, image):
    """Draws something that is not a coin: a scratch, a box, a ring or a soft spot."""
    height, width = image.shape
    y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
    size = int(rng.uniform(0.02, 0.14) * min(height, width)) + 2
    level = float(image[y, x] + rng.uniform(-40, 55))
    kind = rng.integers(0, 5)
    if kind == 0:
        cv2.line(image, (x, y), (x + int(rng.integers(-90, 90)), y + size), level, 1, cv2.LINE_AA)
    elif kind == 1:
        corners = cv2.boxPoints(
            ((float(x), float(y)), (size * 2.0, float(size)), rng.uniform(0, 90))
        )
        cv2.fillPoly(image, [corners.astype(np.int32)], level)
    elif kind == 2:
        cv2.circle(image, (x, y), size, level, 1, cv2.LINE_AA)
    else:
        patch = np.zeros_like(image)
        axes = (size, max(2, int(size * rng.uniform(0.3, 1.5))))
        cv2.ellipse(patch, (x, y), axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
        patch = cv2.blur(patch, (2 * (size // 2) + 3,) * 2)
        image += patch * np.float32(rng.uniform(-45, 30))


def _layout(rng, height, width):
    """Places coins that hardly touch, in rows or scattered.

    There are at least `COINS[0]` coins if the image has room for them.

    Returns:
        List of tuples (y, x, radius_y, radius_x, angle), in pixels and radians.
    """
    scale = min(height, width) / REFERENCE_SIDE * rng.uniform(0.8, 1.35)
    low = rng.uniform(DIAMETERS[0], 50)
    high = rng.uniform(low, DIAMETERS[1])
    wanted = int(rng.integers(COINS[0], COINS[1] + 1))
    # Candidate centers. Those that do not fit between the coins placed so far are skipped.
    scattered = rng.uniform((0, 0), (height, width), (300, 2))
    rows = _rows(rng, height, width, scale * high) if rng.random() < 0.6 else scattered[:0]
    centers = np.concatenate([rows, scattered])
    gap = rng.uniform(0.96, 1.12) if rng.random() < 0.8 else 0.85
    coins = []
    for number, (y, x) in enumerate(centers):
        # An image with rows gets scattered coins only to reach the least number.
        if len(coins) == wanted or number >= len(rows) > 0 and len(coins) >= COINS[0]:
            break
        radius = scale * rng.uniform(low, high) / 2
        inside = min(y, x, height - y, width - x) > radius * (0.3 if rng.random() < 0.1 else 1.02)
        free = all(np.hypot(y - c[0], x - c[1]) > gap * (radius + c[2]) for c in coins)
        if inside and free:
            flat = rng.uniform(0.93, 1.0)
            coins.append((y, x, radius, radius * flat, rng.uniform(0, np.pi)))
    return coins


def _rows(rng, height, width, diameter):
    """Returns centers in rows, `[N, 2]`, ordered from the top left or at random."""
    step_y, step_x = diameter * rng.uniform(1.05, 1.6), diameter * rng.uniform(1.05, 1.5)
    ys = np.arange(step_y * rng.uniform(0.52, 0.8), height, step_y)
    xs = np.arange(step_x * rng.uniform(0.52, 0.8), width, step_x)
    centers = np.stack(np.meshgrid(ys, xs, indexing="ij"), axis=-1).reshape(-1, 2)
    centers = centers + rng.normal(0, 0.06 * diameter, centers.shape)
    return centers if rng.random() < 0.5 else rng.permutation(centers)


def _shadows(rng, image, coins, light):
    """Darkens the background on the side of every coin that faces away from the light."""
    strength, reach = rng.uniform(0, 0.6), rng.uniform(0.02, 0.16)
    if strength < 0.1:
        return
    shadow = np.zeros_like(image)
    for y, x, ry, rx, angle in coins:
        center = (x - light[1] * reach * rx, y - light[0] * reach * ry)
        box = (center, (2.06 * float(rx), 2.06 * float(ry)), float(np.degrees(-angle)))
        cv2.ellipse(shadow, box, 1.0, -1)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.5 + 0.1 * (coins[0][2] if coins else 1))
    image *= 1 - np.float32(strength) * shadow


def _outline(rng, coin, shape):
    """Returns where one slightly irregular coin lies.

    Returns:
        (region, alpha, place): (y1, x1, y2, x2) inside the image, the share 0..1 of each pixel that
        the coin covers, and the coordinates (radius, v, u) of each pixel, which are 1 at the edge.
    """
    y, x, ry, rx, angle = coin
    reach = max(ry, rx) + 2
    y1, x1 = max(0, int(y - reach)), max(0, int(x - reach))
    y2, x2 = min(shape[0], int(y + reach) + 2), min(shape[1], int(x + reach) + 2)
    dy = (np.arange(y1, y2, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    dx = (np.arange(x1, x2, dtype=np.float32) + np.float32(0.5 - x))[None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    v, u = (cos * dy - sin * dx) / np.float32(ry), (sin * dy + cos * dx) / np.float32(rx)
    radius = np.sqrt(u * u + v * v)
    turn, wobble = np.arctan2(v, u), rng.uniform(0, 0.022) * rng.random()
    for waves in range(2, 7):
        radius *= 1 + np.float32(wobble) * np.cos(waves * turn + np.float32(rng.uniform(0, 6.3)))
    alpha = np.clip(np.float32(0.5) - (radius - 1) * np.float32(min(ry, rx)), 0, 1)
    return (y1, x1, y2, x2), alpha, (radius, v, u)


def _surface(rng, place, light, relief):
    """Returns the gray levels of one coin relative to its mean: a relief lit from the side."""
    radius, v, u = place
    height = _relief(rng, radius, v, u)
    dy, dx = np.gradient(height)
    pixels = max(4.0, float(np.count_nonzero(radius < 1)) ** 0.5)
    lit = (dy * light[0] + dx * light[1]) * np.float32(pixels / 8)
    surface = np.float32(relief) * np.tanh(lit)
    surface += np.float32(rng.uniform(-12, 22)) * height
    surface += np.float32(rng.uniform(-16, 16)) * (v * light[0] + u * light[1])  # sheen
    surface += np.float32(rng.uniform(0, 14)) * _smooth(rng, radius.shape, int(rng.integers(2, 9)))
    return surface + rng.uniform(0, 6) * rng.standard_normal(radius.shape, dtype=np.float32)


def _relief(rng, radius, v, u):
    """Returns the height of a coin, about 0 to 1: a rim, a portrait and a ring of letters.

    The portrait is made of ellipses. A blur makes the coin look worn.
    """
    height = np.zeros_like(radius)
    if rng.random() < 0.85:
        height += np.float32(rng.uniform(0.2, 0.9)) * (radius > rng.uniform(0.84, 0.94))
    for _ in range(rng.integers(0, 12)):
        cy, cx = rng.uniform(-0.5, 0.5, 2)
        sy, sx = rng.uniform(0.05, 0.42, 2)
        blob = ((v - np.float32(cy)) / np.float32(sy)) ** 2
        blob = blob + ((u - np.float32(cx)) / np.float32(sx)) ** 2
        height += np.float32(rng.uniform(-0.4, 0.8)) * (blob < 1)
    if rng.random() < 0.6:
        letters = int(rng.integers(10, 32))
        turn = np.arctan2(v, u) * np.float32(letters)
        ring = np.abs(radius - np.float32(rng.uniform(0.7, 0.8))) < rng.uniform(0.05, 0.1)
        height += np.float32(rng.uniform(0.2, 0.7)) * (ring & (np.sin(turn) > 0))
    grain = _smooth(rng, radius.shape, int(rng.integers(8, 24)))
    height += np.float32(rng.uniform(0, 0.4)) * grain
    return cv2.GaussianBlur(height, (0, 0), rng.uniform(0.5, 1.5))


def _photograph(rng, image):
    """Adds uneven light, blur, noise, contrast and gamma, as a camera does; uint8 `[H, W, 3]`."""
    image = image * (1 + np.float32(rng.uniform(0, 0.22)) * _smooth(rng, image.shape, 2))
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 1.1))
    image += rng.uniform(0, 9) * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.clip(image / 255, 0, 1) ** np.float32(rng.uniform(0.75, 1.35))
    image = image * rng.uniform(205, 265) + rng.uniform(-8, 18)
    gray = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)
