"""COCO files from annotation tools: crowds, flat polygons, EXIF orientation, foreign paths."""

import json
import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.data.formats.coco import CocoDataset
from mrcnn.images.files import read_image

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]


def write(folder, annotations, images=None, height=8, width=10):
    """Writes an instances file without images."""
    images = images or [{"id": 1, "file_name": "a.png", "height": height, "width": width}]
    listed = [
        {"id": number, "image_id": 1, "category_id": 1, **entry}
        for number, entry in enumerate(annotations, 1)
    ]
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "dish"}]
    path = folder / "instances.json"
    content = {"images": images, "annotations": listed, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def image_file(path, shape=(8, 10, 3), value=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(shape, value, np.uint8))
    return path


# --- Crowds --------------------------------------------------------------------------------------
def test_only_crowds_give_a_warning_and_can_be_objects(tmp_path, caplog):
    path = write(tmp_path, [{"segmentation": [SQUARE], "iscrowd": 1}] * 3)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        dataset = CocoDataset.from_json(path, tmp_path)
    assert dataset.load_mask(0)[1].tolist() == [-1, -1, -1]
    for words in ("instances.json", "3 of 3", "iscrowd", "cell", 'crowds="objects"'):
        assert words in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        dataset = CocoDataset.from_json(path, tmp_path, crowds="objects")
    assert dataset.load_mask(0)[1].tolist() == [1, 1, 1] and not caplog.text
    assert dataset.load_boxes(0)[1].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="crowds must be 'ignore' or 'objects', got 'x'"):
        CocoDataset.from_json(path, tmp_path, crowds="x")


def test_one_class_of_crowds_is_said_and_a_crowd_beside_objects_is_not(tmp_path, caplog):
    entry = {"segmentation": [SQUARE]}
    both = [entry, {**entry, "iscrowd": 1}]
    with caplog.at_level(logging.WARNING, "mrcnn"):
        CocoDataset.from_json(write(tmp_path, both), tmp_path)
    assert not caplog.text
    with caplog.at_level(logging.WARNING, "mrcnn"):
        mixed = [*both, {**entry, "iscrowd": 1, "category_id": 2}]
        CocoDataset.from_json(write(tmp_path, mixed), tmp_path)
    assert "dish" in caplog.text and "cell" not in caplog.text


# --- Polygons ------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", [SQUARE, [[[2, 2], [6, 2], [6, 6], [2, 6]]]])
def test_a_polygon_in_another_nesting_is_read(tmp_path, form):
    expected = CocoDataset.from_json(write(tmp_path, [{"segmentation": [SQUARE]}]), tmp_path)
    dataset = CocoDataset.from_json(write(tmp_path, [{"segmentation": form}]), tmp_path)
    masks = dataset.load_mask(0)[0]
    assert masks.sum() == 16
    np.testing.assert_array_equal(masks, expected.load_mask(0)[0])


def test_a_list_of_points_is_read(tmp_path):
    points = [SQUARE[i : i + 2] for i in range(0, 8, 2)]
    dataset = CocoDataset.from_json(write(tmp_path, [{"segmentation": points}]), tmp_path)
    assert dataset.load_mask(0)[0].sum() == 16


# --- EXIF ----------------------------------------------------------------------------------------
def rotated_image(path, height=100, width=120):
    """Writes a JPEG with a red corner that viewers show rotated by 90 degrees."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:20, :20, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


def test_read_image_upright_or_as_stored(tmp_path):
    rotated_image(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape == (120, 100, 3)
    stored = read_image(tmp_path / "a.jpg", upright=False)
    assert stored.shape == (100, 120, 3) and stored[5, 5, 0] > 200


@pytest.mark.parametrize("height, width, corner", [(100, 120, (5, 5)), (120, 100, (5, 95))])
def test_an_exif_rotation_follows_the_declared_size(tmp_path, height, width, corner):
    rotated_image(tmp_path / "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg", "height": height, "width": width}]
    path = write(tmp_path, [{"segmentation": [SQUARE]}], images)
    dataset = CocoDataset.from_json(path, tmp_path)
    for _ in range(2):  # the second time from the cache
        image = dataset.load_image(0)
        assert image.shape[:2] == dataset.load_mask(0)[0].shape[:2] == (height, width)
        assert image[corner[0], corner[1], 0] > 200


def test_a_size_that_never_fits_is_explained(tmp_path):
    rotated_image(tmp_path / "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg", "height": 50, "width": 60}]
    dataset = CocoDataset.from_json(write(tmp_path, [], images), tmp_path)
    with pytest.raises(ValueError, match="instances.json.*a.jpg.*50x60.*120x100.*100x120"):
        dataset.load_image(0)


# --- File names ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name", ["sub\\a.png", "images\\sub\\a.png", "images/sub/a.png", "sub/a.png", "old/dir/b.png"]
)
def test_file_names_of_other_systems_are_found(tmp_path, name):
    folder = tmp_path / "images"
    expected = {image_file(folder / "sub" / "a.png"), image_file(folder / "b.png")}
    images = [{"id": 1, "file_name": name, "height": 8, "width": 10}]
    dataset = CocoDataset.from_json(write(tmp_path, [], images), folder)
    found = dataset.image_info[0]["path"]
    assert found in map(str, expected) and found.endswith(name[-5:])
    assert dataset.load_image(0).shape == (8, 10, 3)


def test_a_file_name_as_given_wins(tmp_path):
    folder = tmp_path / "images"
    image_file(folder / "images" / "a.png", value=90)
    image_file(folder / "a.png")
    images = [{"id": 1, "file_name": "images/a.png", "height": 8, "width": 10}]
    dataset = CocoDataset.from_json(write(tmp_path, [], images), folder)
    assert (dataset.load_image(0) == 90).all()


def test_a_file_name_that_fits_several_files_is_refused(tmp_path):
    folder = tmp_path / "images"
    image_file(folder / "sub" / "a.png")
    image_file(folder / "a.png")
    images = [{"id": 1, "file_name": "images/sub/a.png", "height": 8, "width": 10}]
    with pytest.raises(ValueError, match="instances.json: file_name 'images/sub/a.png' fits"):
        CocoDataset.from_json(write(tmp_path, [], images), folder)


def test_two_names_never_share_a_file(tmp_path):
    image_file(tmp_path / "a.png")
    images = [
        {"id": number, "file_name": f"{part}/a.png", "height": 8, "width": 10}
        for number, part in enumerate("xy", 1)
    ]
    with pytest.raises(ValueError, match="'x/a.png' and 'y/a.png'"):
        CocoDataset.from_json(write(tmp_path, [], images), tmp_path)


def test_a_missing_file_keeps_its_name(tmp_path):
    images = [{"id": 1, "file_name": "sub\\a.png", "height": 8, "width": 10}]
    dataset = CocoDataset.from_json(write(tmp_path, [], images), tmp_path)
    with pytest.raises(FileNotFoundError, match="a.png"):
        dataset.load_image(0)
