"""Splits a data set into parts for training and validation."""

from __future__ import annotations

import copy

import numpy as np


def split(whole, share: float, seed: int):
    """Holds a share of the images back; the same seed holds back the same ones.

    Returns:
        (train, val): at least one image each; val is None for share 0 or a single image.
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
