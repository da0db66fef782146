import logging
import random

import fixtures
import numpy as np
import pytest
from fixtures import CAT, DOG, HEIGHT, WIDTH, kaggle_code, mask, text

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.data.formats import csv_rle
from mrcnn.images.rle import mask_to_rle

BOTH = np.stack([mask(CAT), mask(DOG)], axis=-1)


def masks_of(found, image_id=0):
    return AnnotatedDataset.from_annotations(found).load_mask(image_id)


@pytest.mark.parametrize(
    "layout, classes, count",
    [
        ("csv_rle: ships", [(1, "object")], 2),
        ("csv_rle: steel", [(1, "1"), (2, "2")], 2),
        ("csv_rle: fashion", [(6, "6"), (23, "23")], 1),
    ],
)
def test_layouts(tmp_path, layout, classes, count):
    found = csv_rle.read(fixtures.FIXTURES[layout](tmp_path))
    assert found.classes == classes and len(found.images) == count
    assert (found.images[0].height, found.images[0].width) == (HEIGHT, WIDTH)
    masks, class_ids = masks_of(found)
    np.testing.assert_array_equal(masks, BOTH)
    assert class_ids.tolist() == [1, len(classes)]
    if count == 2:
        assert masks_of(found, 1)[0].shape == (HEIGHT, WIDTH, 0)


def test_a_code_by_hand(tmp_path):
    fixtures.image(tmp_path / "a.png", 3, 4)
    text(tmp_path / "a.csv", 'id,rle\n"a.png",11 2 1 1 2 3\n')  # 1, 2 to 4, 11 and 12
    (instance,) = csv_rle.read(tmp_path).images[0].instances
    (shown,) = masks_of(csv_rle.read(tmp_path))[0].transpose(2, 0, 1).astype(int)
    assert shown.tolist() == [[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 1]]
    assert instance.name == "line 2"
    (shown,) = masks_of(csv_rle.read(tmp_path, order="rows"))[0].transpose(2, 0, 1).astype(int)
    assert shown.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]
    with pytest.raises(ValueError, match="order must be"):
        csv_rle.read(tmp_path, order="both")


def test_the_folders_of_the_data_science_bowl(tmp_path):
    fixtures.image(tmp_path / "stage1_train" / "0f" / "images" / "0f.png")
    file = text(tmp_path / "labels.csv", f"ImageId,EncodedPixels\n0f,{kaggle_code(CAT)}\n")
    found = formats.read(file, images=tmp_path / "stage1_train", class_name="nucleus")
    assert found.classes == [(1, "nucleus")]
    np.testing.assert_array_equal(masks_of(found)[0], BOTH[..., :1])


def test_classes_are_texts_or_numbers(tmp_path):
    fixtures.images(tmp_path)
    rows = [
        f"a.png_{name},{code}" for name, code in (("Fish", "1 5"), ("Sugar", ""), ("10", "9 9"))
    ]
    text(tmp_path / "a.csv", "\n".join(["Image_Label,EncodedPixels", *rows, "b.png_2,", ""]))
    assert csv_rle.read(tmp_path).classes == [
        (2, "2"),
        (10, "10"),
        ("Fish", "Fish"),
        ("Sugar", "Sugar"),
    ]


@pytest.mark.parametrize("code", ["", " ", "nan", "NaN", "-1", " -1"])
def test_codes_of_no_object(tmp_path, code):
    fixtures.images(tmp_path)
    text(tmp_path / "a.csv", f"ImageId,EncodedPixels\na.png,{code}\n")
    assert [image.instances for image in csv_rle.read(tmp_path).images] == [[]]


def test_codes_longer_than_the_csv_module_reads(tmp_path):
    fixtures.image(tmp_path / "a.png", 300, 300)
    code = " ".join(f"{start} 1" for start in range(1, 90_000, 2))
    assert len(code) > 2**18
    text(tmp_path / "a.csv", f"ImageId,EncodedPixels\na.png,{code}\n")
    assert masks_of(csv_rle.read(tmp_path))[0].sum() == 45_000


def test_round_trip(tmp_path, caplog):
    rng = np.random.default_rng(6)
    records = []
    for index, (height, width) in enumerate([(20, 30), (37, 53), (1, 1), (4, 4)]):
        path = fixtures.image(tmp_path / "in" / str(index) / "same.png", height, width)
        masks = rng.random((8, height, width)) > [[[0.5]]]
        masks[0] = True
        masks[1:, -1, -1] = True
        shapes = [Rle([height, width], mask_to_rle(found)["counts"]) for found in masks]
        instances = [Instance(3 - n % 2, shape=shape) for n, shape in enumerate(shapes)]
        records.append(Image(index, str(path), height, width, instances))
    records.append(Image(9, str(fixtures.image(tmp_path / "in" / "none.png")), HEIGHT, WIDTH))
    before = Annotations("x", [(1, "unused"), (2, 'z "1", a'), (3, "b")], records)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        csv_rle.write(before, tmp_path / "out.csv")
    assert "without an instance are left out: ['unused']" in caplog.text
    found = formats.read(tmp_path / "out.csv", images=tmp_path / "in")
    assert found.classes == [(2, 'z "1", a'), (3, "b")]
    assert [image.id for image in found.images] == [f"{i}/same.png" for i in range(4)] + [
        "none.png"
    ]
    for index in range(5):
        masks, class_ids = masks_of(before, index)
        found_masks, found_ids = masks_of(found, index)
        np.testing.assert_array_equal(masks, found_masks)
        np.testing.assert_array_equal(class_ids, found_ids + 1)
    # sizes and names are in the file, so that the images may be elsewhere
    (tmp_path / "empty").mkdir()
    assert len(csv_rle.read(tmp_path / "out.csv", images=tmp_path / "empty").images) == 5


def test_what_it_cannot_hold_is_refused(tmp_path):
    path = str(fixtures.image(tmp_path / "a.png"))
    for words, instance in {
        "cannot mark crowds": Instance(1, crowd=True),
        "it has no mask": Instance(1, box=CAT),
    }.items():
        record = Image(1, path, HEIGHT, WIDTH, [instance])
        with pytest.raises(ValueError, match=words):
            csv_rle.write(Annotations("x", [(1, "c")], [record]), tmp_path / "out.csv")
    with pytest.raises(ValueError, match="no file"):
        csv_rle.write(Annotations("x", [(1, "c")], [Image(1, None)]), tmp_path / "out.csv")


@pytest.mark.parametrize(
    "row, words",
    [
        ("a.png,1 2 3,1", "pairs of first pixel and length"),
        ("a.png,0 2,1", "pairs of first pixel and length"),
        ("a.png,5 0,1", "pairs of first pixel and length"),
        ("a.png,5 -2,1", "pairs of first pixel and length"),
        ("a.png,1 2.5,1", "more than numbers"),
        ("a.png,one two,1", "more than numbers"),
        ("a.png," + "9" * 5000 + " 1,1", "more than numbers"),
        ("a.png,1 9223372036854775807,1", "leaves the image"),
        ("a.png,600 2,1", "leaves the image of 20x30"),
        ("a.png,1 5 3 1,1", "a pixel twice"),
        ("a.png,1 5,", "no class"),
        (",1 5,1", "names no image"),
        ("a.png,1 5", "expected 3 cells, got 2"),
        ("c.png,1 5,1", "no image 'c.png' in"),
        ("../secret/c.png,1 5,1", "leaves the image folder"),
        ("/etc/passwd,1 5,1", "leaves the image folder"),
        ("C:\\c.png,1 5,1", "leaves the image folder"),
        ("x" * 300_000 + ",1 5,1", "cannot be the name of a file"),
    ],
)
def test_damaged_and_hostile_rows(tmp_path, row, words):
    fixtures.image(tmp_path / "secret" / "c.png")
    folder = tmp_path / "set"
    fixtures.images(folder)
    text(folder / "x.csv", f"ImageId,EncodedPixels,ClassId\na.png,1 5,1\n{row}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=rf"x\.csv.*{words}") as caught:
        csv_rle.read(folder)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "content, words",
    [
        ("ImageId,Pixels\na.png,1 2\n", "needs columns"),
        ("", "needs columns"),
        ("ImageId,EncodedPixels\n\n", "no rows"),
        ("ImageId,EncodedPixels,Height,Width\na.png,1 2,99999,99999\n", "more than"),
        ("ImageId,EncodedPixels,Height,Width\na.png,1 2,-5,5\n", "height must be"),
        ("ImageId,EncodedPixels,Height,Width\na.png,1 2," + "9" * 5000 + ",5\n", "height must be"),
        ("ImageId,EncodedPixels,Height,Width\na.png,1 2,²,5\n", "height must be"),
        (
            "ImageId,EncodedPixels,ClassId,ClassName\na.png,1 2,1,a\na.png,1 2,1,b\n",
            "several names",
        ),
    ],
)
def test_damaged_files(tmp_path, content, words):
    fixtures.images(tmp_path)
    with pytest.raises(ValueError, match=rf"x\.csv.*{words}"):
        csv_rle.read(text(tmp_path / "x.csv", content))


def test_several_files_and_images_of_one_name_are_refused(tmp_path):
    folder = fixtures.csv_rle_ships(tmp_path)
    fixtures.image(folder / "other" / "a.jpg")
    with pytest.raises(ValueError, match="line 2: 'a.jpg' fits .* and "):
        csv_rle.read(folder)
    text(folder / "more.csv", "ImageId,EncodedPixels\n")
    with pytest.raises(ValueError, match=r"found more\.csv, train_ship.*Name the file"):
        csv_rle.read(folder)


@pytest.mark.parametrize("link", ["train_v2/a.jpg", "train_ship_segmentations_v2.csv"])
def test_links_that_lead_outside_are_refused(tmp_path, link):
    secret = fixtures.csv_rle_ships(tmp_path / "secret")
    folder = fixtures.csv_rle_ships(tmp_path / "set")
    (folder / link).unlink()
    (folder / link).symlink_to(secret / link)
    with pytest.raises(ValueError, match="leads out of the folder"):
        csv_rle.read(folder)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    folder = fixtures.csv_rle_fashion(tmp_path)
    file = folder / "train.csv"
    rng = random.Random(5)
    original = file.read_bytes()
    for _ in range(300):
        damaged = bytearray(original)
        for _ in range(rng.randint(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        file.write_bytes(bytes(damaged[: rng.choice([len(damaged), rng.randrange(99)])]))
        try:
            csv_rle.read(file)
        except (ValueError, FileNotFoundError) as error:
            assert str(folder) in str(error)
