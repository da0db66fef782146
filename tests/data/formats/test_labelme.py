"""LabelMe: files as the tool writes them, one per image."""

import base64
import json

import numpy as np
import pytest
from tool_files import (
    attack,
    boxes_only,
    iou,
    labels_of,
    masks_of,
    png,
    record,
    round_trip,
    write_image,
)

from mrcnn.data import formats
from mrcnn.data.annotations import Instance, Rle
from mrcnn.data.formats import labelme
from mrcnn.images.rle import mask_to_rle

SQUARE = [[10.0, 5.0], [30.0, 5.0], [30.0, 15.0], [10.0, 15.0]]


def shape(points, kind="polygon", label="cat", group_id=None, **changes):
    return {
        "label": label,
        "points": points,
        "group_id": group_id,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
        **changes,
    }


def annotated(folder, listed, stem="a", **changes):
    """Writes an image of 40x60 pixels and its file."""
    write_image(folder / f"{stem}.png", 40, 60)
    data = {
        "version": "5.5.0",
        "flags": {},
        "shapes": listed,
        "imagePath": f"{stem}.png",
        "imageData": None,
        "imageHeight": 40,
        "imageWidth": 60,
        **changes,
    }
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(data, indent=2))
    return path


def block(y1, y2, x1, x2):
    mask = np.zeros((40, 60), bool)
    mask[y1:y2, x1:x2] = True
    return mask


# --- Reading -------------------------------------------------------------------------------------
def test_shapes(tmp_path, caplog):
    crop = np.eye(5, 4, dtype=bool)
    shapes = [
        shape(SQUARE),
        shape([[60, 40], [40, 20]], "rectangle", "dog"),
        shape([[20, 20], [20, 30]], "circle"),
        shape([[7, 30], [10, 34]], "mask", mask=png(crop)),
        shape([[1, 1]], "point"),
        shape([[1, 1], [9, 9], [8, 8]], "linestrip"),
        shape([[1, 1], [9, 9]]),
    ]
    found = formats.read(annotated(tmp_path, shapes))
    masks = masks_of(found)
    assert labels_of(found) == ["cat", "dog", "cat", "cat"]
    assert np.array_equal(masks[..., 0], block(5, 15, 10, 30))
    assert np.array_equal(masks[..., 1], block(20, 40, 40, 60))
    y, x = np.mgrid[:40, :60] + 0.5
    assert iou(masks[..., 2], (x - 20) ** 2 + (y - 20) ** 2 < 100) > 0.97
    assert np.array_equal(masks[30:35, 7:11, 3], crop) and masks[..., 3].sum() == 4
    (warning,) = [r.getMessage() for r in caplog.records]
    for text in ("kind 'point'", "kind 'linestrip'", "1 polygons of fewer than 3", "shape 4"):
        assert text in warning


def test_a_folder_in_the_order_of_its_names(tmp_path):
    annotated(tmp_path, [shape(SQUARE, label="class 10")], "b")
    annotated(tmp_path, [shape(SQUARE, label="class 9")], "a", imageHeight=None, imageWidth=None)
    found = formats.read(tmp_path)
    assert [image.id for image in found.images] == ["a", "b"]
    assert (found.images[0].height, found.images[0].width) == (40, 60)  # of the file itself
    assert [name for _, name in found.classes] == ["class 9", "class 10"]


def test_a_list_of_classes_gives_their_order(tmp_path):
    annotated(tmp_path, [shape(SQUARE, label="ant"), shape(SQUARE, label="zebra")])
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nzebra\ncow\nant\n")
    assert [name for _, name in formats.read(tmp_path).classes] == ["zebra", "cow", "ant"]
    (tmp_path / "labels.txt").write_text("a list of something else\n")
    assert [name for _, name in formats.read(tmp_path).classes] == ["ant", "zebra"]


def test_a_file_that_holds_its_image_is_recognized(tmp_path):
    shapes = [shape(SQUARE, description="A" * 3_000_000)]
    path = annotated(tmp_path, shapes, imageData="A" * 3_000_000)
    assert formats.read(path).images[0].id == "a"


def test_a_group_is_one_object(tmp_path):
    crop = np.ones((2, 2), bool)
    shapes = [
        shape(SQUARE, group_id=1),
        shape([[0, 30], [5, 40]], "rectangle", group_id=1),
        shape(SQUARE, label="dog", group_id=1),  # a group has one object of each class
        shape([[50, 0], [51, 1]], "mask", group_id=2, mask=png(crop)),
        shape([[0, 0], [2, 2]], "rectangle", group_id=2),
        shape(SQUARE, group_id=None),
    ]
    found = formats.read(annotated(tmp_path, shapes))
    masks = masks_of(found)
    assert labels_of(found) == ["cat", "dog", "cat", "cat"]
    assert np.array_equal(masks[..., 0], block(5, 15, 10, 30) | block(30, 40, 0, 5))
    assert np.array_equal(masks[..., 2], block(0, 2, 50, 52) | block(0, 2, 0, 2))


def test_a_mask_that_leaves_its_image_is_clipped(tmp_path):
    crop = np.ones((6, 6), bool)
    shapes = [shape([[-2, 37], [3, 42]], "mask", mask=png(crop))]
    mask = masks_of(formats.read(annotated(tmp_path, shapes)))[..., 0]
    assert np.array_equal(mask, block(37, 40, 0, 4))


@pytest.mark.parametrize(
    "name", ["..\\images\\a.png", "../images/a.png", "C:\\x\\a.png", "old.png"]
)
def test_images_are_found_inside_the_folders(tmp_path, name):
    path = annotated(tmp_path / "labels", [shape(SQUARE)], imagePath=name)
    assert formats.read(path).images[0].path == str(tmp_path / "labels" / "a.png")
    write_image(tmp_path / "images" / "a.png", 40, 60)
    found = formats.read(tmp_path / "labels", images=tmp_path / "images")
    assert found.images[0].path == str(tmp_path / "images" / "a.png")


def test_other_files_of_the_folder_are_named(tmp_path, caplog):
    annotated(tmp_path, [shape(SQUARE)])
    (tmp_path / "config.json").write_text("{}")
    assert len(formats.read(tmp_path).images) == 1
    assert "config.json" in caplog.text
    annotated(tmp_path, [shape(SQUARE)], "b").write_text('{"shapes": [], "imagePath": ')
    with pytest.raises(ValueError, match=r"b\.json"):  # a damaged file is not another one
        formats.read(tmp_path)


def test_hidden_files_and_empty_labels(tmp_path, caplog):
    path = annotated(tmp_path, [shape(SQUARE), shape(SQUARE, label="")])
    (tmp_path / "._a.json").write_bytes(b"\x00\x05\x16\x07 shapes")  # as macOS leaves them
    assert labels_of(formats.read(tmp_path)) == ["cat"]
    assert "1 objects without a class" in caplog.text and path.stem in caplog.text


def test_rectangles_alone_are_boxes(tmp_path):
    path = annotated(tmp_path, [shape([[1, 2], [3, 4.5]], "rectangle")])
    (instance,) = formats.read(path).images[0].instances
    assert instance.shape is None and instance.box == (2, 1, 4.5, 3)


# --- Writing -------------------------------------------------------------------------------------
def test_round_trip(tmp_path):
    annotations = record(tmp_path / "images", score=0.5)
    labelme.write(annotations, tmp_path / "out")
    copied = record(tmp_path / "copied", score=0.5)
    for image in copied.images:  # LabelMe has the images beside its files
        image.path = str(tmp_path / "out" / image.path.split("/")[-1])
    found = round_trip(labelme, copied, tmp_path / "out", None)
    assert {i.score for image in found.images for i in image.instances} == {0.5}
    text = (tmp_path / "images" / "sub" / "b 2.png").read_bytes()
    assert (tmp_path / "out" / "b 2.png").read_bytes() == text


def test_a_mask_is_a_polygon_where_one_draws_it(tmp_path):
    annotations = record(tmp_path / "images")
    crop = Rle(**mask_to_rle(block(5, 9, 10, 20)))
    annotations.images[0].instances.append(Instance(1, shape=crop))
    labelme.write(annotations, tmp_path / "out")
    _, ring, rectangle = json.loads((tmp_path / "out" / "a.json").read_text())["shapes"]
    assert ring["shape_type"] == "mask" and ring["points"] == [[10, 5], [59, 39]]
    assert rectangle["shape_type"] == "polygon" and rectangle["mask"] is None
    assert sorted(rectangle["points"]) == [[10, 5], [10, 9], [20, 5], [20, 9]]


def test_a_file_has_all_keys_of_the_tool(tmp_path):
    labelme.write(boxes_only(tmp_path / "images"), tmp_path / "out")
    data = json.loads((tmp_path / "out" / "a.json").read_text())
    expected = json.loads(annotated(tmp_path, [shape([])]).read_text())
    assert list(data) == list(expected)
    assert list(data["shapes"][0]) == list(expected["shapes"][0])
    assert (tmp_path / "out" / "labels.txt").read_text() == "__ignore__\ndog\ncat\n"
    found = formats.read(tmp_path / "out").images[0].instances
    assert [instance.box for instance in found] == [(2, 3, 20.5, 40.25), (0, 0, 40, 60)]


def test_what_labelme_cannot_hold_is_refused(tmp_path):
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[0].crowd = True
    with pytest.raises(ValueError, match="'labelme' cannot mark crowds"):
        labelme.write(annotations, tmp_path / "out")


# --- Damaged and hostile files -------------------------------------------------------------------
BAD_SHAPES = {
    "no object": 3,
    "no label": {**shape(SQUARE), "label": None},
    "label": shape(SQUARE, label=["cat"]),
    "text": shape([["1", "2"], ["3", "4"], ["5", "6"]]),
    "pairs": shape([[1, 2, 3]] * 3),
    "infinite": shape([[1, 2], [3, float("inf")], [5, 6]]),
    "huge": shape([[1, 2], [3, 10**400], [5, 6]]),
    "circle": shape(SQUARE, "circle"),
    "rectangle": shape([[1, 2]], "rectangle"),
    "group": shape(SQUARE, group_id=[1]),
    "no mask": shape([[1, 2], [3, 4]], "mask"),
    "no base64": shape([[1, 2], [3, 4]], "mask", mask="???"),
    "no png": shape([[1, 2], [3, 4]], "mask", mask=base64.b64encode(b"GIF89a").decode()),
    "large png": shape([[1, 2], [3, 4]], "mask", mask=png(np.ones((1, 61), bool))),
    "cut png": shape([[1, 2], [3, 4]], "mask", mask=png(np.ones((9, 9), bool))[:60]),
    "far mask": shape([[1e6, 2], [3e6, 4]], "mask", mask=png(np.ones((9, 9), bool))),
    "no points": shape(None),
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_damaged_shape_is_named(tmp_path, name):
    path = annotated(tmp_path, [shape(SQUARE), BAD_SHAPES[name]])
    with pytest.raises(ValueError, match=r"a\.json: shape 1 of image .*a\.png"):
        labelme.read(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"imagePath": "../secret.png"},
        {"imagePath": "/etc/passwd"},
        {"imagePath": "C:\\secret.png"},
        {"imagePath": ""},
        {"imagePath": None},
        {"imagePath": "a" * 10_000},
        {"imagePath": "link.png"},
        {"imageHeight": -1},
        {"imageHeight": 10**9, "imageWidth": 10**9},
        {"imageHeight": "40"},
        {"shapes": {}},
    ],
)
def test_a_damaged_file_is_named(tmp_path, changes):
    write_image(tmp_path / "secret.png", 5, 5)
    path = annotated(tmp_path / "inner", [], "b", **changes)
    (tmp_path / "inner" / "b.png").unlink()
    (tmp_path / "inner" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"b\.json") as caught:
        labelme.read(path)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("text", ["[]", "", "[" * 100_000, '{"shapes": [], "imagePath"'])
def test_a_file_that_is_not_labelme_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        labelme.read(path)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no LabelMe files"):
        labelme.read(tmp_path)


def test_cut_and_changed_files_are_read_or_named(tmp_path):
    mask = shape([[7, 30], [10, 34]], "mask", mask=png(np.eye(5, 4, dtype=bool)))
    attack(labelme, annotated(tmp_path, [shape(SQUARE, group_id=1), mask]))
