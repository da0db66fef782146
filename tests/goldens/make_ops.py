"""Writes the golden values of single operations: roi_align.npz and paste.npz.

Run it as make.py, in the same environment:

    goldens-env/bin/python tests/goldens/make_ops.py

`roi_align.npz`: two feature maps, `near` and `wide` ([height, width, channels]), with
`<map>_boxes` in pixels of an image that is four times as large, and for each way of sampling
what torchvision's RoIAlign makes of them, `<map>_<way>_<size>` ([n, size, size, channels]).

`paste.npz`: `masks` [n, 28, 28] with `boxes` on an image of `size`, and where torchvision's and
Detectron2's rule put them (true where the pasted mask is >= .5), [n, height, width].
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from make_detectron2 import paste
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import roi_align

FOLDER = pathlib.Path(__file__).parent
SCALE = 0.25
WAYS = {
    "unaligned_2": {"aligned": False, "sampling_ratio": 2},
    "aligned_adaptive": {"aligned": True, "sampling_ratio": 0},
    "unaligned_adaptive": {"aligned": False, "sampling_ratio": 0},
}

# On a map of 20x24, so an image of 80x96.
NEAR_BOXES = (
    (10.3, 12.1, 45.9, 60.4),
    (30.0, 20.0, 54.0, 44.0),  # whole cells
    (61.7, 5.2, 90.6, 33.3),
    (50.2, 40.7, 52.9, 43.1),  # less than a cell
    (0.0, 0.0, 96.0, 80.0),  # everything
    (0.0, 0.0, 3.1, 2.2),  # the first corner
    (93.4, 10.2, 96.0, 61.3),  # slivers at the right: widened to a cell, they pass the border
    (95.9, 0.0, 96.0, 80.0),
    (7.4, 77.9, 70.3, 80.0),  # at the bottom
    (0.0, 79.7, 96.0, 80.0),
    (94.3, 78.2, 96.0, 80.0),  # in the last corner
    (40.0, 30.0, 40.0, 30.0),  # empty
    (40.5, 30.5, 60.5, 30.5),  # empty in height alone
    (96.0, 80.0, 96.0, 80.0),  # empty, on the border
    (47.3, 0.0, 49.9, 80.0),  # elongated
    (0.0, 41.2, 96.0, 43.4),
    (-21.5, -9.3, 30.1, 40.8),  # across the border
    (80.4, 61.9, 131.7, 99.2),
    (-51.3, -40.9, 143.1, 122.7),
)
# On a map of 6x96: adaptive sampling takes up to 14 points per bin along the width.
WIDE_BOXES = (
    (0.0, 7.3, 384.0, 10.9),
    (21.9, 4.1, 350.3, 6.2),  # 1x12 samples
    (100.7, 0.0, 302.5, 24.0),
    (3.3, 20.8, 383.1, 24.0),
)

# Pasted into 60x80. No coordinate is whole, nor is one of the boxes that torchvision enlarges.
PASTE_SIZE = (60, 80)
PASTE_BOXES = (
    (10.3, 20.7, 50.2, 55.9),
    (5.6, 3.3, 33.4, 31.2),
    (30.1, 10.4, 44.6, 24.3),
    (0.0, 0.0, 80.0, 60.0),
    (-7.3, -5.4, 20.7, 22.9),
    (60.4, 40.6, 95.3, 71.8),
    (-20.6, 25.3, 100.4, 33.9),
    (40.2, -30.7, 47.6, 90.3),
    (12.3, 44.2, 15.6, 47.4),
    (70.6, 8.3, 71.9, 30.2),
    (25.2, 25.3, 25.7, 25.9),
    (51.4, 50.3, 51.9, 58.6),
    (79.3, 59.2, 80.0, 60.0),
)


def pooled():
    """The contents of roi_align.npz."""
    rng = np.random.default_rng(40)
    kept = {"scale": np.float32(SCALE)}
    for name, shape, boxes in (("near", (20, 24, 8), NEAR_BOXES), ("wide", (6, 96, 4), WIDE_BOXES)):
        cells = rng.random(shape, dtype=np.float32) * 2 - 1
        boxes = np.array(boxes, np.float32)
        kept |= {name: cells, f"{name}_boxes": boxes}
        batch = torch.from_numpy(cells).permute(2, 0, 1)[None]
        for way, options in WAYS.items():
            for size in (7, 14):
                output = roi_align(batch, [torch.from_numpy(boxes)], size, SCALE, **options)
                kept[f"{name}_{way}_{size}"] = output.permute(0, 2, 3, 1).numpy()
    return kept


def pasted():
    """The contents of paste.npz."""
    rng = np.random.default_rng(54)
    boxes = torch.tensor(PASTE_BOXES)
    coarse = torch.from_numpy(rng.random((len(boxes), 1, 8, 8), dtype=np.float32) * 8 - 3.5)
    masks = F.interpolate(coarse, (28, 28), mode="bilinear").sigmoid()
    return {
        "masks": masks[:, 0].numpy(),
        "boxes": boxes.numpy(),
        "size": np.array(PASTE_SIZE),
        "torchvision": (paste_masks_in_image(masks, boxes, PASTE_SIZE)[:, 0] >= 0.5).numpy(),
        "detectron2": (paste(masks[:, 0], boxes, PASTE_SIZE) >= 0.5).numpy(),
    }


if __name__ == "__main__":
    np.savez_compressed(FOLDER / "roi_align.npz", **pooled())
    np.savez_compressed(FOLDER / "paste.npz", **pasted())
