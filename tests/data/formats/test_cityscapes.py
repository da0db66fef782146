import json
import logging
import random

import fixtures
import numpy as np
import pytest
from fixtures import CAT, CITY_OBJECTS, DOG, HEIGHT, WIDTH, mask
from PIL import Image as PillowImage

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.data.formats import cityscapes
from mrcnn.images.rle import mask_to_rle

AACHEN = "aachen_000000_000019"
EIGHT = ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
HUGE = {"label": "road", "polygon": [[-5000, -5000], [9000, -5000], [9000, 9000]]}
POLE = mask((0, 14, 20, 16))
CROWD = mask((16, 0, 20, 10))


def masks_of(found, image_id=0):
    return AnnotatedDataset.from_annotations(found).load_mask(image_id)


def polygons_alone(folder):
    for file in folder.rglob("*_instanceIds.png"):
        file.unlink()
    return folder


def check_scene(found):
    masks, class_ids = masks_of(found)
    shown = {class_id: masks[..., i] for i, class_id in enumerate(class_ids.tolist())}
    assert sorted(shown) == [-3, 1, 3]  # a group of cars, a person, a car
    np.testing.assert_array_equal(shown[1], mask(DOG) & ~POLE)
    np.testing.assert_array_equal(shown[3], mask(CAT))
    np.testing.assert_array_equal(shown[-3], CROWD)


def test_instance_ids(tmp_path):
    found = cityscapes.read(fixtures.cityscapes_fine(tmp_path))
    assert [name for _, name in found.classes] == EIGHT and found.classes[2] == (26, "car")
    assert [image.id for image in found.images] == [AACHEN, "lindau_000001_000019"]
    check_scene(found)
    assert masks_of(found, 1)[0].shape == (HEIGHT, WIDTH, 0)
    assert masks_of(cityscapes.read(tmp_path, crowds="objects"))[1].tolist() == [3, 1, 3]


def test_polygons_are_drawn_like_the_instance_ids(tmp_path):
    found = cityscapes.read(polygons_alone(fixtures.cityscapes_fine(tmp_path)))
    assert found.images[0].file.endswith("_polygons.json")
    check_scene(found)


def test_parts_of_the_data_set(tmp_path):
    folder = fixtures.cityscapes_fine(tmp_path)
    for path in (folder / "gtFine", folder / "gtFine" / "train", folder / "gtFine/train/aachen"):
        assert formats.read(path).images[0].id == AACHEN
    for split in ("train", "val", "test"):
        (record,) = cityscapes.read(folder, split=split).images
        assert f"/{split}/" in record.path
    with pytest.raises(ValueError, match="no annotations of Cityscapes"):
        cityscapes.read(folder, split="extra")
    (folder / "leftImg8bit").rename(tmp_path / "images")
    assert len(cityscapes.read(folder, images=tmp_path / "images").images) == 2
    (tmp_path / "images" / "val" / "lindau" / "lindau_000001_000019_leftImg8bit.png").unlink()
    with pytest.raises(FileNotFoundError, match="no image lindau_000001_000019_leftImg8bit.png"):
        cityscapes.read(folder, images=tmp_path / "images")


def test_objects_of_two_points_are_counted_once(tmp_path, caplog):
    folder = polygons_alone(fixtures.cityscapes_fine(tmp_path))
    objects = [*CITY_OBJECTS, {"label": "rider", "polygon": [[1, 1], [2, 2]]}]
    objects.append({"label": "bus", "polygon": []})
    rewrite(folder, {"objects": objects})
    with caplog.at_level(logging.WARNING, "mrcnn"):
        check_scene(cityscapes.read(folder))
    (record,) = caplog.records
    assert "2 objects have fewer than 3 points" in record.getMessage()
    assert "rider (object 9), bus (object 10)" in record.getMessage()


def rewrite(folder, changes):
    file = folder / "gtFine" / "train" / "aachen" / f"{AACHEN}_gtFine_polygons.json"
    data = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))


def test_round_trip(tmp_path):
    rng = np.random.default_rng(7)
    records = []
    for index, name in enumerate(["aachen_000000_000019_leftImg8bit.png", "street.jpg"]):
        path = fixtures.image(tmp_path / "in" / name)
        numbers = rng.integers(0, 9, (HEIGHT, WIDTH))
        numbers[0, :9] = np.arange(9)
        instances = [
            Instance(n % 2 + 1, n == 5, shape=Rle([20, 30], mask_to_rle(numbers == n)["counts"]))
            for n in range(1, 9)
        ]
        records.append(Image(index, str(path), HEIGHT, WIDTH, instances))
    before = Annotations("x", [(1, "car"), (2, "bicycle")], records)
    cityscapes.write(before, tmp_path / "out")
    found = formats.read(tmp_path / "out")
    assert [image.id for image in found.images] == [AACHEN, "street"]
    for index in range(2):
        masks, class_ids = masks_of(before, index)
        found_masks, found_ids = masks_of(found, index)
        expected = np.where(class_ids == 1, 3, 8) * np.where(class_ids == -2, -1, 1)
        expected[np.abs(class_ids) == 1] = 3
        order = sorted(range(8), key=lambda i: (expected[i] > 0, expected[i], i))
        np.testing.assert_array_equal(found_ids, expected[order])
        np.testing.assert_array_equal(found_masks, masks[..., order])


def test_what_it_cannot_hold_is_refused(tmp_path):
    path = str(fixtures.image(tmp_path / "a.png", 32, 40))
    for words, name, instances in (
        ("has the classes person, .* not \\['dog'\\]", "dog", []),
        ("it has no mask", "car", [Instance(1, box=CAT)]),
    ):
        record = Image(1, path, 32, 40, instances)
        with pytest.raises(ValueError, match=words):
            cityscapes.write(Annotations("x", [(1, name)], [record]), tmp_path / "out")
    many = []
    for index in range(1001):
        pixel = np.zeros((32, 40), bool)
        pixel.flat[index] = True
        many.append(Instance(1, shape=Rle([32, 40], mask_to_rle(pixel)["counts"])))
    with pytest.raises(ValueError, match="more than 1000 instances"):
        record = Image(1, path, 32, 40, many)
        cityscapes.write(Annotations("x", [(1, "car")], [record]), tmp_path / "out")


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"objects": None}, "objects"),
        ({"objects": 5}, "must be a list"),
        ({"objects": [5]}, "object 1 .*no label"),
        ({"objects": [{"label": 5}]}, "object 1 .*no label"),
        ({"objects": [{"label": "car"}]}, "object 1 .*polygon"),
        ({"objects": [{"label": "car", "polygon": "x"}]}, "object 1 .*polygon"),
        ({"objects": [{"label": "car", "polygon": [[1, 2], [3]]}]}, "object 1 .*polygon"),
        ({"objects": [{"label": "car", "polygon": [1, 2, 3]}]}, "object 1 .*polygon"),
        ({"objects": [{"label": "car", "polygon": [[1, 10**400]]}]}, "object 1 .*polygon"),
        ({"objects": [{"label": "car", "polygon": [[1, float("nan")]]}]}, "object 1 .*polygon"),
        ({"objects": [HUGE] * 400, "imgHeight": 4096, "imgWidth": 4096}, "object 15 .*together"),
        ({"imgHeight": 99_999, "imgWidth": 99_999}, "more than"),
        ({"imgHeight": -1}, "whole numbers"),
        ({"imgHeight": "20"}, "whole numbers"),
        ({"imgHeight": None}, "imgHeight"),
    ],
)
def test_damaged_and_hostile_polygons(tmp_path, changes, words):
    folder = polygons_alone(fixtures.cityscapes_fine(tmp_path))
    rewrite(folder, changes)
    with pytest.raises(ValueError, match=rf"{AACHEN}_gtFine_polygons\.json.*{words}") as caught:
        cityscapes.read(folder)
    assert len(str(caught.value)) < 1200


def test_far_points_cost_nothing(tmp_path):
    folder = polygons_alone(fixtures.cityscapes_fine(tmp_path))
    far = {"label": "car", "polygon": [[-1e300, -1e300], [1e300, -1e300], [0, 1e300]]}
    rewrite(folder, {"objects": [far]})
    assert masks_of(cityscapes.read(folder))[0].any()


@pytest.mark.parametrize("kind", ["truncated", "color", "text", "float"])
def test_damaged_instance_ids(tmp_path, kind):
    folder = fixtures.cityscapes_fine(tmp_path)
    file = folder / "gtFine" / "train" / "aachen" / f"{AACHEN}_gtFine_instanceIds.png"
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-30])
    elif kind == "color":
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        PillowImage.fromarray(noise).save(file)
    elif kind == "text":
        file.write_text("[]")
    else:
        PillowImage.fromarray(np.ones((HEIGHT, WIDTH), np.float32)).save(file, "TIFF")
    with pytest.raises(ValueError, match=f"{AACHEN}_gtFine_instanceIds.png"):
        cityscapes.read(folder)


@pytest.mark.parametrize("link", ["leftImg8bit/train/aachen", "gtFine/train/aachen"])
def test_links_that_lead_outside_are_refused(tmp_path, link):
    secret = fixtures.cityscapes_fine(tmp_path / "secret")
    folder = fixtures.cityscapes_fine(tmp_path / "set")
    (folder / link).rename(tmp_path / "old")
    (folder / link).symlink_to(secret / link)
    with pytest.raises(ValueError, match="leads out of the folder"):
        cityscapes.read(folder)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    folder = polygons_alone(fixtures.cityscapes_fine(tmp_path))
    file = folder / "gtFine" / "train" / "aachen" / f"{AACHEN}_gtFine_polygons.json"
    rng = random.Random(5)
    original = file.read_bytes()
    for _ in range(200):
        damaged = bytearray(original)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file.write_bytes(bytes(damaged[: rng.choice([len(damaged), rng.randrange(99)])]))
        try:
            cityscapes.read(folder)
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error)
