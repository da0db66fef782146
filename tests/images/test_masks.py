import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.images import masks, rle


def full(crop, region, shape):
    mask = np.zeros(shape, bool)
    y1, x1, y2, x2 = region
    assert crop.shape == (y2 - y1, x2 - x1)
    mask[y1:y2, x1:x2] = crop
    return mask


def paste_oracle(mask, box, shape, threshold):
    """Pastes a mask pixel by pixel, as Detectron2 does."""
    y1, x1, y2, x2 = box
    padded = np.pad(mask, 1)  # zero outside
    result = np.zeros(shape, bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            v = (y + 0.5 - y1) / (y2 - y1) * mask.shape[0] - 0.5
            u = (x + 0.5 - x1) / (x2 - x1) * mask.shape[1] - 0.5
            if not (-1 < v < mask.shape[0] and -1 < u < mask.shape[1]):
                continue
            i, j = int(np.floor(v)), int(np.floor(u))
            corners = padded[i + 1 : i + 3, j + 1 : j + 3]
            wy, wx = np.array([1 - v + i, v - i]), np.array([1 - u + j, u - j])
            result[y, x] = wy @ corners @ wx >= threshold
    return result


@pytest.mark.parametrize(
    "box, shape, bounds",
    [
        ((20.7, 10.3, 60.9, 50.2), (100, 100), (21, 10, 61, 50)),
        ((10, 10, 20, 20), (30, 30), (10, 10, 20, 20)),
        ((5.2, 5.2, 5.6, 5.6), (12, 12), (5, 5, 6, 6)),
        ((-5, -5, 4, 4), (10, 10), (0, 0, 4, 4)),
    ],
)
def test_paste_goldens_of_detectron2(box, shape, bounds):
    crop, region = masks.paste_mask(np.ones((28, 28)), box, shape)
    mask = full(crop, region, shape)
    assert masks.mask_bounds(mask) == bounds
    y1, x1, y2, x2 = bounds
    # Only a corner pixel may lie half a cell outside on both axes, where the product is below .5.
    assert mask[(y1 + y2) // 2, x1:x2].all() and mask[y1:y2, (x1 + x2) // 2].all()


def test_paste_golden_upper_half():
    half = np.zeros((28, 28))
    half[:14] = 1
    mask = full(*masks.paste_mask(half, (10, 10, 38, 38), (50, 50)), (50, 50))
    assert np.flatnonzero(mask[:, 20]).tolist() == list(range(10, 24))
    assert np.flatnonzero(mask[12]).tolist() == list(range(10, 38))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_paste_against_oracle(threshold):
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((7, 5))
        y, x = rng.uniform(-8, 24, 2)
        box = (y, x, y + rng.uniform(0.2, 30), x + rng.uniform(0.2, 30))
        crop, region = masks.paste_mask(mask, box, (20, 23), threshold)
        expected = paste_oracle(mask, box, (20, 23), threshold)
        np.testing.assert_array_equal(full(crop, region, (20, 23)), expected)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 9, 5, 5), (50, 50, 60, 60), (-9, -9, -3, -3)])
def test_paste_no_masks(box):
    crop, region = masks.paste_mask(np.ones((28, 28)), box, (20, 20))
    assert not full(crop, region, (20, 20)).any()


def test_boxes_from_masks():
    stack = np.zeros((9, 11, 4), bool)
    stack[2:5, 3:9, 0] = True
    stack[8, 10, 1] = True  # one pixel in the corner
    stack[:, :, 3] = True
    expected = [[2, 3, 5, 9], [8, 10, 9, 11], [0, 0, 0, 0], [0, 0, 9, 11]]
    boxes = masks.boxes_from_masks(stack)
    assert boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes, expected)
    assert masks.boxes_from_masks(np.zeros((9, 11, 0), bool)).shape == (0, 4)
    assert masks.boxes_from_masks(np.zeros((0, 0, 0))).shape == (0, 4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (14, 14), (40, 5)])
def test_minimize_crop_of_a_full_mask(shape):
    mini = masks.minimize_crop(np.ones(shape, bool), (14, 14))
    assert mini.shape == (14, 14) and mini.dtype == np.uint8
    assert (mini == 255).all()


def test_minimize_crop_keeps_the_area():
    y, x = np.mgrid[:101, :101]
    disc = (y - 50) ** 2 + (x - 50) ** 2 <= 50**2
    for shape in [(28, 28), (56, 56), (200, 28)]:
        mini = masks.minimize_crop(disc, shape)
        assert mini.mean() / 255 == pytest.approx(disc.mean(), abs=0.01)


@pytest.mark.parametrize("count", [0, 1, 129, 300])
def test_instances_first_with_any_number(count):
    """OpenCV 5 returns wrong results above 128 channels without an error."""
    stack = np.random.default_rng(0).random((5, 7, count)) > 0.5
    np.testing.assert_array_equal(masks.instances_first(stack), np.moveaxis(stack, -1, 0))


def test_encode_rle_equals_pycocotools():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(1, 24, 2)
        y1, y2 = sorted(rng.integers(0, height + 1, 2))
        x1, x2 = sorted(rng.integers(0, width + 1, 2))
        crop = rng.random((y2 - y1, x2 - x1)) < rng.choice([0, 0.2, 0.8, 1])
        mask = full(crop, (y1, x1, y2, x2), (height, width))
        code = rle.encode_rle(crop, (y1, x1, y2, x2), (height, width))
        assert code == coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(rle.decode_rle(code), mask)


def test_decode_rle_forms():
    plain = {"size": [2, 3], "counts": [1, 2, 3]}
    expected = np.array([[0, 1, 0], [1, 0, 0]], bool)
    np.testing.assert_array_equal(rle.decode_rle(plain), expected)
    packed = coco_mask.frPyObjects(plain, 2, 3)
    np.testing.assert_array_equal(rle.decode_rle(packed), expected)
    text = {"size": [2, 3], "counts": packed["counts"].decode()}
    np.testing.assert_array_equal(rle.decode_rle(text), expected)


@pytest.mark.parametrize(
    "code, words",
    [
        ({"size": [2, 3], "counts": [1, 2]}, "add up to 3"),
        ({"size": [2, 3], "counts": [7, -1]}, "at least 0"),
        ({"size": [2, 3], "counts": "\x00"}, "damaged"),
        ({"size": [2, 3], "counts": b"o"}, "too early"),
        ({"size": [2, 3], "counts": 6}, "list or text"),
        ({"size": [2**20, 2**20], "counts": [2**40]}, "too large"),
    ],
)
def test_decode_rle_refuses(code, words):
    with pytest.raises(ValueError, match=words):
        rle.decode_rle(code)
