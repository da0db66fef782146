"""Matterport's geometry of masks: mini-masks and pasting.

As in Matterport's code, interpolation blends the outermost half cell with zero, so that a pasted
mask loses its corners. `mrcnn.images.masks` does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.compat.images import resize


def minimize_mask(bbox: Any, mask: Any, mini_shape: tuple[int, int]) -> np.ndarray:
    """Crops masks to their boxes and scales them to mini-masks.

    Args:
        bbox: array `[N, 4]`, y1, x1, y2, x2 in pixels.
        mask: array `[H, W, N]`, bool or numbers.
        mini_shape: (mask_height, mask_width).

    Returns:
        bool `[mask_height, mask_width, N]`.

    Raises:
        ValueError: if a box has no area.
    """
    mask = np.asarray(mask)
    mini = np.zeros((*mini_shape, mask.shape[-1]), bool)
    for index, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[:, :4].astype(int)):
        cut = mask[y1:y2, x1:x2, index]
        if cut.size == 0:
            raise ValueError(
                f"Invalid bounding box with area of zero: instance {index}, ({y1}, {x1}, {y2}, "
                f"{x2}). Leave out instances without pixels."
            )
        mini[..., index] = np.around(resize(_as_float(cut), mini_shape))
    return mini


def expand_mask(bbox: Any, mini_mask: Any, image_shape: tuple[int, ...]) -> np.ndarray:
    """Scales mini-masks back to their boxes in the image.

    Args:
        bbox: array `[N, 4]`, y1, x1, y2, x2 in pixels.
        mini_mask: array `[mask_height, mask_width, N]`.
        image_shape: (H, W, ...).

    Returns:
        bool `[H, W, N]`.
    """
    mini_mask = np.asarray(mini_mask)
    mask = np.zeros((*image_shape[:2], mini_mask.shape[-1]), bool)
    for index, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[:, :4].astype(int)):
        shape = (y2 - y1, x2 - x1)
        mask[y1:y2, x1:x2, index] = np.around(resize(_as_float(mini_mask[..., index]), shape))
    return mask


def mold_mask(mask: Any, config: Any) -> None:
    """Does nothing: Matterport's package has this name, but never implemented it.

    Args:
        mask: ignored.
        config: ignored.
    """


def unmold_mask(mask: Any, bbox: Any, image_shape: tuple[int, ...]) -> np.ndarray:
    """Pastes a predicted mask into its box in the image.

    Args:
        mask: array `[mask_height, mask_width]`, 0..1. Pixels with at least 0.5 are inside.
        bbox: (y1, x1, y2, x2), ints, in pixels inside the image.
        image_shape: (H, W, ...).

    Returns:
        bool `[H, W]`.
    """
    y1, x1, y2, x2 = bbox
    full = np.zeros(image_shape[:2], bool)
    full[y1:y2, x1:x2] = resize(np.asarray(mask), (y2 - y1, x2 - x1)) >= 0.5
    return full


def _as_float(mask):
    # scikit-image refuses bool images and divides uint8 images by 255.
    return (np.asarray(mask) != 0).astype(np.float64)
