import os
from pathlib import Path

import cv2
import fixtures
import numpy as np
import pytest
from fixtures import CAT, DOG, HEIGHT, WIDTH, mask

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.data.formats import mask_files
from mrcnn.images.rle import mask_to_rle


def masks_of(found, image_id=0):
    return AnnotatedDataset.from_annotations(found).load_mask(image_id)


def test_reads(tmp_path):
    folder = fixtures.mask_files_pycococreator(tmp_path)
    for path in (folder, folder / "annotations"):
        found = mask_files.read(path)
        assert found.classes == [(1, "cat"), (2, "dog")]
        assert [image.id for image in found.images] == ["a", "b"]
        masks, class_ids = masks_of(found)
        np.testing.assert_array_equal(masks, np.stack([mask(CAT), mask(DOG)], axis=-1))
        assert class_ids.tolist() == [1, 2]
        assert masks_of(found, 1)[0].shape == (HEIGHT, WIDTH, 0)
    elsewhere = tmp_path / "elsewhere"
    (folder / "pets_train2018").rename(elsewhere)
    assert len(mask_files.read(folder, images=elsewhere).images) == 2


def test_the_longest_image_name_wins():
    stems = {"a", "a_cat", "a_cat_dog_0"}
    assert mask_files._parse("a_cat_0", stems) == ("a", "cat", 0)
    assert mask_files._parse("a_cat_dog_0", stems) == ("a_cat", "dog", 0)
    assert mask_files._parse("a_hot_dog_12", stems) == ("a", "hot_dog", 12)
    for name in ("a_0", "a_cat", "b_cat_0", "acat_0", "", "_", "a__0", "a_cat_0x"):
        assert mask_files._parse(name, stems) is None, name


def test_round_trip(tmp_path):
    rng = np.random.default_rng(2)
    records = []
    for index, (height, width) in enumerate([(20, 30), (37, 53), (1, 1)]):
        path = fixtures.image(tmp_path / "in" / f"i_{index}.png", height, width)
        instances = []
        for number in range(12):
            noise = rng.random((height, width)) > 0.5
            noise[0, 0] = True
            shape = Rle([height, width], mask_to_rle(noise)["counts"])
            instances.append(Instance(number % 2 + 1, shape=shape))
        records.append(Image(index, str(path), height, width, instances))
    records.append(Image("e", str(fixtures.image(tmp_path / "in" / "none.png")), HEIGHT, WIDTH))
    before = Annotations("x", [(7, "z_1"), (8, "a b"), (9, "unused")], records)
    mask_files.write(before, tmp_path / "out")
    found = formats.read(tmp_path / "out")
    assert [name for _, name in found.classes] == ["z_1", "a b", "unused"]
    assert [image.id for image in found.images] == ["i_0", "i_1", "i_2", "none"]
    for index in range(4):
        for one, other in zip(masks_of(before, index), masks_of(found, index), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_file_names_cannot_hold_is_refused(tmp_path):
    shape = Rle([HEIGHT, WIDTH], mask_to_rle(mask(CAT))["counts"])
    paths = [str(fixtures.image(tmp_path / name)) for name in ("a.png", "a_cat.png")]

    def write(names, **changes):
        instance = Instance(**{"class_id": 1, "shape": shape, **changes})
        records = [Image(0, paths[0], HEIGHT, WIDTH, [instance]), Image(1, paths[1])]
        mask_files.write(Annotations("x", list(enumerate(names)), records), tmp_path / "out")

    for name in ("a/b", "..\\x", "", " ", "a\n"):
        with pytest.raises(ValueError, match="cannot be part of a file name"):
            write([name])
    with pytest.raises(ValueError, match="cannot be part of a file name"):
        write(["cat", "cat"])
    with pytest.raises(ValueError, match="a_cat_dog_0.png could belong to another image"):
        write(["cat_dog"])
    with pytest.raises(ValueError, match="cannot mark crowds"):
        write(["x"], crowd=True)
    with pytest.raises(ValueError, match="it has no mask"):
        write(["x"], shape=None, box=CAT)


@pytest.mark.parametrize("name", ["c_cat_0.png", "a_cat.png", "a.png", "a_0.png", "x.png"])
def test_masks_of_no_image_are_named(tmp_path, name):
    folder = fixtures.mask_files_pycococreator(tmp_path)
    fixtures.mask_file(folder / "annotations" / name, mask(CAT))
    with pytest.raises(ValueError, match=f"annotations.{name}: no image in .*<image>_<class>_"):
        mask_files.read(folder)


def test_damaged_layouts_and_masks(tmp_path):
    folder = fixtures.mask_files_pycococreator(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        mask_files.read(folder / "nothing")
    with pytest.raises(ValueError, match="one folder of images beside it, found 0"):
        mask_files.read(folder / "pets_train2018")
    fixtures.image(folder / "more" / "c.png")
    with pytest.raises(ValueError, match="found 2"):
        mask_files.read(folder)
    (folder / "more").rename(tmp_path / "more")
    fixtures.image(folder / "pets_train2018" / "a.bmp")
    with pytest.raises(ValueError, match="have the same name"):
        mask_files.read(folder)
    (folder / "pets_train2018" / "a.bmp").unlink()
    broken = folder / "annotations" / "a_cat_0.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(ValueError, match="a_cat_0.png"):
        masks_of(mask_files.read(folder))
    cv2.imwrite(str(broken), np.full((5, 5), 255, np.uint8))
    with pytest.raises(ValueError, match="annotated as 5x5"):
        masks_of(mask_files.read(folder))


@pytest.mark.parametrize("link", ["annotations/a_cat_0.png", "pets_train2018/a.jpeg"])
def test_links_that_lead_outside_are_refused(tmp_path, link):
    secret = fixtures.mask_files_pycococreator(tmp_path / "secret")
    folder = fixtures.mask_files_pycococreator(tmp_path / "set")
    (folder / link).unlink()
    (folder / link).symlink_to(secret / link)
    with pytest.raises(ValueError, match="leads out of the folder"):
        mask_files.read(folder)


def test_real_masks():
    data = os.environ.get("MRCNN_DATA")
    if not data:
        pytest.skip("needs MRCNN_DATA: a folder that holds shapes_png")
    assert len(formats.read(Path(data) / "shapes_png").images) == 2
    found = formats.read(Path(data) / "shapes_png" / "train")
    assert found.classes == [(1, "circle"), (2, "square")]
    counts = {image.id: masks_of(found, i)[1].tolist() for i, image in enumerate(found.images)}
    assert counts == {"1000": [2], "1001": [1, 2, 2, 1]}
