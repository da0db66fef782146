"""The bundled model on a real image: the 24 coins of scikit-image."""

import numpy as np
import pytest
import skimage.data
from scipy import ndimage
from skimage.filters import sobel
from skimage.measure import label
from skimage.segmentation import watershed

from mrcnn.images.overlaps import compute_overlaps_masks
from mrcnn.model import MaskRCNN


def coin_masks():
    """Returns the masks of the coins from a watershed on the gradient, bool [303, 384, 24]."""
    coins = skimage.data.coins()
    markers = np.zeros_like(coins, int)
    markers[coins < 30] = 1
    markers[coins > 150] = 2
    filled = ndimage.binary_fill_holes(watershed(sobel(coins), markers) == 2)
    labels = label(filled)
    large = np.flatnonzero(np.bincount(labels.ravel())[1:] > 300) + 1
    return labels[..., None] == large


@pytest.fixture(scope="module")
def found():
    return MaskRCNN.demo().detect([skimage.data.coins()])[0]


def test_reference_has_24_coins():
    assert coin_masks().shape[-1] == 24


def test_every_coin_is_found_and_nothing_else(found):
    assert (found["scores"] >= 0.7).all()
    assert 23 <= len(found["scores"]) <= 25
    overlaps = compute_overlaps_masks(found["masks"], coin_masks())
    assert (overlaps.max(axis=1) >= 0.8).all()
    assert len(set(overlaps.argmax(axis=1))) >= 23
