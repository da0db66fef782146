import logging
import random
from pathlib import Path
from xml.etree import ElementTree

import fixtures
import numpy as np
import pytest
from fixtures import CAT, DOG, HEIGHT, WIDTH, labelimg_xml, mask, text
from PIL import Image as PillowImage

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.data.formats import voc
from mrcnn.images.rle import mask_to_rle


def masks_of(found, image_id=0):
    return AnnotatedDataset.from_annotations(found).load_mask(image_id)


def test_boxes_of_labelimg(tmp_path):
    found = voc.read(fixtures.voc_labelimg(tmp_path))
    assert found.classes == [(1, "cat"), (2, "dog")]
    assert [image.id for image in found.images] == ["a", "b"]
    assert [instance.box for instance in found.images[0].instances] == [CAT, DOG]
    assert all(instance.shape is None for instance in found.images[0].instances)
    assert (found.images[1].height, found.images[1].width) == (HEIGHT, WIDTH)
    with pytest.raises(ValueError, match=r"a\.xml: object 1 of image .*USE_MASKS"):
        masks_of(found)
    one = voc.read(tmp_path / "a.xml", first_pixel=0)
    assert [instance.box for instance in one.images[0].instances][0] == (3, 4, 10, 9)


def test_masks_of_the_devkit(tmp_path):
    found = voc.read(fixtures.voc_devkit(tmp_path))
    assert [name for _, name in found.classes] == ["cat", "dog", "person"]
    assert [image.id for image in found.images] == ["a", "b"]
    masks, class_ids = masks_of(found)
    np.testing.assert_array_equal(masks, np.stack([mask(CAT), mask(DOG)], axis=-1))
    assert class_ids.tolist() == [1, -2]  # the dog is difficult
    assert masks_of(found, 1)[0].shape == (HEIGHT, WIDTH, 0)
    everything = voc.read(tmp_path / "VOC2012", masks=False, difficult="objects")
    assert [len(image.instances) for image in everything.images] == [2, 0, 1]
    assert everything.images[0].instances[1].box == DOG
    assert not everything.images[0].instances[1].crowd


def test_splits(tmp_path):
    folder = fixtures.voc_devkit(tmp_path)
    assert [image.id for image in voc.read(folder, split="train").images] == ["a"]
    assert [image.id for image in voc.read(folder, split="val").images] == ["b"]
    with pytest.raises(ValueError, match="no split 'test'.*'train', 'val'"):
        voc.read(folder, split="test")


def test_a_folder_of_annotations_can_be_named(tmp_path):
    folder = fixtures.voc_devkit(tmp_path) / "VOC2012"
    assert len(formats.read(folder / "Annotations").images) == 2
    assert formats.read(folder / "Annotations" / "a.xml", masks=False).images[0].path is not None


def test_classes_without_xml_are_the_twenty(tmp_path):
    folder = fixtures.voc_devkit(tmp_path) / "VOC2012"
    for file in (folder / "Annotations").iterdir():
        file.unlink()
    found = voc.read(folder)
    assert len(found.classes) == 20 and found.classes[0] == (1, "aeroplane")
    assert masks_of(found)[1].tolist() == [8, 12]


def test_some_masks_without_xml(tmp_path):
    folder = fixtures.voc_devkit(tmp_path) / "VOC2012"
    (folder / "Annotations" / "a.xml").unlink()
    found = voc.read(folder)
    assert len(found.classes) == 20 and masks_of(found)[1].tolist() == [8, 12]


def test_masks_of_colors_as_cvat_exports_them(tmp_path):
    folder = fixtures.voc_devkit(tmp_path) / "VOC2012"
    text(
        folder / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\n"
        "dog:250,50,83::\ncat:52,209,183:paw,tail:\n",
    )
    for png in (folder / "SegmentationObject").iterdir():
        PillowImage.open(png).convert("RGB").save(png)
    colors = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colors[mask(DOG)], colors[mask(CAT)] = (250, 50, 83), (52, 209, 183)
    PillowImage.fromarray(colors).save(folder / "SegmentationClass" / "a.png")
    found = voc.read(folder, difficult="objects")
    assert [name for _, name in found.classes] == ["dog", "cat", "person"]
    masks, class_ids = masks_of(found)
    np.testing.assert_array_equal(masks, np.stack([mask(CAT), mask(DOG)], axis=-1))
    assert class_ids.tolist() == [2, 1]


def test_sizes_that_are_missing_come_from_the_image(tmp_path):
    folder = fixtures.voc_labelimg(tmp_path)
    content = labelimg_xml("a", [("cat", CAT, 0)])  # older versions leave the suffix out
    content = content.replace(f"<width>{WIDTH}</width>", "<width>0</width>")
    text(folder / "a.xml", content)
    first = voc.read(folder).images[0]
    assert (first.height, first.width) == (HEIGHT, WIDTH) and first.path.endswith("a.png")


def test_a_class_of_difficult_objects_is_warned_of(tmp_path, caplog):
    folder = fixtures.voc_labelimg(tmp_path)
    text(folder / "a.xml", labelimg_xml("a.png", [("cat", CAT, 0), ("dog", DOG, 1)]))
    with caplog.at_level(logging.WARNING, "mrcnn"):
        voc.read(folder)
    (record,) = caplog.records
    assert "classes dog are marked difficult" in record.getMessage()


def scene(tmp_path, rng, masks_per_image=5):
    """Images with random masks: holes, parts, a crowd, and overlaps of small ones over large."""
    records = []
    for index, (height, width) in enumerate([(20, 30), (37, 53)]):
        path = fixtures.image(tmp_path / "in" / f"i{index}.jpg", height, width)
        instances = []
        for number in range(masks_per_image):
            full = np.zeros((height, width), bool)
            y, x = rng.integers(0, height - 9), rng.integers(0, width - 9)
            full[y : y + 9, x : x + 9] = rng.random((9, 9)) > 0.5
            shape = Rle([height, width], mask_to_rle(full)["counts"])
            instances.append(Instance(number % 3 + 1, crowd=number == 1, shape=shape))
        records.append(Image(index, str(path), height, width, instances))
    records.append(Image("e", str(fixtures.image(tmp_path / "in" / "empty.jpg")), HEIGHT, WIDTH))
    return Annotations("x", [(4, "z"), (9, "a b"), (10, "ü"), (11, "unused")], records)


def painted(masks):
    """The same masks with the smaller ones on top."""
    order = np.argsort(-masks.sum(axis=(0, 1)), kind="stable")
    top = np.zeros(masks.shape[:2], int)
    for index in order:
        top[masks[..., index]] = index + 1
    return top[..., None] == np.arange(1, masks.shape[-1] + 1)


def test_round_trip_of_masks(tmp_path):
    annotations = scene(tmp_path, np.random.default_rng(1))
    voc.write(annotations, tmp_path / "out")
    found = formats.read(tmp_path / "out")
    assert [name for _, name in found.classes] == ["z", "a b", "ü", "unused"]
    assert [Path(image.path).name for image in found.images] == ["empty.jpg", "i0.jpg", "i1.jpg"]
    for index, back in ((0, 1), (1, 2), (2, 0)):
        masks, class_ids = masks_of(annotations, index)
        found_masks, found_ids = masks_of(found, back)
        np.testing.assert_array_equal(found_masks, painted(masks))
        np.testing.assert_array_equal(found_ids, class_ids)


def test_round_trip_of_boxes(tmp_path):
    annotations = voc.read(fixtures.voc_labelimg(tmp_path / "in"))
    annotations.images[0].instances[1].crowd = True
    annotations.images[0].instances[0].box = (0.25, 0, 19.5, 30)
    voc.write(annotations, tmp_path / "out")
    found = formats.read(tmp_path / "out")
    assert found.classes == annotations.classes
    for before, after in zip(annotations.images, found.images, strict=True):
        assert [(i.class_id, i.crowd, i.box) for i in before.instances] == [
            (i.class_id, i.crowd, i.box) for i in after.instances
        ]
    root = ElementTree.parse(tmp_path / "out" / "Annotations" / "a.xml").getroot()
    expected = ElementTree.fromstring(labelimg_xml("a.png", [("cat", CAT, 0)]))
    tags = [element.tag for element in expected.find("object").iter()]
    assert [element.tag for element in root.find("object").iter()] == tags
    assert root.findtext("object/truncated") == "1"


def test_what_voc_cannot_hold_is_refused(tmp_path):
    path = str(fixtures.image(tmp_path / "a.png"))
    big, small = (
        Rle([HEIGHT, WIDTH], mask_to_rle(mask(box))["counts"])
        for box in ((0, 0, 9, 9), (1, 1, 5, 5))
    )
    cases = {
        "lies under other": [Instance(1, shape=big), Instance(1, shape=big, name="i2")],
        "it has no mask": [Instance(1, shape=small), Instance(1, box=CAT)],
        "neither a box nor a mask": [Instance(1)],
    }
    for words, instances in cases.items():
        record = Image(1, path, HEIGHT, WIDTH, instances)
        with pytest.raises(ValueError, match=words):
            voc.write(Annotations("x", [(1, "c")], [record]), tmp_path / "out")
    pixels = [(y, x, y + 1, x + 1) for y in range(HEIGHT) for x in range(WIDTH)][:255]
    many = [
        Instance(1, shape=Rle([HEIGHT, WIDTH], mask_to_rle(mask(box))["counts"])) for box in pixels
    ]
    with pytest.raises(ValueError, match="254 masks per image, got 255"):
        record = Image(1, path, HEIGHT, WIDTH, many)
        voc.write(Annotations("x", [(1, "c")], [record]), tmp_path / "out")


@pytest.mark.parametrize(
    "before, after, words",
    [
        ("<xmin>4</xmin>", "<xmin>four</xmin>", "object 1 .*box is damaged"),
        ("<xmin>4</xmin>", "", "object 1 .*box is damaged"),
        ("<xmin>4</xmin>", "<xmin>40</xmin>", "object 1 .*box is damaged"),
        ("<xmin>4</xmin>", "<xmin>nan</xmin>", "object 1 .*box is damaged"),
        ("<xmin>4</xmin>", "<xmin>" + "9" * 9999 + "</xmin>", "object 1 .*box is damaged"),
        ("<name>cat</name>", "", "object 1 .*no <name>"),
        ("annotation>", "annotations>", "expected <annotation>"),
        ("a.png", "../a.png", "leaves the image folder"),
        ("a.png", "/etc/passwd", "leaves the image folder"),
        ("a.png", "C:\\a.png", "leaves the image folder"),
        ("</annotation>", "", "cannot be read as a VOC annotation"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY x "y">]><annotation>', "DOCTYPE"),
        ("<annotation>", "<annotation>" + "<a>" * 200 + "</a>" * 200, "levels deep"),
    ],
)
def test_damaged_and_hostile_xml(tmp_path, before, after, words):
    folder = fixtures.voc_labelimg(tmp_path)
    content = (folder / "a.xml").read_text()
    assert before in content
    text(folder / "x.xml", content.replace(before, after))  # no image is named x
    with pytest.raises(ValueError, match=rf"(?s)x\.xml.*{words}") as caught:
        voc.read(folder)
    assert len(str(caught.value)) < 1200


def test_objects_that_are_no_boxes_are_left_out_and_counted(tmp_path, caplog):
    folder = fixtures.voc_labelimg(tmp_path)
    content = (folder / "a.xml").read_text()
    text(folder / "a.xml", content.replace("bndbox>", "robndbox>", 2))  # the first of two
    with caplog.at_level(logging.WARNING, "mrcnn"):
        found = voc.read(folder)
    assert [instance.name for instance in found.images[0].instances] == ["object 2"]
    (record,) = caplog.records
    assert "a.xml: 1 objects are no boxes: <robndbox> (object 1)." in record.getMessage()


def test_a_missing_image_is_kept_and_named_by_its_file(tmp_path):
    folder = fixtures.voc_labelimg(tmp_path)
    (folder / "a.png").unlink()
    assert voc.read(folder).images[0].path == str(folder / "a.png")
    text(folder / "a.xml", (folder / "a.xml").read_text().replace("<filename>a.png", "<filename>"))
    with pytest.raises(FileNotFoundError, match=r"a\.xml: no image named a"):
        voc.read(folder)


@pytest.mark.parametrize("link", ["a.png", "a.xml"])
def test_links_that_lead_outside_are_refused(tmp_path, link):
    secret = fixtures.voc_labelimg(tmp_path / "secret")
    folder = fixtures.voc_labelimg(tmp_path / "set")
    (folder / link).unlink()
    (folder / link).symlink_to(secret / link)
    with pytest.raises(ValueError, match="leads out of the folder"):
        voc.read(folder)


@pytest.mark.parametrize(
    "kind", ["truncated", "text", "photograph", "size", "order", "class", "background"]
)
def test_damaged_masks(tmp_path, kind):
    root = fixtures.voc_devkit(tmp_path) / "VOC2012"
    png = root / "SegmentationObject" / "a.png"
    name = "a.png"
    if kind == "truncated":
        png.write_bytes(png.read_bytes()[:-40])
    elif kind == "text":
        png.write_text("<svg/>")
    elif kind == "photograph":
        noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
        PillowImage.fromarray(noise).save(png)
    elif kind == "size":
        fixtures.voc_palette(png, np.ones((5, 5)))
        (root / "Annotations" / "a.xml").unlink()
    elif kind == "order":
        fixtures.voc_palette(png, (2 * mask(CAT) + 1 * mask(DOG)))  # against the XML file
    elif kind == "background":
        text(root / "labelmap.txt", "background:0,0,0::\ncat:1,2,3::\n")
        fixtures.voc_palette(root / "SegmentationClass" / "a.png", 0 * mask(CAT))
    else:
        fixtures.voc_palette(root / "SegmentationClass" / "a.png", 77 * mask(CAT))
        (root / "Annotations" / "a.xml").unlink()
    with pytest.raises(ValueError, match=name):
        voc.read(tmp_path)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    folder = fixtures.voc_devkit(tmp_path) / "VOC2012"
    rng = random.Random(5)
    for file in (folder / "Annotations" / "a.xml", folder / "SegmentationObject" / "a.png"):
        original = file.read_bytes()
        for _ in range(100):
            damaged = bytearray(original)
            for _ in range(rng.randint(1, 6)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            file.write_bytes(bytes(damaged[: rng.choice([len(damaged), rng.randrange(99)])]))
            try:
                voc.read(folder)
            except (ValueError, FileNotFoundError) as error:
                assert str(folder) in str(error)
        file.write_bytes(original)
