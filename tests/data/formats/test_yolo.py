import logging
import os
import random
import time
from pathlib import Path

import fixtures
import numpy as np
import pytest
from fixtures import CAT, DOG, HEIGHT, WIDTH, mask, text, yolo_polygon, yolo_row

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.data.formats import _yaml, yolo
from mrcnn.images.rle import mask_to_rle

LAYOUTS = [name for name in fixtures.FIXTURES if name.startswith("yolo")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    found = yolo.read(fixtures.FIXTURES[layout](tmp_path))
    assert [name for _, name in found.classes][:2] == ["cat", "dog"]
    first, second = found.images
    assert [instance.class_id for instance in first.instances] == [1, 2]
    assert not second.instances and (second.height, second.width) == (HEIGHT, WIDTH)
    boxes, class_ids = AnnotatedDataset.from_annotations(found).load_boxes(0)
    np.testing.assert_allclose(boxes, [CAT, DOG], atol=1e-3)
    assert class_ids.tolist() == [1, 2]


def test_polygons_are_masks_and_boxes_are_not(tmp_path):
    found = yolo.read(fixtures.yolo_label_studio(tmp_path / "polygons"))
    masks, _ = AnnotatedDataset.from_annotations(found).load_mask(0)
    np.testing.assert_array_equal(masks, np.stack([mask(CAT), mask(DOG)], axis=-1))
    found = yolo.read(fixtures.yolo_labelimg(tmp_path / "boxes"))
    assert all(instance.shape is None for instance in found.images[0].instances)
    with pytest.raises(ValueError, match=r"a\.txt: line 1 of image .*USE_MASKS"):
        AnnotatedDataset.from_annotations(found).load_mask(0)


def test_ids_and_splits(tmp_path):
    folder = fixtures.yolo_ultralytics(tmp_path)
    assert [image.id for image in yolo.read(folder).images] == ["train/a", "val/b"]
    assert [image.id for image in yolo.read(folder, split="val").images] == ["val/b"]
    assert yolo.read(folder).classes == [(0, "cat"), (1, "dog"), (2, "hot dog")]
    with pytest.raises(ValueError, match="no split 'test'.*'train', 'val'"):
        yolo.read(folder, split="test")
    os.remove(folder / "pets-seg.yaml")
    assert [image.id for image in yolo.read(folder, split="val").images] == ["val/b"]
    fixtures.image(folder / "images" / "more" / "c.png")
    assert [image.id for image in yolo.read(folder).images] == ["more/c", "train/a", "val/b"]
    roboflow = fixtures.yolo_roboflow(tmp_path / "roboflow")
    for name in ("val", "valid"):
        assert len(yolo.read(roboflow, split=name).images) == 1


def test_a_file_or_folder_of_labels_can_be_named(tmp_path):
    folder = fixtures.yolo_label_studio(tmp_path / "x")
    for path in (folder, folder / "labels"):
        assert formats.read(path).classes == [(0, "cat"), (1, "dog")]
    folder = fixtures.yolo_ultralytics(tmp_path / "y")
    assert len(formats.read(folder / "pets-seg.yaml").images) == 2


def test_images_in_another_folder(tmp_path):
    fixtures.images(tmp_path / "photos")
    text(tmp_path / "labels" / "a.txt", yolo_row(0, CAT))
    text(tmp_path / "labels" / "classes.txt", "cat\n")
    found = yolo.read(tmp_path / "labels", images=tmp_path / "photos")
    assert [len(image.instances) for image in found.images] == [1, 0]


def test_lists_of_images_in_the_yaml(tmp_path):
    fixtures.images(tmp_path / "images")
    text(tmp_path / "labels" / "a.txt", yolo_row(0, CAT))
    text(tmp_path / "train.txt", "./images/a.png\n")
    text(tmp_path / "val.txt", "C:\\data\\pets\\images\\b.png\n")
    text(tmp_path / "d.yaml", "path: /somewhere/else\ntrain: train.txt\nval: [val.txt]\nnames: [c]")
    assert [image.id for image in yolo.read(tmp_path, split="train").images] == ["a"]
    assert [image.id for image in yolo.read(tmp_path, split="val").images] == ["b"]


def test_a_split_that_is_nowhere_is_warned_of(tmp_path, caplog):
    fixtures.images(tmp_path)
    text(tmp_path / "a.txt", yolo_row(0, CAT))
    text(tmp_path / "d.yaml", "train: .\nval: ../valid/images\ntest: x\nnames: ['c']\n")
    with caplog.at_level(logging.WARNING, "mrcnn"):
        assert [len(image.instances) for image in yolo.read(tmp_path).images] == [1, 0]
    (record,) = caplog.records
    assert "val: '../valid/images' is nowhere in" in record.getMessage()


def test_hostile_yaml_takes_no_time(tmp_path):
    start = time.perf_counter()
    size = 100_000
    for line in (
        *("a" + " " * size, "'" * size + " #", '"' * size + " #", "[" + '"a"' * size, " " * size),
        *("names: {" + '"a":' * size, "x: [" + "a," * size, "- " * size, '"' + "\\" * size),
        *("a: " + "#" * size, "a" + ":b" * size, "names:\n" + "  0: a\n" * (size // 10)),
    ):
        try:
            _yaml.parse(line)
        except ValueError:
            pass
    assert time.perf_counter() - start < 10


def test_classes_without_names_are_numbers(tmp_path):
    fixtures.images(tmp_path / "images")
    text(tmp_path / "labels" / "a.txt", yolo_row(2, CAT))
    found = yolo.read(tmp_path)
    assert found.classes == [(0, "0"), (1, "1"), (2, "2")]
    assert found.images[0].instances[0].class_id == 3
    assert yolo.read(tmp_path, names=["x", "y", "cat"]).classes[2] == (2, "cat")


def test_scores_are_read(tmp_path):
    fixtures.images(tmp_path)
    rows = yolo_row(0, CAT).rstrip() + " 0.25\n" + yolo_polygon(0, DOG).rstrip() + " 0.75\n"
    text(tmp_path / "a.txt", rows)
    instances = yolo.read(tmp_path).images[0].instances
    assert [instance.score for instance in instances] == [0.25, 0.75]
    assert [instance.shape is None for instance in instances] == [True, False]


def test_labels_without_an_image_are_counted_once(tmp_path, caplog):
    folder = fixtures.yolo_labelimg(tmp_path)
    text(folder / "c.txt", yolo_row(0, CAT))
    text(folder / "notes.txt", "remember the milk")
    with caplog.at_level(logging.WARNING, "mrcnn"):
        yolo.read(folder)
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "1 label files have no image and are left out, such as c.txt."
    ]


def test_round_trip(tmp_path):
    rng = np.random.default_rng(3)
    records = []
    for index, (height, width) in enumerate([(20, 30), (37, 53), (1, 1), (1001, 997)]):
        path = fixtures.image(tmp_path / "in" / f"i{index}.png", height, width)
        noise = rng.random((height // 7 + 1, width // 7 + 1)) > 0.5
        full = noise.repeat(7, axis=0).repeat(7, axis=1)[:height, :width]  # holes and parts
        full[0, 0] = True
        shapes = [Rle([height, width], mask_to_rle(full)["counts"])]
        instances = [Instance(index % 2 + 1, shape=shape) for shape in shapes]
        records.append(Image(index, str(path), height, width, instances))
    records.append(Image("empty", str(fixtures.image(tmp_path / "in" / "empty.png"))))
    box = Instance(2, box=(1.5, 2, 11, 12.25))
    records.append(Image("box", str(fixtures.image(tmp_path / "in" / "box.png")), instances=[box]))
    names = ['a "quoted" # name: x', "- 'z' \\ ü 😀"]
    yolo.write(Annotations("x", list(enumerate(names)), records), tmp_path / "out")
    found = formats.read(tmp_path / "out")
    assert [name for _, name in found.classes] == names
    by_name = {Path(image.path).stem: image for image in found.images}
    assert by_name.keys() == {Path(record.path).stem for record in records}
    np.testing.assert_allclose(by_name["box"].instances[0].box, box.box, atol=1e-5)
    before = AnnotatedDataset.from_annotations(Annotations("x", found.classes, records[:5]))
    for index, record in enumerate(records[:5]):
        back = Annotations("x", found.classes, [by_name[Path(record.path).stem]])
        masks, class_ids = AnnotatedDataset.from_annotations(back).load_mask(0)
        expected, expected_ids = before.load_mask(index)
        np.testing.assert_array_equal(masks, expected)
        np.testing.assert_array_equal(class_ids, expected_ids)


def test_crowds_cannot_be_written(tmp_path):
    record = Image(1, str(fixtures.image(tmp_path / "a.png")), instances=[Instance(1, crowd=True)])
    with pytest.raises(ValueError, match="'yolo' cannot mark crowds"):
        yolo.write(Annotations("x", [(1, "cat")], [record]), tmp_path / "out")


@pytest.mark.parametrize(
    "row",
    [
        "0 0.5 0.5 0.2",
        "cat 0.5 0.5 0.2 0.2",
        "2 0.5 0.5 0.2 0.2",
        "-1 0.5 0.5 0.2 0.2",
        "0.5 0.5 0.5 0.2 0.2",
        "9999999999 0.5 0.5 0.2 0.2",
        "0 312 200 50 40",
        "0 nan 0.5 0.2 0.2",
        "0 0.5 0.5 -0.2 0.2",
        "0 0.1 0.1 0.2 0.1 0.2 inf",
        "0 0.5 0.5 0.2 0.2 1.4",
        "0 0.5,0.5,0.2,0.2",
        "<annotation>" * 1000,
    ],
)
def test_damaged_rows_are_named(tmp_path, row):
    folder = fixtures.yolo_labelimg(tmp_path)
    text(folder / "a.txt", yolo_row(0, CAT) + row + "\n")
    with pytest.raises(ValueError, match=r"a\.txt: line 2 of image .*a\.png: ") as caught:
        yolo.read(folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "content, words",
    [
        ("train: images\nnames: [[a], [b]]", "line 2: a list inside"),
        ("train: images\nnames: [a, b", "line 2: a list that starts with"),
        ("train: images\nnames: {a: b}", "d.yaml"),
        ("train: images\nnames: {-1: b}", "whole number"),
        ("train: images\nnames: {1e9: b}", "whole number"),
        ("train: images\nnames: cat", "names must be a list"),
        ("train: images\nnames: [cat]\nkpt_shape: [17, 3]", "keypoints"),
        ("train: ../../..\nnames: [cat]", "no images"),
        ("train: /etc/passwd\nnames: [cat]", "no images"),
        ("train: outside\nnames: [cat]", "leads out of the folder"),
        ("train: list.txt\nnames: [cat]", "leads out of the folder"),
        ("train: " + "a/" * 100_000 + "\nnames: [cat]", "no images"),
        ("train: a\0b\nnames: [cat]", "no images"),
        ("train: &a [x]\nnames: !!python/object/apply:os.system [ls]", "d.yaml"),
        ("\xff", "d.yaml"),
    ],
)
def test_damaged_and_hostile_yaml(tmp_path, content, words):
    fixtures.image(tmp_path / "secret" / "a.png")
    folder = tmp_path / "set"
    fixtures.images(folder / "images")
    (folder / "outside").symlink_to(tmp_path / "secret")
    text(folder / "list.txt", "outside/a.png\n")
    (folder / "d.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises((ValueError, FileNotFoundError), match=words) as caught:
        yolo.read(folder / "d.yaml")
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("link", ["images/c.png", "labels/b.txt", "labels", "images"])
def test_links_that_lead_outside_are_refused(tmp_path, link):
    fixtures.image(tmp_path / "secret" / "c.png")
    text(tmp_path / "secret" / "b.txt", yolo_row(0, CAT))
    folder = tmp_path / "set"
    fixtures.images(folder / "images")
    text(folder / "labels" / "a.txt", yolo_row(0, CAT))
    target = tmp_path / "secret"
    if "/" not in link:
        (folder / link).rename(folder / "old")
    else:
        target = target / link.split("/")[1]
    (folder / link).symlink_to(target)
    with pytest.raises(ValueError, match="leads out of the folder"):
        yolo.read(folder)


def test_two_images_of_one_label_are_refused(tmp_path):
    folder = fixtures.yolo_labelimg(tmp_path)
    fixtures.image(folder / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have the same name"):
        yolo.read(folder)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    folder = fixtures.yolo_ultralytics(tmp_path)
    rng = random.Random(5)
    for file in (folder / "labels" / "train" / "a.txt", folder / "pets-seg.yaml"):
        original = file.read_bytes()
        for _ in range(150):
            damaged = bytearray(original)
            for _ in range(rng.randint(1, 6)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            file.write_bytes(bytes(damaged[: rng.choice([len(damaged), rng.randrange(99)])]))
            try:
                yolo.read(folder, names=None)
            except (ValueError, FileNotFoundError) as error:
                assert str(folder) in str(error)
        file.write_bytes(original)


def test_real_labels():
    data = os.environ.get("MRCNN_DATA")
    if not data:
        pytest.skip("needs MRCNN_DATA: a folder that holds coco26")
    found = formats.read(Path(data) / "coco26" / "labels")
    assert len(found.images) == 26 and sum(len(image.instances) for image in found.images) == 181
    coco = formats.read(Path(data) / "coco26")  # the folder itself is COCO: it has the names
    assert coco.source == "coco"
