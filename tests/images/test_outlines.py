"""Outlines of masks draw the same masks again."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.images.outlines import one_ring, trace


def draw(rings, shape):
    if not rings:
        return np.zeros(shape, bool)
    codes = coco_mask.frPyObjects([ring.ravel().astype(float).tolist() for ring in rings], *shape)
    return coco_mask.decode(coco_mask.merge(codes)).astype(bool)


def random_masks():
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (1, 9), (7, 1), (5, 5), (16, 31)]:
        for density in [0.1, 0.5, 0.9]:
            yield rng.random(shape) < density


MASKS = [
    np.ones((1, 1), bool),
    np.eye(4, dtype=bool),
    np.pad(np.zeros((2, 3), bool), 2, constant_values=True),
    np.pad(np.pad(np.ones((1, 1), bool), 1), 1, constant_values=True),  # an island in a hole
    *random_masks(),
]


@pytest.mark.parametrize("mask", MASKS)
def test_outlines_minus_holes_draw_the_mask(mask):
    drawn = np.zeros(mask.shape, bool)
    for outline, holes in trace(mask):
        drawn |= draw([outline], mask.shape) & ~draw(holes, mask.shape)
    assert np.array_equal(drawn, mask)


@pytest.mark.parametrize("mask", [mask for mask in MASKS if mask.any()])
def test_one_ring_draws_the_mask_with_its_holes(mask):
    assert np.array_equal(draw([one_ring(trace(mask))], mask.shape), mask)


def test_an_empty_mask_has_no_outline():
    assert trace(np.zeros((3, 4), bool)) == []


def test_a_square_has_four_corners():
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:7] = True
    ((outline, holes),) = trace(mask)
    assert holes == []
    assert {tuple(point) for point in outline.tolist()} == {(3, 2), (3, 5), (7, 5), (7, 2)}
