"""CVAT for images 1.1: XML files as the tool writes them."""

from xml.etree import ElementTree

import numpy as np
import pytest
from tool_files import (
    attack,
    boxes_only,
    iou,
    labels_of,
    masks_of,
    record,
    round_trip,
    write_image,
)

from mrcnn.data import formats
from mrcnn.data.formats import cvat

COMMON = 'source="manual" occluded="0"'
POLYGON = (
    f'<polygon label="cat" {COMMON} points="10.00,5.00;30.00,5.00;30.00,15.00;10.00,15.00" '
    'z_order="0"></polygon>'
)
BOX = (
    f'<box label="dog" {COMMON} xtl="40.00" ytl="20.00" xbr="60.00" ybr="40.00" z_order="0">'
    '<attribute name="age">old</attribute></box>'
)
MASK = (
    f'<mask label="cat" {COMMON} rle="1, 3, 2, 2, 2, 2" left="7" top="30" width="4" height="3" '
    'z_order="0"></mask>'
)
ELLIPSE = f'<ellipse label="cat" {COMMON} cx="30.00" cy="20.00" rx="20.00" ry="5.00" z_order="0"/>'
LABELS = [("zebra", "any"), ("dog", "rectangle"), ("cat", "any"), ("sky", "tag"), ("arm", "points")]


def annotated(folder, *shapes, start='<image id="5" name="a.png" width="60" height="40">'):
    """Writes an image of 40x60 pixels and the XML file of a task."""
    write_image(folder / "images" / "a.png", 40, 60)
    labels = "".join(
        f"<label><name>{name}</name><color>#aabbcc</color><type>{kind}</type><attributes>"
        f"</attributes></label>"
        for name, kind in LABELS
    )
    path = folder / "annotations.xml"
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        "  <meta>\n    <task><id>1</id><name>pets</name><size>1</size><mode>annotation</mode>"
        "<overlap>0</overlap><bugtracker></bugtracker><created>2026-01-01</created>"
        f"<labels>{labels}</labels><owner><username>a</username></owner></task>\n"
        "    <dumped>2026-01-01</dumped>\n  </meta>\n"
        f"  {start}\n    " + "\n    ".join(shapes) + "\n  </image>\n</annotations>\n"
    )
    return path


def block(y1, y2, x1, x2):
    mask = np.zeros((40, 60), bool)
    mask[y1:y2, x1:x2] = True
    return mask


# --- Reading -------------------------------------------------------------------------------------
def test_shapes(tmp_path, caplog):
    others = [
        f'<points label="arm" {COMMON} points="1.0,2.0" z_order="0"></points>',
        f'<polyline label="cat" {COMMON} points="1.0,2.0;3.0,4.0" z_order="0"></polyline>',
        f'<polygon label="cat" {COMMON} points="1.0,2.0;3.0,4.0" z_order="0"></polygon>',
        '<tag label="sky" source="manual"></tag>',
    ]
    path = annotated(tmp_path, POLYGON, BOX, MASK, ELLIPSE, *others)
    found = formats.read(tmp_path)
    masks = masks_of(found)
    assert [name for _, name in found.classes] == ["zebra", "dog", "cat"]
    assert labels_of(found) == ["cat", "dog", "cat", "cat"]
    assert found.images[0].id == 5
    assert np.array_equal(masks[..., 0], block(5, 15, 10, 30))
    assert np.array_equal(masks[..., 1], block(20, 40, 40, 60))
    expected = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1]], bool)
    assert np.array_equal(masks[30:33, 7:11, 2], expected) and masks[..., 2].sum() == 7
    y, x = np.mgrid[:40, :60] + 0.5
    assert iou(masks[..., 3], ((x - 30) / 20) ** 2 + ((y - 20) / 5) ** 2 < 1) > 0.95
    (warning,) = [r.getMessage() for r in caplog.records]
    for text in ("<points>", "<polyline>", "1 polygons of fewer than 3", path.name):
        assert text in warning


def test_rotation_is_clockwise_about_the_center(tmp_path):
    box = '<box label="dog" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90.00" z_order="0"/>'
    tilted = ELLIPSE.replace("/>", ' rotation="45.00"/>')
    masks = masks_of(formats.read(annotated(tmp_path, box, tilted)))
    assert np.array_equal(masks[..., 0], block(5, 25, 15, 25))
    assert masks[30, 40, 1] and not masks[10, 40, 1]  # down and to the right, y points down


def test_layers_and_groups(tmp_path):
    shapes = [
        POLYGON.replace('z_order="0"', 'z_order="2" group_id="1"'),
        BOX.replace('z_order="0"', 'z_order="-1" group_id="1"'),  # of another label
        MASK.replace('z_order="0"', 'z_order="3" group_id="1"'),
        POLYGON.replace('z_order="0"', 'z_order="3" group_id="2"'),
        POLYGON,
    ]
    found = formats.read(annotated(tmp_path, *shapes))
    masks = masks_of(found)
    assert labels_of(found) == ["dog", "cat", "cat", "cat"]
    assert [masks[..., i].sum() for i in range(4)] == [400, 200, 207, 200]


def test_boxes_alone_are_boxes(tmp_path):
    (instance,) = formats.read(annotated(tmp_path, BOX)).images[0].instances
    assert instance.shape is None and instance.box == (20, 40, 40, 60)
    assert masks_of(formats.read(tmp_path, rectangles="masks")).sum() == 400


def test_a_missing_size_is_that_of_the_file(tmp_path):
    found = formats.read(annotated(tmp_path, MASK, start='<image id="0" name="a.png">'))
    assert (found.images[0].height, found.images[0].width) == (40, 60)


def test_a_subset_is_a_folder(tmp_path):
    start = '<image id="0" name="b.png" subset="train" width="60" height="40">'
    annotated(tmp_path, POLYGON, start=start)
    path = write_image(tmp_path / "images" / "train" / "b.png", 40, 60)
    assert formats.read(tmp_path).images[0].path == str(path)


# --- Writing -------------------------------------------------------------------------------------
def test_round_trip(tmp_path):
    annotations = record(tmp_path / "images", score=0.25)
    found = round_trip(cvat, annotations, tmp_path / "annotations.xml", tmp_path / "images")
    assert {i.score for image in found.images for i in image.instances} == {0.25}
    assert [image.id for image in found.images] == [0, 1, 2]  # CVAT knows only numbers


def test_ids_and_boxes_are_kept(tmp_path):
    annotations = boxes_only(tmp_path)
    annotations.images[0].id = 17
    cvat.write(annotations, tmp_path / "out.xml")
    found = formats.read(tmp_path / "out.xml").images[0]
    assert found.id == 17
    assert [i.box for i in found.instances] == [i.box for i in annotations.images[0].instances]


def test_a_file_has_what_the_tool_needs(tmp_path):
    cvat.write(record(tmp_path / "images"), tmp_path / "out.xml")
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [element.tag for element in root] == ["version", "meta", "image", "image", "image"]
    labels = [label.findtext("name") for label in root.iterfind("meta/task/labels/label")]
    assert labels == ["dog", "cat 10", "unused", "Käse & <Brot>"]
    polygon, mask = list(root.find("image"))
    for key in ("label", "source", "occluded", "points", "z_order"):
        assert key in polygon.attrib
    for key in ("label", "source", "occluded", "rle", "left", "top", "width", "height", "z_order"):
        assert key in mask.attrib


def test_what_cvat_cannot_hold_is_refused(tmp_path):
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[0].crowd = True
    with pytest.raises(ValueError, match="'cvat' cannot mark crowds"):
        cvat.write(annotations, tmp_path / "out.xml")
    annotations = boxes_only(tmp_path)
    annotations.classes[0] = (1, "a\x00b")
    with pytest.raises(ValueError, match="a character that XML cannot hold"):
        cvat.write(annotations, tmp_path / "out.xml")


# --- Damaged and hostile files -------------------------------------------------------------------
BAD_SHAPES = {
    "no label": '<box xtl="1" ytl="1" xbr="2" ybr="2"/>',
    "no corner": '<box label="dog" xtl="1" ytl="1" xbr="2"/>',
    "order": '<box label="dog" xtl="9" ytl="1" xbr="2" ybr="2"/>',
    "text": '<box label="dog" xtl="a" ytl="1" xbr="2" ybr="2"/>',
    "nan": '<box label="dog" xtl="nan" ytl="1" xbr="2" ybr="2"/>',
    "rotation": '<box label="dog" xtl="1" ytl="1" xbr="2" ybr="2" rotation="inf"/>',
    "points": '<polygon label="cat" points="1,2;3,4;5"/>',
    "no points": '<polygon label="cat"/>',
    "infinite": '<polygon label="cat" points="1,2;3,4;5,1e999"/>',
    "radius": '<ellipse label="cat" cx="1" cy="1" rx="-2" ry="3"/>',
    "runs": MASK.replace("1, 3", "1, 4"),
    "negative run": MASK.replace("1, 3", "-1, 5"),
    "no runs": MASK.replace("1, 3, 2, 2, 2, 2", ""),
    "large mask": MASK.replace('width="4"', 'width="4000000"'),
    "empty mask": MASK.replace('width="4"', 'width="0"'),
    "far mask": MASK.replace('left="7"', 'left="7000"'),
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_damaged_shape_is_named(tmp_path, name):
    path = annotated(tmp_path, POLYGON, BAD_SHAPES[name])
    with pytest.raises(ValueError, match=r"annotations\.xml: \w+ .* number 1 of image .*a\.png"):
        cvat.read(path)


def test_the_size_of_a_mask_is_checked_before_it_is_drawn(tmp_path):
    path = annotated(tmp_path, MASK.replace("1, 3", "1, 99999999999999"))
    with pytest.raises(ValueError, match=r"must add up to 3 \* 4"):
        cvat.read(path)


@pytest.mark.parametrize(
    "start",
    [
        '<image id="0" name="../a.png" width="60" height="40">',
        '<image id="0" name="/etc/passwd" width="60" height="40">',
        '<image id="0" name="C:\\a.png" width="60" height="40">',
        '<image id="0" name="link.png" width="60" height="40">',
        '<image id="0" width="60" height="40">',
        '<image id="0" name="a.png" width="sixty" height="40">',
        '<image id="0" name="a.png" width="60" height="-40">',
        '<image id="0" name="a.png" width="1000000" height="1000000">',
    ],
)
def test_a_damaged_image_is_named(tmp_path, start):
    path = annotated(tmp_path, POLYGON, start=start)
    write_image(tmp_path / "secret.png", 5, 5)
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"annotations\.xml"):
        cvat.read(path)


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]><annotations>&b;</annotations>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotations>&x;</annotations>'


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        OUTSIDE,
        "",
        "<annotation/>",
        "<annotations>",
        "<annotations>" * 200 + "</annotations>" * 200,
        '<annotations><version>1.1</version><track id="0" label="cat"/></annotations>',
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.xml"):
        cvat.read(path)


def test_cut_and_changed_files_are_read_or_named(tmp_path):
    attack(cvat, annotated(tmp_path, POLYGON, BOX, MASK, ELLIPSE))
