"""Matterport's geometry of masks: mini masks and pasting.

Interpolation blends the outermost half cell with zero, as it always did, so that a pasted mask
loses its corners; `mrcnn.ops.masks` does not.
"""

from __future__ import annotations

import numpy as np

from mrcnn.compat.images import resize


def minimize_mask(bbox, mask, mini_shape) -> np.ndarray:
    """Masks [H, W, N] cut to their boxes [N, 4] and scaled: bool [mh, mw, N]."""
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


def expand_mask(bbox, mini_mask, image_shape) -> np.ndarray:
    """Mini masks [mh, mw, N] back in their boxes [N, 4] of the picture: bool [H, W, N]."""
    mini_mask = np.asarray(mini_mask)
    mask = np.zeros((*image_shape[:2], mini_mask.shape[-1]), bool)
    for index, (y1, x1, y2, x2) in enumerate(np.asarray(bbox)[:, :4].astype(int)):
        shape = (y2 - y1, x2 - x1)
        mask[y1:y2, x1:x2, index] = np.around(resize(_as_float(mini_mask[..., index]), shape))
    return mask


def mold_mask(mask, config):
    """Was never written; returns None."""


def unmold_mask(mask, bbox, image_shape) -> np.ndarray:
    """A predicted mask [mh, mw], 0..1, pasted into its box of the picture: bool [H, W].

    Args:
        mask: floats; a pixel belongs to the object from 0.5 on.
        bbox: (y1, x1, y2, x2), int pixels inside the picture.
        image_shape: (H, W, ...).
    """
    y1, x1, y2, x2 = bbox
    full = np.zeros(image_shape[:2], bool)
    full[y1:y2, x1:x2] = resize(np.asarray(mask), (y2 - y1, x2 - x1)) >= 0.5
    return full


def _as_float(mask):
    # A bool picture is refused by scikit-image and a uint8 one divided by 255.
    return (np.asarray(mask) != 0).astype(np.float64)
