"""VIA: projects and exports of both versions, as the tool writes them."""

import csv
import json
import logging
import os

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
from mrcnn.data.formats import via

SQUARE = {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [5, 5, 15, 15]}
RECT = {"name": "rect", "x": 40, "y": 20, "width": 20, "height": 20}
CIRCLE = {"name": "circle", "cx": 20, "cy": 20, "r": 12.5}
ELLIPSE = {"name": "ellipse", "cx": 30, "cy": 20, "rx": 20, "ry": 5, "theta": np.pi / 2}
LINE = {"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]}
POINT = {"name": "point", "cx": 3, "cy": 4}


def regions(*shapes, label="cat", attribute="class"):
    return [
        {"shape_attributes": shape, "region_attributes": {attribute: label} if label else {}}
        for shape in shapes
    ]


def entry(listed, filename="a.png"):
    return {"filename": filename, "size": 120, "regions": listed, "file_attributes": {}}


def export(tmp_path, entries, name="via_region_data.json"):
    """Writes the JSON export of VIA 2, and the image a.png of 40x60 pixels."""
    write_image(tmp_path / "a.png", 40, 60)
    path = tmp_path / name
    path.write_text(json.dumps({f"{e['filename']}{e['size']}": e for e in entries}))
    return path


def project(tmp_path, listed, attribute):
    """Writes a project of VIA 2."""
    write_image(tmp_path / "a.png", 40, 60)
    path = tmp_path / "via_project.json"
    data = {
        "_via_settings": {"ui": {}, "core": {}, "project": {"name": "via_project"}},
        "_via_img_metadata": {"a.png120": entry(listed)},
        "_via_attributes": {"region": {"class": attribute}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": ["a.png120"],
    }
    path.write_text(json.dumps(data))
    return path


def block(y1, y2, x1, x2):
    mask = np.zeros((40, 60), bool)
    mask[y1:y2, x1:x2] = True
    return mask


# --- Reading -------------------------------------------------------------------------------------
def test_regions_of_version_2(tmp_path, caplog):
    shapes = [SQUARE, RECT, CIRCLE, ELLIPSE, LINE, POINT, POINT]
    path = export(tmp_path, [entry(regions(*shapes))])
    found = formats.read(path)
    masks = masks_of(found)
    assert found.classes == [("cat", "cat")]
    assert masks.shape == (40, 60, 4)
    assert np.array_equal(masks[..., 0], block(5, 15, 10, 30))
    assert np.array_equal(masks[..., 1], block(20, 40, 40, 60))  # up to the last pixel
    y, x = np.mgrid[:40, :60] + 0.5
    assert iou(masks[..., 2], (x - 20) ** 2 + (y - 20) ** 2 < 12.5**2) > 0.97
    # rotated by a quarter turn: it is 40 pixels high
    assert iou(masks[..., 3], ((x - 30) / 5) ** 2 + ((y - 20) / 20) ** 2 < 1) > 0.95
    assert found.images[0].instances[1].box == (20, 40, 40, 60)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "2 regions of the shape 'point', 1 regions of the shape 'polyline'" in warning
    assert "region 4" in warning and path.name in warning


def test_an_ellipse_turns_clockwise(tmp_path):
    turned = {**ELLIPSE, "theta": np.pi / 4}
    mask = masks_of(formats.read(export(tmp_path, [entry(regions(turned))])))[..., 0]
    assert mask[30, 40] and not mask[10, 40]  # down and to the right, y points down


def test_regions_of_version_1(tmp_path):
    closed = {
        "name": "polygon",
        "all_points_x": [10, 30, 30, 10, 10],
        "all_points_y": [5, 5, 15, 15, 5],
    }
    write_image(tmp_path / "a.png", 40, 60)
    data = {
        "a.png120": {
            "fileref": "",
            "size": 120,
            "filename": "a.png",
            "base64_img_data": "",
            "file_attributes": {},
            "regions": {str(i): region for i, region in enumerate(regions(closed, label=None))},
        }
    }
    path = tmp_path / "via_region_data.json"
    path.write_text(json.dumps(data))
    found = formats.read(tmp_path, class_name="balloon")
    assert found.classes == [("balloon", "balloon")]
    assert len(found.images[0].instances[0].shape.points[0]) == 8
    assert np.array_equal(masks_of(found)[..., 0], block(5, 15, 10, 30))


def test_a_project_keeps_the_order_and_the_names_of_its_options(tmp_path):
    options = {"zebra": "", "ant": "An ant", "2": "mouse"}
    listed = [
        *regions(SQUARE, label="2"),
        *regions(RECT, label="ant"),
        *regions(CIRCLE, label={"zebra": True, "ant": False}),
        *regions(CIRCLE, label=""),
    ]
    attribute = {"type": "checkbox", "description": "", "options": options, "default_options": {}}
    found = formats.read(project(tmp_path, listed, attribute))
    assert found.classes == [("zebra", "zebra"), ("ant", "ant"), ("2", "mouse")]
    assert labels_of(found) == ["mouse", "ant", "zebra"]  # the one without a class is left out


def test_a_region_of_two_classes_is_named(tmp_path):
    path = export(tmp_path, [entry(regions(SQUARE, label={"cat": True, "dog": True}))])
    with pytest.raises(ValueError, match=r"region 0 of .*ticked for 2 classes"):
        formats.read(path)


def test_text_attributes_are_kept_as_written_and_sorted(tmp_path):
    labels = ["Class 10", "class 2", " class 1", "Class 2"]
    listed = [region for label in labels for region in regions(SQUARE, label=label)]
    attribute = {"type": "text", "description": "", "default_value": ""}
    found = formats.read(project(tmp_path, listed, attribute))
    assert labels_of(found) == labels
    assert [name for _, name in found.classes] == [" class 1", "Class 2", "Class 10", "class 2"]


def test_the_attribute_of_the_class_is_asked_for_where_there_are_several(tmp_path):
    listed = regions(SQUARE, RECT)
    listed[0]["region_attributes"]["quality"] = "good"
    path = export(tmp_path, [entry(listed)])
    with pytest.raises(ValueError, match="attributes: 'class', 'quality'. Name .* attribute="):
        formats.read(path)
    assert labels_of(formats.read(path, attribute="quality")) == ["good"]
    with pytest.raises(ValueError, match="no region has the attribute 'kind'.*'class', 'quality'"):
        formats.read(path, attribute="kind")


@pytest.mark.parametrize("first", ["filename", "#filename"])
def test_the_table_of_both_versions(tmp_path, first):
    write_image(tmp_path / "images" / "a.png", 40, 60)
    write_image(tmp_path / "images" / "b.png", 40, 60)
    long = {"name": "polygon", "all_points_x": [1, 9, 9] * 30000, "all_points_y": [1, 1, 9] * 30000}
    rows = [
        ["a.png", 120, "{}", 3, 0, SQUARE, {"class": "cat"}],
        ["a.png", 120, "{}", 3, 1, RECT, {"class": "dog, small"}],
        ["a.png", 120, "{}", 3, 2, long, {"class": "cat"}],
        ["b.png", 120, "{}", 0, 0, {}, {}],
    ]
    names = "file_size file_attributes region_count region_id region_shape_attributes"
    with open(tmp_path / "via_region_data.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow([first, *names.split(), "region_attributes"])
        for row in rows:
            table.writerow([json.dumps(x) if isinstance(x, dict) else x for x in row])
    found = formats.read(tmp_path)
    assert [image.id for image in found.images] == ["a.png", "b.png"]
    assert labels_of(found) == ["cat", "dog, small", "cat"] and labels_of(found, 1) == []
    assert np.array_equal(masks_of(found)[..., 1], block(20, 40, 40, 60))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_with_a_mark_of_their_encoding_are_recognized(tmp_path, encoding):
    path = export(tmp_path, [entry(regions(SQUARE, label="Kühe"))])
    path.write_text(path.read_text(), encoding=encoding)
    assert labels_of(formats.read(path)) == ["Kühe"]


def test_rectangles_alone_are_boxes(tmp_path):
    path = export(tmp_path, [entry(regions(RECT))])
    assert formats.read(path).images[0].instances[0].shape is None
    assert masks_of(formats.read(path, rectangles="masks")).sum() == 400
    with pytest.raises(ValueError, match="rectangles must be one of"):
        formats.read(path, rectangles="none")


def test_edges(tmp_path, caplog):
    assert via.read(export(tmp_path, [])).images == []
    two = {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}
    outside = {"name": "rect", "x": 50, "y": 30, "width": 100, "height": 10.0}
    path = export(tmp_path, [entry(regions(two, outside)), entry([], "missing.png")])
    found = via.read(path, rectangles="masks")
    assert masks_of(found).sum() == 100
    assert "1 polygons of fewer than 3 points" in caplog.text
    assert (found.images[1].height, found.images[1].width) == (None, None)


# --- Writing -------------------------------------------------------------------------------------
def test_round_trip(tmp_path):
    annotations = record(tmp_path / "images")
    found = round_trip(via, annotations, tmp_path / "out.json", tmp_path / "images")
    assert [image.id for image in found.images] == ["a.png", "sub/b 2.png", "empty.png"]


def test_a_project_has_all_keys_of_the_tool(tmp_path):
    via.write(record(tmp_path), tmp_path / "out.json")
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert list(data) == [
        "_via_settings",
        "_via_img_metadata",
        "_via_attributes",
        "_via_data_format_version",
        "_via_image_id_list",
    ]
    key = f"a.png{os.path.getsize(tmp_path / 'a.png')}"
    assert data["_via_image_id_list"][0] == key
    assert list(data["_via_img_metadata"][key]) == [
        "filename",
        "size",
        "regions",
        "file_attributes",
    ]
    options = data["_via_attributes"]["region"]["class"]["options"]
    assert list(options) == ["dog", "cat 10", "unused", "Käse & <Brot>"]


def test_boxes_come_back_as_boxes(tmp_path):
    annotations = boxes_only(tmp_path)
    via.write(annotations, tmp_path / "out.json")
    found = formats.read(tmp_path / "out.json").images[0].instances
    assert [i.box for i in found] == [i.box for i in annotations.images[0].instances]
    assert all(instance.shape is None for instance in found)


def test_what_via_cannot_hold_is_refused(tmp_path):
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[0].crowd = True
    with pytest.raises(ValueError, match="'via' cannot mark crowds"):
        via.write(annotations, tmp_path / "out.json")
    annotations = boxes_only(tmp_path)
    annotations.classes[:] = [(1, "cat"), (2, "cat")]
    with pytest.raises(ValueError, match="two are named 'cat'"):
        via.write(annotations, tmp_path / "out.json")
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[1].box = None
    with pytest.raises(ValueError, match="second of image .* neither a box nor a mask"):
        via.write(annotations, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


# --- Damaged and hostile files -------------------------------------------------------------------
BAD_SHAPES = {
    "no shape": None,
    "no name": {"all_points_x": [1, 2, 3]},
    "text": {**SQUARE, "all_points_x": ["1", "2", "3", "4"]},
    "lengths": {**SQUARE, "all_points_x": [1, 2, 3]},
    "no list": {**SQUARE, "all_points_x": 3},
    "infinite": {**SQUARE, "all_points_x": [1, 2, 3, float("inf")]},
    "huge": {**SQUARE, "all_points_x": [1, 2, 3, 10**400]},
    "negative": {**RECT, "width": -4},
    "nan": {**CIRCLE, "r": float("nan")},
    "huge radius": {**CIRCLE, "r": 1e300},
    "missing": {"name": "rect", "x": 1, "y": 2, "width": 3},
    "deep": {**RECT, "x": [[[[1]]]]},
}


@pytest.mark.parametrize("name", BAD_SHAPES)
def test_a_damaged_region_is_named(tmp_path, name):
    path = export(tmp_path, [entry(regions(SQUARE, BAD_SHAPES[name]))])
    with pytest.raises(ValueError, match=r"via_region_data.json: region 1 of image .*a.png"):
        via.read(path)


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "C:\\a.png", "..\\a.png", "", 5, None])
def test_no_file_outside_the_folder_is_read(tmp_path, name):
    path = export(tmp_path, [{**entry([]), "filename": "a.png"}])
    data = json.loads(path.read_text())
    data["a.png120"]["filename"] = name
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"via_region_data\.json"):
        via.read(path)


def test_no_link_out_of_the_folder_is_followed(tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = export(folder, [entry([], "link.png")])
    write_image(tmp_path / "secret.png", 5, 5)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"via_region_data\.json.*link\.png leads out of"):
        via.read(path)
    (tmp_path / "images").mkdir()
    (folder / "images").symlink_to(tmp_path / "images")
    with pytest.raises(ValueError, match=r"images leads out of"):
        via.read(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "via.json").symlink_to(path)
    with pytest.raises(ValueError, match=r"via\.json leads out of"):
        via.read(tmp_path / "other")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "[" * 100_000,
        '{"a": 1}',
        '{"_via_img_metadata": [1]}',
        '{"_via_img_metadata": {"a": {"filename": "a.png", "regions": [3]}}}',
        '{"_via_img_metadata": {"a": {"filename": "a.png", "regions": 3}}}',
        '{"_via_img_metadata": {}, "_via_attributes": 3}',
        '{"a": {"filename": "a.png", "regions": [{"region_attributes": ["cat"]}]}}',
        '{"a": {"filename": "' + "a" * 10_000 + '"}}',
        '{"a": {"filename": "a\\u0000.png"}}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "via.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"via\.json") as caught:
        via.read(path)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("row", ["a.png,{", 'a.png,"{""name"": 3}"', "a.png,[1]", 'a.png,"x'])
def test_a_damaged_table_is_named(tmp_path, row):
    path = tmp_path / "via.csv"
    path.write_text("filename,region_shape_attributes\n" + row)
    with pytest.raises(ValueError, match=r"via\.csv"):
        via.read(path)


def test_cut_and_changed_files_are_read_or_named(tmp_path):
    attack(via, export(tmp_path, [entry(regions(SQUARE, RECT, CIRCLE, ELLIPSE, LINE))]))
