import cv2
import numpy as np
import pytest

from mrcnn.data.synthetic.shapes import STYLES, ShapesDataset, visible_masks
from mrcnn.images.masks import boxes_from_masks


@pytest.mark.parametrize("style", STYLES)
def test_an_image_and_its_masks(style):
    dataset = ShapesDataset(6, 96, 150, seed=1, style=style)
    assert dataset.class_names == ["BG", "square", "circle", "triangle"]
    for image_id in dataset.image_ids:
        image = dataset.load_image(image_id)
        masks, class_ids = dataset.load_mask(image_id)
        assert image.shape == (96, 150, 3) and image.dtype == np.uint8
        assert masks.shape == (96, 150, len(class_ids)) and masks.dtype == bool
        assert class_ids.dtype == np.int32 and set(class_ids) <= {1, 2, 3}
        assert masks.any(axis=(0, 1)).all()  # hidden objects are left out
        assert masks.sum(axis=-1).max() <= 1  # later objects hide earlier ones


@pytest.mark.parametrize("style", STYLES)
def test_deterministic_per_seed_and_image(style):
    first = ShapesDataset(4, seed=3, style=style)
    again = ShapesDataset(2, seed=3, style=style)
    np.testing.assert_array_equal(first.load_image(1), again.load_image(1))
    np.testing.assert_array_equal(first.load_mask(1)[0], again.load_mask(1)[0])
    assert (first.load_image(0) != first.load_image(1)).any()
    assert (first.load_image(0) != ShapesDataset(1, seed=4, style=style).load_image(0)).any()
    ids = {info["id"] for info in first.image_info}
    assert not ids & {info["id"] for info in ShapesDataset(4, seed=4, style=style).image_info}


def test_a_caller_cannot_spoil_the_cache():
    dataset = ShapesDataset(1)
    image = dataset.load_image(0)
    image_before = image.copy()
    image[:] = 0
    dataset.load_mask(0)[0][:] = False
    np.testing.assert_array_equal(dataset.load_image(0), image_before)
    assert dataset.load_mask(0)[0].any()


def test_plain_is_the_benchmark_setting():
    dataset = ShapesDataset(120, seed=5)
    counts, noise, sides = [], [], []
    for image_id in dataset.image_ids:
        image, (masks, class_ids) = dataset.load_image(image_id), dataset.load_mask(image_id)
        counts.append(len(class_ids))
        near = cv2.dilate(masks.any(axis=-1).astype(np.uint8), np.ones((5, 5))) > 0  # soft edges
        ground = image[~near].astype(float)
        middle = [c for c in ground.T if 40 < c.mean() < 215]  # not clipped
        noise += [channel.std() for channel in middle]
        boxes = boxes_from_masks(masks)
        inside = (boxes[:, :2] > 0).all(1) & (boxes[:, 2:] < 128).all(1)
        if len(class_ids) == 1 and inside.all():
            sides.append(boxes[0, 3] - boxes[0, 1])
    assert min(counts) >= 1 and max(counts) == 4
    assert np.median(noise) == pytest.approx(8, abs=0.2)
    assert 22 <= min(sides) and max(sides) <= 66 and np.ptp(sides) > 20


def test_coins_are_many_circles():
    dataset = ShapesDataset(20, 303, 384, seed=2, style="coins")
    counts = []
    for image_id in dataset.image_ids:
        class_ids = dataset.load_mask(image_id)[1]
        counts.append(len(class_ids))
        image = dataset.load_image(image_id)
        assert set(class_ids) == {2} and (image == image[..., :1]).all()
    assert min(counts) >= 5 and max(counts) <= 30 and max(counts) > 15


def test_visible_masks_leaves_hidden_objects_out():
    alphas = [((0, 0, 2, 2), np.ones((2, 2))), ((0, 0, 3, 3), np.ones((3, 3)))]
    masks, class_ids = visible_masks(alphas, [1, 3], (4, 4))
    assert class_ids.tolist() == [3] and masks.sum() == 9


def test_any_count_and_refusals():
    assert ShapesDataset(0).num_images == 0
    with pytest.raises(ValueError, match="'cubes'"):
        ShapesDataset(1, style="cubes")
    with pytest.raises(ValueError, match="16 pixels"):
        ShapesDataset(1, height=8)
    for style in STYLES:  # smallest images
        ShapesDataset(3, 16, 17, style=style).load_mask(2)
