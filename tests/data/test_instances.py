"""Instances are kept inside their boxes: the same pixels as whole masks, in less memory."""

import cv2
import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.data.annotations import Annotations, Image, Instance, Polygons
from mrcnn.data.augment import Augmenter, move, move_region
from mrcnn.data.dataset import Dataset
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.data.instances import SourceMasks, from_labels, from_masks
from mrcnn.data.sample import load_sample
from mrcnn.images.fit import plan_fit, resize
from mrcnn.images.masks import mask_bounds, scale_mask
from mrcnn.images.rle import masks_to_rles


def blobs(rng, height, width, count):
    """Filled ellipses, some across the edge."""
    masks = np.zeros((count, height, width), np.uint8)
    for mask in masks:
        center = rng.integers(0, width), rng.integers(0, height)
        axes = rng.integers(4, max(height, width) // 3, 2)
        cv2.ellipse(mask, center, axes.tolist(), float(rng.uniform(0, 180)), 0, 360, 1, -1)
    masks = masks[masks.any(axis=(1, 2))]
    return np.moveaxis(masks, 0, -1).astype(bool)


def scaled_whole(mask, plan):
    """Scales one whole mask, as the pipeline did before it kept masks inside their boxes."""
    (y, x), (height, width) = plan.offset, plan.valid_shape
    soft = resize(mask.astype(np.uint8) * np.uint8(255), plan.scaled_shape)
    return soft[y : y + height, x : x + width] >= 128


@pytest.mark.parametrize(
    "shape, side",
    [((300, 400), 128), ((256, 512), 64), ((333, 257), 100), ((97, 61), 90), ((60, 80), 128)],
)
@pytest.mark.parametrize("mode", ["square", "crop", "pad64"])
def test_masks_inside_their_boxes_are_scaled_like_whole_ones(shape, side, mode):
    rng = np.random.default_rng(sum(shape))
    masks = blobs(rng, *shape, 12)
    class_ids = np.arange(masks.shape[-1]) + 1
    for factor in (1.0, 0.37, 1.6):
        options = {"min_dim": side, "max_dim": side, "scale_factor": factor, "crop_rng": rng}
        plan = plan_fit(shape, mode=mode, **options)
        known = [scaled_whole(masks[..., i], plan) for i in class_ids - 1]
        for source in (
            SourceMasks.from_stack(masks, class_ids),
            SourceMasks.from_rles(masks_to_rles(masks), class_ids, shape),
        ):
            found = from_masks(source, plan)
            kept = found.class_ids[~found.thin]
            assert set(np.flatnonzero([k.any() for k in known]) + 1) >= set(kept.tolist())
            whole = found.full_masks(plan.valid_shape) > 0
            for class_id, mask, box, thin in zip(
                found.class_ids, whole, found.boxes, found.thin, strict=True
            ):
                if not thin:
                    np.testing.assert_array_equal(mask, known[class_id - 1])
                assert box.tolist() == list(mask_bounds(mask))
            missing = set(class_ids.tolist()) - set(found.class_ids.tolist())
            assert not any(known[i - 1].any() for i in missing)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("left_right, up_down", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_regions_and_masks_move_as_arrays(turns, left_right, up_down):
    rng = np.random.default_rng(0)
    masks = blobs(rng, 40, 57, 5)
    moves = (left_right, up_down, turns)
    moved = SourceMasks.from_stack(masks, np.arange(masks.shape[-1]) + 1).moved(*moves)
    expected = move(masks, *moves)
    assert moved.shape == expected.shape[:2]
    np.testing.assert_array_equal(moved.stack(), expected)
    region = mask_bounds(masks[..., 0])
    assert move_region(region, (40, 57), *moves) == mask_bounds(expected[..., 0])


# --- Thin objects --------------------------------------------------------------------------------
def lines(side=2048):
    """Twenty straight lines, 1 to 3 pixels wide, in every direction."""
    masks = np.zeros((20, side, side), np.uint8)
    for n, mask in enumerate(masks):
        start = (50 + 97 * n % 1900, 40 + 53 * n % 1900)
        angle = 0.31 * n
        end = (start[0] + round(300 * np.cos(angle)), start[1] + round(300 * np.sin(angle)))
        cv2.line(mask, start, end, 1, 1 + n % 3)
    return np.moveaxis(masks, 0, -1).astype(bool)


def test_thin_objects_stay_in_both_paths():
    masks = lines()
    class_ids = np.arange(masks.shape[-1]) + 1
    labels = np.zeros(masks.shape[:2], np.int32)
    for n in class_ids:
        labels[masks[..., n - 1]] = n
    plan = plan_fit(masks.shape, mode="square", min_dim=256, max_dim=256)
    for found in (
        from_masks(SourceMasks.from_stack(masks, class_ids), plan),
        from_labels(labels, class_ids, plan),
    ):
        assert found.class_ids.tolist() == class_ids.tolist()
        for class_id, (y1, x1, y2, x2), crop in zip(
            found.class_ids, found.boxes, found.crops, strict=True
        ):
            top, left, bottom, right = mask_bounds(masks[..., class_id - 1])
            assert crop.any() and y1 > top / 8 - 1.1 and x1 > left / 8 - 1.1
            assert y2 < bottom / 8 + 1.1 and x2 < right / 8 + 1.1


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (56, 56)])
def test_a_scaled_mask_never_becomes_empty(shape):
    mask = np.zeros((1500, 1700), bool)
    mask[700, 801] = True
    soft, thin = scale_mask(mask, shape)
    assert soft.max() == 255 and thin
    y, x = np.argwhere(soft)[0]
    assert y == 700 * shape[0] // 1500 and x == 801 * shape[1] // 1700


def test_boxes_of_less_than_a_pixel_stay():
    class Boxes(Dataset):
        def load_boxes(self, image_id):
            boxes = [[3.2, 4.1, 3.4, 9], [7.6, 7.6, 7.9, 7.9], [-5, -5, -1, -1], [2, 2, 5, 6.4]]
            return np.array(boxes, np.float32), np.array([1, 1, 1, 1])

        def load_image(self, image_id):
            return np.zeros((8, 8, 3), np.uint8)

    dataset = Boxes()
    dataset.add_class("s", 1, "c")
    dataset.add_image("s", 0, None)
    dataset.prepare()
    settings = Config(NUM_CLASSES=2, USE_MASKS=False, IMAGE_RESIZE_MODE="none")
    sample = load_sample(dataset, settings, 0)
    assert sample["input_gt_class_ids"].sum() == 3
    assert sample["input_gt_boxes"][:3].tolist() == [[3, 4, 4, 8], [7, 7, 8, 8], [2, 2, 5, 6]]


@pytest.mark.parametrize("angle", np.linspace(0, np.pi, 7))
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_mini_mask_keeps_a_line(angle, width):
    mask = np.zeros((400, 400), np.uint8)
    end = (200 + round(190 * np.cos(angle)), 200 + round(190 * np.sin(angle)))
    cv2.line(mask, (200, 200), end, 1, width)
    y1, x1, y2, x2 = mask_bounds(mask)
    crop = mask[y1:y2, x1:x2].astype(bool)
    mini = scale_mask(crop, (56, 56))[0] >= 128
    # Every pixel of the line lies in a cell of the mini-mask that is inside, or beside one.
    ys, xs = np.nonzero(crop)
    near = cv2.dilate(mini.astype(np.uint8), np.ones((3, 3), np.uint8))
    share = near[ys * 56 // crop.shape[0], xs * 56 // crop.shape[1]].mean()
    assert share == 1 and mini.sum() >= 20


# --- Memory --------------------------------------------------------------------------------------
def many(count=30, side=400):
    """A record of one image with small squares, and no image file."""
    rng = np.random.default_rng(0)
    instances = []
    for n in range(count):
        y, x = rng.integers(0, side - 20, 2)
        points = [[x, y, x + 9, y, x + 9, y + 12, x, y + 12]]
        instances.append(Instance(1, shape=Polygons(points), name=f"annotation {n}"))
    return Annotations("made", [(1, "c")], [Image(1, None, side, side, instances)])


def test_no_stack_is_built_for_training_and_evaluation(monkeypatch):
    from mrcnn.data.annotated import AnnotatedDataset

    class Imageless(AnnotatedDataset):
        def load_image(self, image_id):
            return np.zeros((400, 400, 3), np.uint8)

    dataset = Imageless.from_annotations(many())
    settings = Config(NUM_CLASSES=2, IMAGE_MIN_DIM=128, IMAGE_MAX_DIM=128)
    masks, class_ids = dataset.load_mask(0)
    plain = SourceMasks.from_stack(masks, class_ids)
    known = from_masks(plain, plan_fit((400, 400), mode="square", min_dim=128, max_dim=128))

    def refuse(*arguments):
        raise AssertionError("a stack of masks was built")

    monkeypatch.setattr(AnnotatedDataset, "load_mask", refuse)
    monkeypatch.setattr(SourceMasks, "stack", refuse)
    sample = load_sample(dataset, settings, 0)
    np.testing.assert_array_equal(sample["input_gt_boxes"][:30], known.boxes)
    np.testing.assert_array_equal(sample["input_gt_masks"][:30], known.mini_masks((56, 56)))
    flipped = load_sample(dataset, settings, 0, Augmenter(fliplr=1, rot90=1))
    assert (flipped["input_gt_class_ids"] == 1).sum() == 30
    truth = coco_ground_truth(dataset)["annotations"]
    assert [a["area"] for a in truth] == masks.sum(axis=(0, 1)).tolist()


def test_masks_that_cover_too_much_are_refused(monkeypatch):
    from mrcnn.data import annotations as record
    from mrcnn.data import instances as limits

    dataset = Dataset.from_annotations(many())
    monkeypatch.setattr(limits, "MAX_MASK_PIXELS", 2000)
    monkeypatch.setattr(record, "MAX_STACK_BYTES", 10**6)
    dataset.load_image = lambda image_id: np.zeros((400, 400, 3), np.uint8)
    with pytest.raises(ValueError, match="pixels together, more than 2000. Cut"):
        load_sample(dataset, Config(NUM_CLASSES=2), 0)
    with pytest.raises(ValueError, match="30 masks .*400x400.*1000000 bytes.*load_instances"):
        dataset.load_mask(0)
