"""RoIAlign and mask pasting against stored outputs of torchvision and of Detectron2's rules."""

from pathlib import Path

import numpy as np
import pytest
from keras import ops

from mrcnn.images import masks
from mrcnn.ops import roi_align

FOLDER = Path(__file__).parents[1] / "goldens"
ORDER = [1, 0, 3, 2]  # (x, y) <-> (y, x)


def goldens(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


@pytest.mark.parametrize("size", [7, 14])
@pytest.mark.parametrize("way", ["unaligned_2", "aligned_adaptive"])
@pytest.mark.parametrize("name", ["near", "wide"])
def test_roi_align(name, way, size):
    """Thin boxes beyond the border, empty boxes, 14 samples per cell, boxes across the border."""
    golden = goldens("roi_align")
    feature_map, boxes = golden[name][None], golden[f"{name}_boxes"][None][..., ORDER]
    ratio, aligned = (2, False) if way == "unaligned_2" else (0, True)
    levels = np.full(boxes.shape[:2], 2, "int32")
    arrays = ops.convert_to_tensor(feature_map), ops.convert_to_tensor(boxes)
    out = roi_align.pyramid_roi_align(
        [arrays[0]], arrays[1], (4,), size, ops.convert_to_tensor(levels), ratio, aligned
    )
    expected = golden[f"{name}_{way}_{size}"]
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(ops.convert_to_numpy(out)[0], expected, atol=3e-5)


@pytest.mark.parametrize(
    "family, paste", [("torchvision", masks.paste_bordered_mask), ("detectron2", masks.paste_mask)]
)
def test_paste(family, paste):
    golden = goldens("paste")
    shape = tuple(golden["size"])
    for mask, box, expected in zip(
        golden["masks"], golden["boxes"][:, ORDER], golden[family], strict=True
    ):
        crop, (y1, x1, y2, x2) = paste(mask, box, shape)
        whole = np.zeros(shape, bool)
        whole[y1:y2, x1:x2] = crop
        assert (whole == expected).all()


def test_paste_by_torchvision_at_the_edges():
    """Pastes masks of ones and of halves as torchvision does, at a threshold of .5."""
    ones = np.ones((28, 28), np.float32)
    cases = [
        ((20.7, 10.3, 60.9, 50.2), 100, (20, 9, 62, 51)),
        ((5.2, 5.2, 5.6, 5.6), 12, (5, 5, 6, 6)),
        ((-5, -5, 4, 4), 10, (0, 0, 5, 5)),
    ]
    for box, side, bounds in cases:
        crop, region = masks.paste_bordered_mask(ones, box, (side, side))
        y1, x1, y2, x2 = masks.mask_bounds(crop)
        y, x = region[:2]
        assert (y1 + y, x1 + x, y2 + y, x2 + x) == bounds
        assert crop.sum() >= (y2 - y1) * (x2 - x1) - 4  # except for the corners
    half = ones * (np.arange(28)[:, None] < 14)
    crop, region = masks.paste_bordered_mask(half, (10, 10, 38, 38), (50, 50))
    rows = np.flatnonzero(crop[:, 20 - region[1]]) + region[0]
    assert rows.tolist() == list(range(10, 25))
    outside, region = masks.paste_bordered_mask(ones, (60, 60, 70, 70), (50, 50))
    assert outside.size == 0
