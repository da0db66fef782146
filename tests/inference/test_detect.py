import tracemalloc

import numpy as np
import pytest
from tiny import TinyConfig

from mrcnn import dialects
from mrcnn.data.classes import match_classes
from mrcnn.dialects.pixels import Frame
from mrcnn.images.fit import FittedImage
from mrcnn.inference import detect

RESULT = {
    "class_ids": np.array([3, 1, 2], "int32"),
    "scores": np.array([0.9, 0.8, 0.7], "float32"),
    "rois": np.arange(12).reshape(3, 4),
    "rles": ["a", "b", "c"],
}


@pytest.mark.parametrize(
    "ours, theirs, class_ids, rles",
    [
        (["BG", "person", "N/A", "cat"], ["BG", "cat", "person"], [1, 2], ["a", "b"]),  # by name
        (["BG", "class 1", "class 2", "class 3"], ["BG", "cat", "dog"], [1, 2], ["b", "c"]),
        (["BG", "x", "y", "z"], ["BG", "x", "y", "z"], [3, 1, 2], ["a", "b", "c"]),
        (["BG", "x"], ["BG", "x"], [1], ["b"]),  # fewer names than classes
        # names that do not identify a class
        (["BG", "x", "x", "x"], ["BG", "x", "x"], [1, 2], ["b", "c"]),
    ],
)
def test_classes_of_a_data_set(ours, theirs, class_ids, rles):
    found = detect.in_classes(RESULT, match_classes(ours, theirs))
    assert found["class_ids"].tolist() == class_ids and found["rles"] == rles
    assert len(found["scores"]) == len(found["rois"]) == len(rles)


def test_boxes_are_scaled_back_per_axis():
    """Sides used to be rounded: 97 x 150 became 799 x 1237 instead of 800 x 1237.1."""
    fitted = FittedImage(np.zeros((800, 1248, 3), "float32"), 8.247, (0, 0, 799, 1237), (0, 0))
    outputs = {"boxes": np.array([[0, 0, 799, 1237], [799, 0, 800, 9]], "float32")}
    (whole, outside), masks = Frame().restore(outputs, fitted, (97, 150))
    np.testing.assert_allclose(whole, [0, 0, 97, 150], atol=1e-4)
    assert outside is None and masks is None  # it lies in the padding


def test_rois_are_the_rounded_boxes():
    boxes = [np.array([0.4, 1.6, 2.2, 9.7]), None, np.array([5.1, 5.1, 5.2, 5.2])]
    outputs = {"class_ids": np.array([1, 2, 3]), "scores": np.array([0.9, 0.8, 0.7])}
    result = detect.to_result(outputs, boxes, None, (10, 10))
    assert result["rois"].tolist() == [[0, 2, 2, 10], [5, 5, 6, 6]]
    np.testing.assert_allclose(result["boxes"], [boxes[0], boxes[2]], atol=1e-6)
    assert result["class_ids"].tolist() == [1, 3]


@pytest.mark.parametrize("name, sides", [("torchvision", (80, 123)), ("detectron2", (80, 124))])
def test_images_are_fitted_as_the_dialect_does(name, sides):
    config = TinyConfig(
        NUMERICS=name, IMAGE_RESIZE_MODE="shortest_edge", IMAGE_MIN_DIM=80, IMAGE_MAX_DIM=133
    )
    image = np.full((97, 150, 3), 200, np.uint8)
    fitted = detect.fit_for_detection(image, config)
    assert fitted.image.shape == (96, 128, 3) and fitted.window == (0, 0, *sides)
    np.testing.assert_allclose(fitted.image[sides[0] :, 0], [config.MEAN_PIXEL] * (96 - sides[0]))
    assert dialects.named(name).frame.window(fitted).tolist() == [0, 0, *sides]


def nothing_found(pixels, windows):
    return {
        "boxes": np.zeros((len(pixels), 0, 4), "float32"),
        "class_ids": np.zeros((len(pixels), 0), "int32"),
        "scores": np.zeros((len(pixels), 0), "float32"),
    }


def test_a_long_list_is_not_copied():
    """160 images of 1024x1024 used to take 4.3 GB: all were converted before the first batch."""
    config = TinyConfig(IMAGE_MIN_DIM=256, IMAGE_MAX_DIM=256)
    images = [np.zeros((256, 256, 3), np.uint8)] * 80
    one = 256 * 256 * 3 * 4  # bytes of an image in the network
    tracemalloc.start()
    try:
        assert len(detect.detect(nothing_found, images, config, "rle")) == 80
        assert tracemalloc.get_traced_memory()[1] < 4 * config.BATCH_SIZE * one
    finally:
        tracemalloc.stop()


def test_images_of_one_shape_form_batches():
    config = TinyConfig(IMAGE_RESIZE_MODE="pad64", IMAGE_MIN_DIM=0, IMAGES_PER_GPU=2)
    sides = [(64, 64), (100, 20), (30, 40), (64, 1), (128, 64)]
    seen = []

    def predict(pixels, windows):
        seen.append((pixels.shape, pixels[:, 0, 0, 0].astype(int).tolist()))
        return nothing_found(pixels, windows)

    images = [np.full((*side, 3), i, np.uint8) for i, side in enumerate(sides)]
    results = detect.detect(predict, images, config)
    assert seen == [
        ((2, 64, 64, 3), [0, 2]),
        ((1, 64, 64, 3), [3]),
        ((2, 128, 64, 3), [1, 4]),
    ]
    assert [result["rois"].shape for result in results] == [(0, 4)] * 5


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((4, 0, 3)), 5, None])
def test_what_is_not_an_image_is_named_before_anything_is_computed(bad):
    images = [np.zeros((64, 64, 3), np.uint8), bad]
    with pytest.raises(ValueError, match=r"images\[1\]: expected an array \[height, width\]"):
        detect.detect(None, images, TinyConfig())
