"""Augmentation with imgaug: the stand-in, or the real package."""

from __future__ import annotations

from typing import Any

import numpy as np

from mrcnn.compat.stand_ins.meta import Augmenter as StandIn
from mrcnn.compat.stand_ins.parameters import new_rng
from mrcnn.data.augment import Augmenter

# Augmenters of a real imgaug that may act on masks: they move pixels and create no values.
_GEOMETRIC = (
    "Sequential",
    "SomeOf",
    "OneOf",
    "Sometimes",
    "Fliplr",
    "Flipud",
    "CropAndPad",
    "Affine",
    "PiecewiseAffine",
)
_CHANNELS = 4  # masks moved in one call: OpenCV, which imgaug uses, is wrong beyond


def augmenter(augmentation: Any) -> Any:
    """Returns an augmentation in a form that the training pipeline accepts.

    Args:
        augmentation: An augmenter of imgaug (anything with `to_deterministic`), or one
            that the pipeline accepts as it is: an `Augmenter`, a function or None.
    """
    if isinstance(augmentation, StandIn):
        return StandInAugmenter(augmentation)
    if not hasattr(augmentation, "to_deterministic"):
        return augmentation
    return lambda image, masks: _imgaug(augmentation, image, masks)


class StandInAugmenter(Augmenter):
    """Augments with an augmenter of the stand-in, repeatable by SEED.

    Args:
        augmentation: an augmenter of `mrcnn.compat.stand_ins`.
    """

    def __init__(self, augmentation: StandIn):
        super().__init__()
        self.augmentation = augmentation

    def __call__(self, image, masks, rng=None):
        """Augments one image. Arguments and result as in `Augmenter`."""
        return self.augmentation.augment_both(image, masks, new_rng() if rng is None else rng)


def _imgaug(augmentation, image, masks):
    """Applies an augmenter of a real imgaug to an image [H, W, C] and its masks [H, W, N]."""
    import imgaug

    def acts_on_masks(images, augmenter, parents, default):
        return type(augmenter).__name__ in _GEOMETRIC

    hooks = imgaug.HooksImages(activator=acts_on_masks)
    fixed = augmentation.to_deterministic()
    new_image = fixed.augment_image(image)
    chunks = [
        fixed.augment_image(masks[..., i : i + _CHANNELS].astype(np.uint8), hooks=hooks)
        for i in range(0, masks.shape[-1], _CHANNELS)
    ]
    new_masks = np.concatenate(chunks, axis=-1) if chunks else masks
    if new_image.shape != image.shape or new_masks.shape != masks.shape:
        raise ValueError(
            f"the augmentation changed the shape of the image from {image.shape} to "
            f"{new_image.shape}, or of the masks from {masks.shape} to {new_masks.shape}; use one "
            "that keeps the size (keep_size=True)."
        )
    return new_image, new_masks.astype(bool)
