import numpy as np
import pytest

from mrcnn.data.augment import Augmenter, move
from mrcnn.data.instances import SourceMasks, from_labels, from_masks
from mrcnn.images.fit import plan_fit
from mrcnn.images.masks import boxes_from_masks


def scene(rng, height, width, count):
    """Returns an image whose red channel numbers the instances, and their masks."""
    labels = np.zeros((height, width), np.uint8)
    for number in range(1, count + 1):
        y, x = rng.integers(0, height), rng.integers(0, width)
        labels[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = number
    masks = labels[..., None] == np.arange(1, count + 1)
    return np.repeat(labels[..., None], 3, 2), masks


def test_flips_and_rotations_are_reversible():
    rng = np.random.default_rng(0)
    image, _ = scene(rng, 13, 18, 5)
    np.testing.assert_array_equal(move(move(image, True, False, 0), True, False, 0), image)
    np.testing.assert_array_equal(move(move(image, False, True, 0), False, True, 0), image)
    turned = image
    for _ in range(4):
        turned = move(turned, False, False, 1)
    np.testing.assert_array_equal(turned, image)
    assert move(image, False, False, 1).shape == (18, 13, 3)


def test_certain_flips():
    rng = np.random.default_rng(0)
    image, masks = scene(rng, 13, 18, 5)
    flipped, flipped_masks = Augmenter(fliplr=1, flipud=1)(image, masks, rng)
    np.testing.assert_array_equal(flipped, image[::-1, ::-1])
    np.testing.assert_array_equal(flipped_masks, masks[::-1, ::-1])


@pytest.mark.parametrize("seed", range(40))
def test_random_augmentation_keeps_image_masks_and_ids_together(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 12))
    image, masks = scene(rng, int(rng.integers(5, 70)), int(rng.integers(5, 70)), count)
    augmenter = Augmenter(0.5, 0.5, 0.75, scale=(0.5, 2))
    turned, turned_masks = augmenter(image, masks, rng)
    mode = ("square", "crop", "pad64", "none")[seed % 4]
    plan = plan_fit(
        turned.shape,
        mode=mode,
        min_dim=64,
        max_dim=64,
        scale_factor=augmenter.draw_scale(rng),
        crop_rng=rng,
    )
    class_ids = np.arange(1, count + 1) * 10
    labels = turned[..., 0].astype(np.int32)
    for found in (
        from_masks(SourceMasks.from_stack(turned_masks, class_ids), plan),
        from_labels(labels, class_ids, plan),
    ):
        full = np.moveaxis(found.full_masks(plan.canvas_shape), 0, -1)
        np.testing.assert_array_equal(found.boxes, boxes_from_masks(full))
        assert (found.class_ids % 10 == 0).all() and len(set(found.class_ids)) == len(full.T)
        assert full.any(axis=(0, 1)).all()
        assert not full[plan.valid_shape[0] :].any() and not full[:, plan.valid_shape[1] :].any()
    # The image numbers its instances, so image and masks must agree after moving and cropping.
    plan = plan._replace(scaled_shape=turned.shape[:2], offset=(0, 0), valid_shape=turned.shape[:2])
    found = from_masks(SourceMasks.from_stack(turned_masks, class_ids), plan)
    for class_id, (y1, x1, y2, x2), crop in zip(*found[:3], strict=True):
        np.testing.assert_array_equal(crop, turned[y1:y2, x1:x2, 0] == class_id // 10)


def test_labels_and_masks_agree_at_scale_one_and_nearly_else():
    rng = np.random.default_rng(1)
    image, masks = scene(rng, 50, 60, 9)
    for factor in (1.0, 2.0, 3.0):
        plan = plan_fit((50, 60), mode="none", min_dim=0, max_dim=0, scale_factor=factor)
        a = from_masks(SourceMasks.from_stack(masks, np.arange(9) + 1), plan)
        b = from_labels(image[..., 0].astype(np.int32), np.arange(9) + 1, plan)
        np.testing.assert_array_equal(a.class_ids, b.class_ids)
        assert np.abs(a.boxes - b.boxes).max() <= factor // 2
    assert np.array_equal(plan.scaled_shape, (150, 180))


def test_one_pixel_object_survives_enlarging():
    masks = np.zeros((9, 9, 1), bool)
    masks[4, 5] = True
    plan = plan_fit((9, 9), mode="none", min_dim=0, max_dim=0, scale_factor=4)
    assert from_masks(SourceMasks.from_stack(masks, [1]), plan).boxes[0].tolist() == [
        16,
        20,
        20,
        24,
    ]


def test_brightness_and_contrast():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 9, 3), np.uint8)
    masks = np.zeros((9, 9, 0), bool)
    changed, _ = Augmenter(brightness=0.5, contrast=0.5)(image, masks, rng)
    assert changed.dtype == np.uint8 and (changed != image).any()
    floats, _ = Augmenter(brightness=0.5)(image.astype(np.float32), masks, rng)
    assert floats.dtype == np.float32 and floats.min() >= 0 and floats.max() <= 255
    same, _ = Augmenter()(image, masks, rng)
    np.testing.assert_array_equal(same, image)


def test_scale_is_log_uniform():
    rng = np.random.default_rng(0)
    factors = np.log([Augmenter(scale=(0.5, 2)).draw_scale(rng) for _ in range(2000)])
    assert abs(factors.mean()) < 0.05 and factors.min() > np.log(0.5)
    assert Augmenter().draw_scale(rng) == 1.0


@pytest.mark.parametrize("values", [{"fliplr": 2}, {"contrast": -1}, {"scale": (2, 1)}])
def test_refuses(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Augmenter(**values)
