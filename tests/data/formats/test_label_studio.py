"""Label Studio: JSON and JSON-MIN exports as the tool writes them, and its code of brush masks."""

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
    ring_mask,
    round_trip,
    write_image,
)

from mrcnn.data import formats
from mrcnn.data.formats import label_studio
from mrcnn.data.formats._brush import decode_brush, encode_brush

SIZE = {"original_width": 60, "original_height": 40, "image_rotation": 0}
# 10..30 and 5..15 pixels of 60x40
POLYGON = {
    "points": [[100 / 6, 12.5], [50, 12.5], [50, 37.5], [100 / 6, 37.5]],
    "closed": True,
    "polygonlabels": ["cat"],
}
RECTANGLE = {
    "x": 200 / 3,
    "y": 50,
    "width": 100 / 3,
    "height": 50,
    "rotation": 0,
    "rectanglelabels": ["dog"],
}
ELLIPSE = {
    "x": 50,
    "y": 50,
    "radiusX": 100 / 3,
    "radiusY": 12.5,
    "rotation": 0,
    "ellipselabels": ["cat"],
}
BRUSH = {"format": "rle", "rle": encode_brush(ring_mask()), "brushlabels": ["cat"]}
KEYPOINT = {"x": 10, "y": 10, "width": 0.3, "keypointlabels": ["cat"]}


def region(value, **changes):
    kind = next(key for key in value if key.endswith("labels"))
    return {
        **SIZE,
        "value": value,
        "id": f"a{len(json.dumps(value))}",
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        **changes,
    }


def annotation(results, **changes):
    return {
        "id": 1,
        "completed_by": 1,
        "result": results,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "prediction": {},
        "result_count": len(results),
        **changes,
    }


def task(annotations, number=1, image="/data/upload/1/1a2b3c4d-a.png", **changes):
    return {
        "id": number,
        "annotations": annotations,
        "file_upload": "1a2b3c4d-a.png",
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
        "created_at": "2026-01-01T00:00:00.000000Z",
        "inner_id": number,
        "total_annotations": len(annotations),
        "cancelled_annotations": 0,
        "project": 1,
        **changes,
    }


def export(folder, tasks):
    """Writes the image a.png of 40x60 pixels and a JSON file."""
    write_image(folder / "images" / "a.png", 40, 60)
    path = folder / "project-1-at-2026-01-01.json"
    path.write_text(json.dumps(tasks))
    return path


def block(y1, y2, x1, x2):
    mask = np.zeros((40, 60), bool)
    mask[y1:y2, x1:x2] = True
    return mask


# --- Brush masks ---------------------------------------------------------------------------------
def slow_decode(code):
    """Decodes the code as its description says, one bit at a time."""
    bits = "".join(f"{byte:08b}" for byte in code)
    position = 0

    def take(count):
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    count, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length if repeated else [take(word) for _ in range(length)]
    return np.array(values)


def random_masks():
    rng = np.random.default_rng(0)
    for shape in [(1, 1), (1, 7), (5, 1), (13, 17), (300, 301)]:
        for density in (0.0, 0.02, 0.5, 1.0):
            yield rng.random(shape) < density


@pytest.mark.parametrize("mask", list(random_masks()))
def test_brush_masks(mask):
    code = encode_brush(mask)
    assert np.array_equal(decode_brush(code, *mask.shape), mask)
    if mask.size < 1000:
        assert np.array_equal(slow_decode(code), np.repeat(mask.ravel(), 4) * 255)


def test_a_code_with_words_that_are_not_repeated():
    # 1x2 pixels: a run of 4 different words (red, green, blue, alpha 0), then 4 times 255
    bits = f"{8:032b}" + f"{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 4, 8, 16))
    bits += "0" + "00" + f"{3:03b}" + "".join(f"{n:08b}" for n in (9, 8, 7, 0))
    bits += "1" + "01" + f"{3:04b}" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    code = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert decode_brush(code, 1, 2).tolist() == [[False, True]]


def test_damaged_brush_masks():
    code = encode_brush(ring_mask())
    for damaged in (code[:-9], code[:3], [], [300], ["a"], 5, None, [-1]):
        with pytest.raises(ValueError):
            decode_brush(damaged, 40, 60)
    with pytest.raises(ValueError, match="expected 4 . 60 . 60"):
        decode_brush(code, 60, 60)
    with pytest.raises(ValueError, match="at most"):
        decode_brush(code, 2**14, 2**14)


# --- Reading -------------------------------------------------------------------------------------
def test_regions(tmp_path, caplog):
    bitmask = {
        "imageDataURL": "data:image/png;base64," + png(ring_mask()),
        "bitmasklabels": ["cat"],
    }
    choice = {**SIZE, "value": {"choices": ["good"]}, "type": "choices", "id": "c"}
    values = [POLYGON, RECTANGLE, ELLIPSE, BRUSH, bitmask, KEYPOINT]
    results = [region(value) for value in values]
    relation = {"from_id": "a", "to_id": "b", "type": "relation", "direction": "right"}
    path = export(tmp_path, [task([annotation([*results, choice, relation])])])
    found = formats.read(tmp_path)
    masks = masks_of(found)
    assert [name for _, name in found.classes] == ["cat", "dog"]
    assert labels_of(found) == ["cat", "dog", "cat", "cat", "cat"]
    assert found.images[0].path == str(tmp_path / "images" / "a.png") and found.images[0].id == 1
    assert np.array_equal(masks[..., 0], block(5, 15, 10, 30))
    assert np.array_equal(masks[..., 1], block(20, 40, 40, 60))
    y, x = np.mgrid[:40, :60] + 0.5
    assert iou(masks[..., 2], ((x - 30) / 20) ** 2 + ((y - 20) / 5) ** 2 < 1) > 0.95
    assert np.array_equal(masks[..., 3], ring_mask())
    assert np.array_equal(masks[..., 4], ring_mask())
    (warning,) = [r.getMessage() for r in caplog.records]
    assert "1 regions of the type keypoint" in warning and path.name in warning


def test_rotation(tmp_path):
    # a rectangle turns about its upper left corner, an ellipse about its center; in pixels
    values = [
        {**RECTANGLE, "x": 50, "y": 12.5, "width": 100 / 3, "height": 25, "rotation": 90},
        {**ELLIPSE, "rotation": 45},
    ]
    found = formats.read(export(tmp_path, [task([annotation([region(v) for v in values])])]))
    masks = masks_of(found)
    assert np.array_equal(masks[..., 0], block(5, 25, 20, 30))
    assert masks[30, 40, 1] and not masks[10, 40, 1]  # down and to the right, y points down


def test_json_min(tmp_path):
    row = {
        "image": "/data/local-files/?d=folder%2Fa.png",
        "id": 7,
        "label": [{**POLYGON, **SIZE}, {**RECTANGLE, **SIZE}, {**KEYPOINT, **SIZE}],
        "brush": [{**BRUSH, **SIZE}],
        "choice": "good",
        "annotator": 1,
        "annotation_id": 3,
        "created_at": "2026-01-01T00:00:00.000000Z",
        "updated_at": "2026-01-01T00:00:00.000000Z",
        "lead_time": 12.5,
    }
    export(tmp_path, [row, {**row, "annotation_id": 4}])
    path = write_image(tmp_path / "images" / "folder" / "a.png", 40, 60)
    found = formats.read(tmp_path)
    (image,) = found.images
    assert image.path == str(path) and image.id == 7
    assert labels_of(found) == ["cat", "dog", "cat"]
    assert np.array_equal(masks_of(found)[..., 2], ring_mask())


def test_labels_beside_their_shapes(tmp_path):
    plain = {"points": POLYGON["points"], "closed": True}
    results = [
        {**SIZE, "value": plain, "id": "x", "type": "polygon"},
        {**SIZE, "value": {**plain, "labels": ["dog"]}, "id": "x", "type": "labels"},
        {**SIZE, "value": plain, "id": "y", "type": "polygon"},
    ]
    found = formats.read(export(tmp_path, [task([annotation(results)])]))
    assert labels_of(found) == ["dog"]  # the one without a label is left out


def test_which_annotation_of_a_task(tmp_path, caplog):
    truth = annotation([region(POLYGON)], ground_truth=True)
    skipped = annotation([region(ELLIPSE)], was_cancelled=True)
    other = annotation([region(BRUSH)])
    tasks = [
        task([skipped, other, truth]),
        task([skipped, annotation([])], 2),
        task([skipped], 3),
        task([], 4, predictions=[{"score": 0.5, "result": [region(POLYGON)]}]),
    ]
    found = formats.read(export(tmp_path, tasks))
    assert [image.id for image in found.images] == [1, 2]
    assert masks_of(found)[..., 0].sum() == 200
    assert found.images[1].instances == [] and found.images[1].height == 40
    assert "left out 2 tasks that are not annotated" in caplog.text
    assert "1 tasks have several annotations" in caplog.text


def test_predictions_are_read_where_there_is_nothing_else(tmp_path):
    results = [region(POLYGON, score=0.75)]
    predictions = [{"model_version": "a", "score": 0.75, "result": results}]
    found = formats.read(export(tmp_path, [task([], predictions=predictions)]))
    assert [instance.score for instance in found.images[0].instances] == [0.75]


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/b/images/a.png?X-Amz-Date=1",
        "s3://bucket/images/a.png",
        "/data/upload/1/ffffffff-a.png",
        "/data/local-files/?d=pets/a.png",
        "a.png",
    ],
)
def test_addresses_of_images(tmp_path, address):
    found = formats.read(export(tmp_path, [task([annotation([])], image=address)]))
    assert found.images[0].path == str(tmp_path / "images" / "a.png")


def test_files_of_other_versions(tmp_path):
    results = [{key: value for key, value in region(POLYGON).items() if key not in SIZE}]
    old = {"id": 1, "completions": [annotation(results)], "data": {"image": "a.png"}}
    found = formats.read(export(tmp_path, [old]))
    assert masks_of(found).sum() == 200  # the size is that of the image file
    results[0]["value"] = {**POLYGON, "points": [[1, 1]]}
    assert label_studio.read(export(tmp_path, [old])).images[0].instances == []


def test_rectangles_alone_are_boxes(tmp_path):
    found = formats.read(export(tmp_path, [task([annotation([region(RECTANGLE)])])]))
    (instance,) = found.images[0].instances
    assert instance.shape is None and instance.box == (20, 40, 40, 60)


# --- Writing -------------------------------------------------------------------------------------
@pytest.mark.parametrize("score", [None, 0.5])
def test_round_trip(tmp_path, score):
    annotations = record(tmp_path / "images", score=score)
    path = tmp_path / "out.json"
    found = round_trip(label_studio, annotations, path, tmp_path / "images")
    assert {i.score for image in found.images for i in image.instances} == {score}
    tasks = json.loads(path.read_text(encoding="utf-8"))
    kind = "annotations" if score is None else "predictions"
    assert all(len(entry[kind]) == 1 for entry in tasks)
    results = tasks[0][kind][0]["result"]
    assert [result["type"] for result in results] == ["polygonlabels", "brushlabels"]
    config = (tmp_path / "out.label_config.xml").read_text(encoding="utf-8")
    for result in results:
        assert f'name="{result["from_name"]}" toName="{result["to_name"]}"' in config


def test_coordinates_survive_the_way_to_percent(tmp_path):
    annotations = record(tmp_path)
    label_studio.write(annotations, tmp_path / "out.json")
    found = formats.read(tmp_path / "out.json", images=tmp_path)
    for number, index in ((0, 0), (1, 1)):
        (points,) = found.images[number].instances[index].shape.points
        assert points.tolist() == annotations.images[number].instances[index].shape.points[0]
    third = {**POLYGON, "points": [[100 / 3, 100 / 3], [200 / 3, 50], [50, 700 / 9]]}
    found = label_studio.read(export(tmp_path, [task([annotation([region(third)])])]))
    (points,) = found.images[0].instances[0].shape.points
    assert points.tolist() == [20, 13.333333, 40, 20, 30, 31.111111]


def test_boxes_are_kept(tmp_path):
    annotations = boxes_only(tmp_path)
    label_studio.write(annotations, tmp_path / "out.json")
    found = formats.read(tmp_path / "out.json").images[0].instances
    assert [i.box for i in found] == [i.box for i in annotations.images[0].instances]


def test_what_label_studio_cannot_hold_is_refused(tmp_path):
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[0].crowd = True
    with pytest.raises(ValueError, match="'label_studio' cannot mark crowds"):
        label_studio.write(annotations, tmp_path / "out.json")


# --- Damaged and hostile files -------------------------------------------------------------------
BAD_REGIONS = {
    "no object": 3,
    "no value": {**region(POLYGON), "value": [1]},
    "points": region({**POLYGON, "points": [[1, 2], [3], [4, 5]]}),
    "text": region({**POLYGON, "points": [["1", "2"]] * 3}),
    "huge": region({**POLYGON, "points": [[1, 2], [3, 10**400], [4, 5]]}),
    "nan": region({**RECTANGLE, "x": float("nan")}),
    "missing": region({**ELLIPSE, "radiusX": None}),
    "negative": region({**RECTANGLE, "width": -1}),
    "labels": region({**POLYGON, "polygonlabels": ["cat", "dog"]}),
    "label": region({**POLYGON, "polygonlabels": [3]}),
    "no size": {**region(POLYGON), "original_width": None},
    "size": {**region(POLYGON), "original_width": 61},
    "large": {**region(POLYGON), "original_width": 10**9, "original_height": 10**9},
    "rotated": {**region(POLYGON), "image_rotation": 90},
    "format": region({**BRUSH, "format": "png"}),
    "cut rle": region({**BRUSH, "rle": BRUSH["rle"][:-5]}),
    "no rle": region({**BRUSH, "rle": "abc"}),
    "bitmask": region({"imageDataURL": "data:image/png;base64,AAAA", "bitmasklabels": ["cat"]}),
}


@pytest.mark.parametrize("name", BAD_REGIONS)
def test_a_damaged_region_is_named(tmp_path, name):
    path = export(tmp_path, [task([annotation([region(POLYGON), BAD_REGIONS[name]])])])
    with pytest.raises(ValueError, match=r"project.*\.json: result 1 of image .*a\.png"):
        label_studio.read(path)


@pytest.mark.parametrize(
    "address",
    [
        "../secret.png",
        "/etc/passwd",
        "C:\\secret.png",
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=/etc/passwd",
        "data:image/png;base64," + "A" * 10_000,
        "link.png",
        "https://example.org/",
        "http://[",
        5,
        "",
    ],
)
def test_no_file_outside_the_folder_is_read(tmp_path, address):
    path = export(tmp_path, [task([annotation([])], image=address)])
    write_image(tmp_path / "secret.png", 5, 5)
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    inner = tmp_path / "images"
    try:
        found = label_studio.read(path, images=inner)
    except ValueError as error:
        assert path.name in str(error) and len(str(error)) < 1500
    else:  # an address without a file: it is missing, and inside the folder
        assert address == "http://["
        assert found.images[0].path.startswith(str(inner))


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[3]",
        "[",
        "[" * 100_000,
        '[{"data": {"image": "a.png"}, "annotations": 3}]',
        '[{"data": {"image": "a.png"}, "annotations": [3]}]',
        '[{"data": {"image": "a.png"}, "annotations": [{"result": {}}]}]',
        '[{"data": 3, "annotations": [{"result": []}]}]',
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        label_studio.read(path)


def test_cut_and_changed_files_are_read_or_named(tmp_path):
    results = [region(value) for value in (POLYGON, RECTANGLE, ELLIPSE, BRUSH)]
    attack(label_studio, export(tmp_path, [task([annotation(results)])]))
