"""Augmentation by an imgaug object, where a user has a working imgaug."""

from __future__ import annotations

import numpy as np

# What imgaug may do to masks: it moves pixels and invents no values.
_GEOMETRIC = (
    "Sequential", "SomeOf", "OneOf", "Sometimes", "Fliplr", "Flipud", "CropAndPad", "Affine",
    "PiecewiseAffine",
)  # fmt: skip
_CHANNELS = 4  # masks warped in one call: OpenCV, which imgaug uses, is wrong beyond


def augmenter(augmentation):
    """An augmentation as a function of (image, masks), which the pipeline takes.

    Args:
        augmentation: an object of imgaug (anything with `to_deterministic`), or what the pipeline
            takes already: an `Augmenter`, a function, None.
    """
    if not hasattr(augmentation, "to_deterministic"):
        return augmentation
    return lambda image, masks: _imgaug(augmentation, image, masks)


def _imgaug(augmentation, image, masks):
    """Applies an imgaug augmenter to a picture [H, W, C] and its masks [H, W, N] alike."""
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
