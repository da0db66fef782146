"""Matterport's resizing, padding and image_meta against values that the old code gave."""

import numpy as np
import pytest

from mrcnn import utils
from mrcnn.compat import images, masks
from mrcnn.config import Config


@pytest.mark.parametrize(
    "shape, arguments, size, window, scale, padding",
    [
        ((480, 640), (800, 1024, 0, "square"), (1024, 1024), (128, 0, 896, 1024), 1.6,
         [(128, 128), (0, 0)]),
        ((427, 640), (800, 1024, 0, "square"), (1024, 1024), (170, 0, 853, 1024), 1.6,
         [(170, 171), (0, 0)]),
        ((640, 480), (800, 1024, 0, "square"), (1024, 1024), (0, 128, 1024, 896), 1.6,
         [(0, 0), (128, 128)]),
        ((1080, 1920), (800, 1024, 0, "square"), (1024, 1024), (224, 0, 800, 1024), 0.53333,
         [(224, 224), (0, 0)]),
        ((100, 100), (800, 1024, 0, "square"), (1024, 1024), (112, 112, 912, 912), 8.0,
         [(112, 112), (112, 112)]),
        ((1024, 1024), (800, 1024, 0, "square"), (1024, 1024), (0, 0, 1024, 1024), 1,
         [(0, 0), (0, 0)]),
        ((480, 640), (512, None, 0, "pad64"), (512, 704), (0, 10, 512, 693), 1.066667,
         [(0, 0), (10, 11)]),
        ((500, 700), (512, None, 0, "pad64"), (512, 768), (0, 25, 512, 742), 1.024,
         [(0, 0), (25, 26)]),
        ((256, 320), (512, 512, 2.0, "square"), (512, 512), (51, 0, 461, 512), 1.6,
         [(51, 51), (0, 0)]),
        ((256, 320), (512, 512, 2.0, "pad64"), (512, 640), (0, 0, 512, 640), 2.0,
         [(0, 0), (0, 0)]),
        ((50, 70), (800, 1024, 0, "none"), (50, 70), (0, 0, 50, 70), 1, [(0, 0), (0, 0)]),
    ],
)  # fmt: skip
def test_resize_image(shape, arguments, size, window, scale, padding):
    image = np.full((*shape, 3), 200, np.uint8)
    resized, got_window, got_scale, got_padding, crop = utils.resize_image(image, *arguments)
    assert resized.shape == (*size, 3) and resized.dtype == np.uint8
    assert tuple(got_window) == window and got_scale == pytest.approx(scale, abs=1e-5)
    assert got_padding == [*padding, (0, 0)] and crop is None
    y1, x1, y2, x2 = window
    outside = np.ones(size, bool)
    outside[y1:y2, x1:x2] = False
    assert (resized[outside] == 0).all()
    mask = utils.resize_mask(np.ones((*shape, 2), bool), got_scale, got_padding, crop)
    assert mask.shape == (*size, 2) and (mask.all(axis=2) == ~outside).all()


def test_crop_of_image_and_mask_agree():
    image = np.random.default_rng(0).integers(0, 255, (90, 130, 3), np.uint8)
    resized, window, scale, padding, crop = utils.resize_image(image, 64, 64, 0, "crop")
    y, x, height, width = crop
    assert (height, width) == (64, 64) and tuple(window) == (0, 0, 64, 64) and scale == 1
    np.testing.assert_array_equal(resized, image[y : y + 64, x : x + 64])
    mask = image[..., :1] > 100
    np.testing.assert_array_equal(
        utils.resize_mask(mask, scale, padding, crop), mask[y : y + 64, x : x + 64]
    )


def test_gray_image_and_unknown_mode():
    assert utils.resize_image(np.zeros((30, 40)), 64, 64)[0].shape == (64, 64, 1)
    with pytest.raises(Exception, match="mode"):
        utils.resize_image(np.zeros((30, 40, 3)), 64, 64, mode="circle")


def test_molding_keeps_the_image():
    config = Config(NUM_CLASSES=2, MEAN_PIXEL=np.array([123.7, 116.8, 103.9]))
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), np.uint8)
    molded = images.mold_image(image, config)
    assert molded.dtype == np.float64
    back = images.unmold_image(molded, config)
    assert back.dtype == np.uint8 and np.abs(back.astype(int) - image).max() <= 1


def test_image_meta():
    row = images.compose_image_meta(7, (30, 40, 3), (64, 64, 3), (8, 0, 56, 64), 1.6, [1, 0, 1])
    assert row.shape == (15,)
    parts = images.parse_image_meta(np.stack([row, row]))
    assert parts["image_id"].tolist() == [7, 7] and parts["scale"].dtype == np.float32
    assert parts["original_image_shape"].tolist() == [[30, 40, 3]] * 2
    assert parts["window"].tolist() == [[8, 0, 56, 64]] * 2
    assert parts["active_class_ids"].tolist() == [[1, 0, 1]] * 2
    assert parts["window"].dtype == np.int32


# --- Masks ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_minimize_mask(dtype):
    mask = np.zeros((9, 9, 1), dtype)
    mask[2:5, 3:7] = 1
    mini = utils.minimize_mask(np.array([[2, 3, 5, 7]]), mask, (4, 4))
    assert mini.dtype == bool and mini.all()
    mask = np.zeros((8, 8, 1), dtype)
    mask[1:7, 1:7] = 1
    mask[1:3, 1:3] = 0
    mini = utils.minimize_mask(np.array([[1, 1, 7, 7]]), mask, (3, 3))
    assert mini[..., 0].astype(int).tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]


def test_empty_box_is_an_error():
    with pytest.raises(Exception, match="area of zero"):
        utils.minimize_mask(np.array([[2, 2, 2, 5]]), np.ones((9, 9, 1), bool), (4, 4))


def test_expand_mask_is_the_inverse():
    mask = np.zeros((64, 64, 130), bool)
    mask[10:40, 5:50] = True
    boxes = np.array([[10, 5, 40, 50]] * 130)
    mini = utils.minimize_mask(boxes, mask, (28, 28))
    assert mini.shape == (28, 28, 130)
    np.testing.assert_array_equal(utils.expand_mask(boxes, mini, (64, 64, 3)), mask)


def test_unmold_mask():
    full = utils.unmold_mask(np.array([[1.0, 1.0], [0.0, 0.0]]), [1, 1, 5, 4], (6, 6, 3))
    expected = np.zeros((6, 6), bool)
    expected[1:3, 1:4] = True
    assert full.dtype == bool
    np.testing.assert_array_equal(full, expected)
    assert masks.mold_mask(full, None) is None
