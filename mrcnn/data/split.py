"""Splits a dataset into parts for training and validation."""

from __future__ import annotations

import copy

import numpy as np

from mrcnn.data.dataset import Dataset


def split(whole: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Holds back a share of the images for validation.

    Args:
        whole: Dataset. A prepared one; it stays as it is.
        share: float in 0..1. The share of images to hold back.
        seed: int. The same seed holds back the same images.

    Returns:
        (train, val): prepared datasets of at least one image each; or `whole` and None if `share`
        is 0 or there is a single image.
    """
    count = len(whole.image_ids)
    held = min(max(1, round(share * count)), count - 1) if share > 0 else 0
    if held < 1:
        return whole, None
    order = np.random.default_rng(seed).permutation(count)
    return _subset(whole, sorted(order[held:])), _subset(whole, sorted(order[:held]))


def _subset(whole, image_ids):
    part = copy.copy(whole)
    part.image_info = [whole.image_info[i] for i in image_ids]
    part.prepare()
    return part
