"""Labelbox: rows of an export of version 2, as the tool writes them."""

import json

import numpy as np
import pytest
from PIL import Image as PillowImage
from tool_files import (
    attack,
    boxes_only,
    labels_of,
    masks_of,
    png,
    record,
    ring_mask,
    round_trip,
    write_image,
)

from mrcnn.data import formats
from mrcnn.data.formats import labelbox
from mrcnn.images.rle import mask_to_rle, text_rle

SQUARE = [{"x": x, "y": y} for x, y in [(10, 5), (30, 5), (30, 15), (10, 15)]]
BOX = {"top": 20.0, "left": 40.0, "height": 20.0, "width": 20.0}
URL = "https://api.labelbox.com/masks/feature/f1"


def entry(kind, label="Cat", number="f1", **shape):
    return {
        "feature_id": number,
        "feature_schema_id": "s1",
        "name": label,
        "value": label.lower(),
        "annotation_kind": kind,
        "classifications": [],
        **shape,
    }


POLYGON = entry("ImagePolygon", polygon=SQUARE)
BOUNDING_BOX = entry("ImageBoundingBox", "Big dog", bounding_box=BOX)
MASK = entry("ImageSegmentationMask", mask={"url": URL})
LINE = entry("ImagePolyline", line=SQUARE)
POINT = entry("ImagePoint", point=SQUARE[0])


def label(objects):
    return {
        "label_kind": "Default",
        "version": "1.0.0",
        "id": "l1",
        "label_details": {"created_at": "2026-01-01", "created_by": "a@example.org"},
        "annotations": {"objects": objects, "classifications": [], "relationships": []},
    }


def row(labels, name="a.png", **changes):
    return {
        "data_row": {
            "id": "d1",
            "global_key": "key",
            "external_id": name,
            "row_data": "https://storage.example.org/data/a.png?token=1",
            "details": {"dataset_id": "x"},
        },
        "media_attributes": {
            "height": 40,
            "width": 60,
            "mime_type": "image/png",
            "asset_type": "image",
            "exif_rotation": "1",
        },
        "attachments": [],
        "metadata_fields": [],
        "projects": {"p1": {"name": "pets", "labels": labels, "project_details": {}}},
        **changes,
    }


def export(folder, rows):
    """Writes the image a.png of 40x60 pixels and an NDJSON file."""
    write_image(folder / "images" / "a.png", 40, 60)
    path = folder / "export.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return path


def block(y1, y2, x1, x2):
    mask = np.zeros((40, 60), bool)
    mask[y1:y2, x1:x2] = True
    return mask


# --- Reading -------------------------------------------------------------------------------------
def test_objects(tmp_path, caplog):
    code = entry("ImageSegmentationMask", mask={"rle": text_rle(mask_to_rle(ring_mask()))})
    data = entry("ImageSegmentationMask", mask={"im_bytes": png(ring_mask())})
    rows = [row([label([POLYGON, BOUNDING_BOX, code, data, LINE, POINT])]), row([])]
    found = formats.read(export(tmp_path, rows))
    masks = masks_of(found)
    assert [name for _, name in found.classes] == ["Big dog", "Cat"]
    assert labels_of(found) == ["Cat", "Big dog", "Cat", "Cat"]
    assert len(found.images) == 1 and found.images[0].id == "d1"
    assert np.array_equal(masks[..., 0], block(5, 15, 10, 30))
    assert np.array_equal(masks[..., 1], block(20, 40, 40, 60))
    assert np.array_equal(masks[..., 2], ring_mask()) and np.array_equal(masks[..., 3], ring_mask())
    assert "1 objects 'ImagePolyline', 1 objects 'ImagePoint'" in caplog.text
    assert "left out 1 rows that are not labeled" in caplog.text


def test_a_mask_of_the_server_is_listed_not_fetched(tmp_path, caplog):
    found = formats.read(export(tmp_path, [row([label([MASK, POLYGON])])]))
    assert labels_of(found) == ["Cat"]
    assert URL in caplog.text and "masks/<feature_id>.png" in caplog.text


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_a_downloaded_mask(tmp_path, mode):
    path = export(tmp_path, [row([label([MASK])])])
    (tmp_path / "masks").mkdir()
    PillowImage.fromarray(ring_mask()).convert(mode).save(tmp_path / "masks" / "f1.png")
    assert np.array_equal(masks_of(formats.read(path))[..., 0], ring_mask())


def test_masks_by_their_paths_and_colors(tmp_path):
    both = {"url": "masks/all.png", "color_rgb": [255, 0, 9]}
    objects = [
        entry("ImageSegmentationMask", number="x", mask={"url": "masks/one.png"}),
        entry("ImageSegmentationMask", number="y", mask={"url": URL}, composite_mask=both),
    ]
    path = export(tmp_path, [row([label(objects)])])
    (tmp_path / "masks").mkdir()
    PillowImage.fromarray(ring_mask()).save(tmp_path / "masks" / "one.png")
    colors = np.zeros((40, 60, 3), np.uint8)
    colors[block(0, 4, 0, 5)] = (255, 0, 9)
    colors[block(9, 12, 0, 5)] = (255, 0, 8)
    PillowImage.fromarray(colors).save(tmp_path / "masks" / "all.png")
    masks = masks_of(formats.read(path))
    assert np.array_equal(masks[..., 0], ring_mask())
    assert np.array_equal(masks[..., 1], block(0, 4, 0, 5))


def test_older_exports_are_one_list_and_lack_sizes(tmp_path):
    path = export(tmp_path, [])
    line = row([label([POLYGON])], name="", media_attributes={})  # found by its address
    path.write_text(json.dumps([line]))
    found = formats.read(path)
    assert found.images[0].path == str(tmp_path / "images" / "a.png")
    assert (found.images[0].height, found.images[0].width) == (40, 60)


def test_boxes_alone_are_boxes(tmp_path):
    (instance,) = formats.read(export(tmp_path, [row([label([BOUNDING_BOX])])])).images[0].instances
    assert instance.shape is None and instance.box == (20, 40, 40, 60)


# --- Writing -------------------------------------------------------------------------------------
def test_round_trip(tmp_path):
    annotations = record(tmp_path / "images", score=0.5)
    found = round_trip(labelbox, annotations, tmp_path / "out.ndjson", tmp_path / "images")
    assert {i.score for image in found.images for i in image.instances} == {0.5}
    assert [image.id for image in found.images] == [image.id for image in annotations.images]


def test_a_row_has_what_the_tool_writes(tmp_path):
    labelbox.write(boxes_only(tmp_path), tmp_path / "out.ndjson")
    line = json.loads((tmp_path / "out.ndjson").read_text())
    assert set(line) <= set(row([]))
    (written,) = line["projects"]["mrcnn"]["labels"]
    assert set(written) <= set(label([]))
    assert set(written["annotations"]["objects"][0]) <= set(BOUNDING_BOX)
    ontology = json.loads((tmp_path / "out.ontology.json").read_text())
    assert [tool["name"] for tool in ontology["tools"]] == ["dog", "cat"]
    found = formats.read(tmp_path / "out.ndjson").images[0].instances
    assert [instance.box for instance in found] == [(2, 3, 20.5, 40.25), (0, 0, 40, 60)]


def test_what_labelbox_cannot_hold_is_refused(tmp_path):
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[0].crowd = True
    with pytest.raises(ValueError, match="'labelbox' cannot mark crowds"):
        labelbox.write(annotations, tmp_path / "out.ndjson")


# --- Damaged and hostile files -------------------------------------------------------------------
def masked(**mask):
    return entry("ImageSegmentationMask", mask=mask)


BAD_OBJECTS = {
    "no object": 3,
    "no name": {**POLYGON, "name": None},
    "polygon": {**POLYGON, "polygon": {"x": 1}},
    "point": {**POLYGON, "polygon": [{"x": 1}]},
    "text": {**POLYGON, "polygon": [{"x": "1", "y": 2}] * 3},
    "huge": {**POLYGON, "polygon": [{"x": 10**400, "y": 2}] * 3},
    "nan": {**POLYGON, "polygon": [{"x": float("nan"), "y": 2}] * 3},
    "negative": {**BOUNDING_BOX, "bounding_box": {**BOX, "width": -1}},
    "missing": {**BOUNDING_BOX, "bounding_box": {"top": 1, "left": 2}},
    "mask": {**MASK, "mask": "https://example.org"},
    "size": masked(rle={"size": [10**6, 10**6], "counts": "a"}),
    "counts": masked(rle={"size": [40, 60], "counts": [1]}),
    "bytes": masked(im_bytes="AAAA"),
    "large": masked(im_bytes=png(np.ones((41, 60), bool))),
    "small": masked(im_bytes=png(np.ones((39, 60), bool))),
    "outside": masked(url="../secret.png"),
    "absolute": masked(url="/etc/passwd"),
    "link": masked(url="images/link.png"),
}


@pytest.mark.parametrize("name", BAD_OBJECTS)
def test_a_damaged_object_is_named(tmp_path, name):
    path = export(tmp_path, [row([label([POLYGON, BAD_OBJECTS[name]])])])
    write_image(tmp_path.parent / "secret.png", 40, 60)
    (tmp_path / "images" / "link.png").symlink_to(tmp_path.parent / "secret.png")
    with pytest.raises(ValueError, match=r"export\.ndjson: object 1 of image .*a\.png"):
        labelbox.read(path)


def test_the_size_of_a_mask_is_checked_before_it_is_drawn(tmp_path):
    path = export(tmp_path, [row([label([BAD_OBJECTS["size"]])])])
    with pytest.raises(ValueError, match=r"its code is of size \[1000000, 1000000\]"):
        labelbox.read(path)
    path = export(tmp_path, [row([label([MASK])])])
    write_image(tmp_path / "masks" / "f1.png", 41, 60)
    with pytest.raises(ValueError, match=r"f1\.png.*larger than its image"):
        labelbox.read(path)


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "3",
        "[3]",
        "[" * 100_000,
        json.dumps(row([label([])], projects=[])),
        json.dumps(row([3])),
        json.dumps(row([label([])], data_row={})),
        json.dumps(row([label([])], media_attributes={"height": -1, "width": 4})),
        json.dumps(row([label([])], media_attributes={"height": 10**9, "width": 10**9})),
        json.dumps(row([{**label([]), "annotations": {"frames": {}}}])),
        json.dumps(row([label([])], name="a\0")),
    ],
)
def test_a_damaged_row_is_named(tmp_path, line):
    path = export(tmp_path, [])
    path.write_text(line)
    with pytest.raises(ValueError, match=r"export\.ndjson"):
        labelbox.read(path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "C:\\secret.png"])
def test_no_image_outside_the_folder_is_read(tmp_path, name):
    data = {"id": "d1", "external_id": name, "row_data": name}
    path = export(tmp_path, [row([label([])], data_row=data)])
    write_image(tmp_path / "secret.png", 5, 5)
    with pytest.raises(ValueError, match=r"export\.ndjson: row 0.*leaves the image folder"):
        labelbox.read(path, images=tmp_path / "images")


def test_cut_and_changed_files_are_read_or_named(tmp_path):
    attack(labelbox, export(tmp_path, [row([label([POLYGON, BOUNDING_BOX, MASK])])]))
