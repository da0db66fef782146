"""What is wrong in a COCO file is found when it is opened: ids, boxes, scraps, polygons outside."""

import contextlib
import io
import json
import logging

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn.config import Config
from mrcnn.data.check import check_dataset
from mrcnn.data.dataset import Dataset
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.data.sample import load_sample
from mrcnn.evaluation import coco as ev
from mrcnn.evaluation.detections import coco_results

SIZE = (40, 60)


def square(x, y, side=8):
    points = [x, y, x + side, y, x + side, y + side, x, y + side]
    return {"segmentation": [points], "bbox": [x, y, side, side]}


def opened(tmp_path, annotations, image_ids=(1,), file=True, **changes):
    """Opens an instances file; all annotations belong to the first image unless they say so."""
    listed = [
        {"id": n, "image_id": image_ids[0], "category_id": 1, **entry}
        for n, entry in enumerate(annotations, 1)
    ]
    images = [
        {"id": i, "file_name": f"{n}.png", "height": SIZE[0], "width": SIZE[1]}
        for n, i in enumerate(image_ids)
    ]
    data = {"images": images, "annotations": listed, "categories": [{"id": 1, "name": "cell"}]}
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data | changes))
    for n in range(len(image_ids) if file else 0):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.zeros((*SIZE, 3), np.uint8))
    return Dataset.open(path, images=tmp_path)


def perfect(dataset):
    """Returns detections that equal the objects."""
    results = []
    for image_id in dataset.image_ids:
        rles, boxes, class_ids = dataset.load_instances(image_id)
        scores = np.linspace(1, 0.9, len(rles))
        results.append({"rois": boxes, "class_ids": class_ids, "scores": scores, "rles": rles})
    return results


# --- Ids -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "image_ids", [(0, 1), (-5, 7), (3, 0, 9), ("a", "b"), ("7", "x"), (10**12, 5)]
)
@pytest.mark.parametrize("category", [0, -3, 7])
def test_results_carry_the_ids_of_the_file(tmp_path, image_ids, category):
    entries = [
        square(3 + 9 * n, 5) | {"image_id": i, "category_id": category, "id": n + 1}
        for n, i in enumerate(image_ids)
    ]
    categories = [{"id": category, "name": "cell"}]
    dataset = opened(tmp_path, entries, image_ids, categories=categories)
    results = perfect(dataset)
    rows = coco_results(dataset, results)
    assert [row["image_id"] for row in rows] == list(image_ids)
    assert {row["category_id"] for row in rows} == {category}
    assert [image["id"] for image in coco_ground_truth(dataset)["images"]] == list(image_ids)
    assert ev.evaluate(dataset, results).segm["AP"] == 1
    with contextlib.redirect_stdout(io.StringIO()):
        own = COCO(str(tmp_path / "instances.json"))
        for annotation in own.dataset["annotations"]:
            annotation["area"], annotation["iscrowd"] = 64, 0
        table = COCOeval(own, own.loadRes(rows), "segm")
        table.evaluate()
        table.accumulate()
        table.summarize()
    assert table.stats[0] == 1


def test_ids_of_two_kinds_are_kept(tmp_path):
    entries = [square(3, 5) | {"image_id": i} for i in (1, "1")]
    dataset = opened(tmp_path, entries, (1, "1"))
    assert [row["image_id"] for row in coco_results(dataset, perfect(dataset))] == [1, "1"]
    assert ev.evaluate(dataset, perfect(dataset)).bbox["AP"] == 1


@pytest.mark.parametrize(
    "value, crowd",
    [(0, 0), (1, 1), ("0", 0), ("1", 1), ("false", 0), ("False", 0), ("true", 1), (False, 0)]
    + [(True, 1), (0.0, 0), (1.0, 1), (None, 0), ("", 0)],
)
def test_crowds_as_text(tmp_path, value, crowd):
    dataset = opened(tmp_path, [square(3, 3) | {"iscrowd": value}, square(20, 3)])
    assert dataset.load_mask(0)[1].tolist() == [-1 if crowd else 1, 1]


@pytest.mark.parametrize("value", [2, "maybe", [1], {}, float("nan"), -1, 10**50, "0" * 10**5])
def test_a_crowd_flag_that_says_nothing_is_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r'instances.json: "iscrowd" of annotation 1 must be 0'):
        opened(tmp_path, [square(3, 3) | {"iscrowd": value}])


def test_two_categories_of_one_id_are_refused(tmp_path):
    categories = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]
    with pytest.raises(ValueError, match="'cat' and 'dog' have the same id 1"):
        opened(tmp_path, [], categories=categories)


# --- Boxes ---------------------------------------------------------------------------------------
def warned(caplog, *arguments, **changes):
    caplog.clear()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        dataset = opened(*arguments, **changes)
    return dataset, [record.getMessage() for record in caplog.records]


def test_a_box_that_contradicts_its_mask(tmp_path, caplog):
    good = [square(3, 3), square(20, 3), square(40, 30)]
    dataset, texts = warned(caplog, tmp_path, good)
    assert texts == []
    odd = square(3, 20) | {"bbox": [40, 2, 10, 10]}
    dataset, (text,) = warned(caplog, tmp_path, [good[0], odd, *good[1:]])
    assert "1 of 4 annotations (annotation 2)" in text and "contradicts" in text
    truth = [a["bbox"] for a in coco_ground_truth(dataset)["annotations"]]
    assert truth == [[3, 3, 8, 8], [3, 20, 8, 8], [20, 3, 8, 8], [40, 30, 8, 8]]
    boxes = load_sample(dataset, Config(NUM_CLASSES=2, IMAGE_RESIZE_MODE="none"), 0)
    assert boxes["input_gt_boxes"][1].tolist() == [20, 3, 28, 11]
    only = Config(NUM_CLASSES=2, IMAGE_RESIZE_MODE="none", USE_MASKS=False)
    assert load_sample(dataset, only, 0)["input_gt_boxes"][1].tolist() == [20, 3, 28, 11]


def test_boxes_of_two_corners_are_read_so(tmp_path, caplog):
    entries = [square(x, y) for x, y in [(3, 3), (20, 3), (40, 30), (30, 20)]]
    for entry in entries:
        x, y, width, height = entry["bbox"]
        entry["bbox"] = [x, y, x + width, y + height]
    entries.append({"bbox": [30, 5, 37, 9]})  # has no mask
    dataset, (text,) = warned(caplog, tmp_path, entries)
    assert "[x1, y1, x2, y2]" in text and "4 of 5" in text
    assert dataset.load_boxes(0)[0].tolist()[1:] == [
        [3, 20, 11, 28],
        [30, 40, 38, 48],
        [20, 30, 28, 38],
        [5, 30, 9, 37],
    ]


def test_boxes_alone_that_leave_the_image(tmp_path, caplog):
    corners = [{"bbox": [x, y, x + 9, y + 7]} for x, y in [(3, 3), (20, 3), (40, 30), (45, 20)]]
    _, (text,) = warned(caplog, tmp_path, corners)
    assert "boxes leave their image" in text and "[x1, y1, x2, y2]" in text
    assert warned(caplog, tmp_path, [{"bbox": [3, 3, 70, 7]}])[1] == []  # it just leaves


def test_boxes_belong_to_their_masks_when_some_are_dropped(tmp_path):
    nothing = {"segmentation": {"size": list(SIZE), "counts": [SIZE[0] * SIZE[1]]}}
    entries = [
        nothing | {"bbox": [50, 1, 5, 5]},  # a box, but no pixel
        square(3, 3) | {"bbox": [3.5, 3.5, 7, 7]},
        square(20, 3) | {"bbox": [20, 3, 0, 8]},  # pixels, but no box
        square(40, 3) | {"bbox": [40.5, 3, 7, 8]},
    ]
    truth = coco_ground_truth(opened(tmp_path, entries))["annotations"]
    assert [a["bbox"] for a in truth] == [[3.5, 3.5, 7, 7], [20, 3, 8, 8], [40.5, 3, 7, 8]]


@pytest.mark.parametrize("masks", [True, False])
def test_the_declared_size_is_compared_with_the_image(tmp_path, masks):
    images = [{"id": 1, "file_name": "0.png", "height": 80, "width": 120}]
    dataset = opened(tmp_path, [square(3, 3)], images=images)
    settings = Config(NUM_CLASSES=2, USE_MASKS=masks)
    for call in (
        lambda: load_sample(dataset, settings, 0),
        lambda: check_dataset(dataset, settings),
        lambda: dataset.load_mask(0),
        lambda: dataset.load_boxes(0),
        lambda: dataset.load_instances(0),
        lambda: coco_ground_truth(dataset, masks=masks),
    ):
        with pytest.raises(ValueError, match="annotated as 80x120.*40x60"):
            call()


def test_the_declared_size_of_a_subclass_is_compared_too():
    class Boxes(Dataset):
        def load_image(self, image_id):
            return np.zeros((40, 60, 3), np.uint8)

        def load_boxes(self, image_id):
            return np.array([[4, 4, 70, 90]], np.float32), np.ones(1, np.int32)

    dataset = Boxes()
    dataset.add_class("s", 1, "c")
    dataset.add_image("s", 0, None, height=80, width=120)
    dataset.prepare()
    with pytest.raises(ValueError, match="80x120 .*but the image is 40x60"):
        load_sample(dataset, Config(NUM_CLASSES=2, USE_MASKS=False), 0)


# --- Scraps --------------------------------------------------------------------------------------
def test_a_scrap_is_dropped_with_one_warning(tmp_path, caplog):
    good = square(3, 3)
    scraps = [[[1, 1, 9, 9]], [1, 1, 9, 9], [[5, 5]], [[]], [[4, 4, 9, 4, 12, 4]]]
    entries = [good, *({"segmentation": scrap} for scrap in scraps), {}]
    parts = {"segmentation": [good["segmentation"][0], [1, 1, 9, 9]]}
    dataset, (text,) = warned(caplog, tmp_path, [*entries, parts])
    assert "6 of 8 annotations (annotation 2, annotation 3" in text
    assert "annotation 8) lose a part" in text
    assert dataset.load_mask(0)[0].shape[-1] == 2
    check_dataset(dataset, Config(NUM_CLASSES=2))


def test_an_annotation_without_a_mask_stops_before_the_first_step(tmp_path):
    image_ids = tuple(range(1, 400))
    entries = [square(3, 3) | {"image_id": i} for i in image_ids]
    entries[-1] = {"bbox": [1, 1, 5, 5], "image_id": 399}
    dataset = opened(tmp_path, entries, image_ids)
    with pytest.raises(ValueError, match="annotation 399 .*no segmentation.*USE_MASKS"):
        check_dataset(dataset, Config(NUM_CLASSES=2))
    check_dataset(dataset, Config(NUM_CLASSES=2, USE_MASKS=False))


# --- Polygons that leave the image ---------------------------------------------------------------
def large_canvas(points, pad=2000):
    """Draws polygons as pycocotools does on a canvas that holds them, and cuts out the image."""
    moved = [(np.asarray(part, float) + pad).tolist() for part in points]
    height, width = SIZE
    codes = coco_mask.frPyObjects(moved, height + 2 * pad, width + 2 * pad)
    mask = coco_mask.decode(coco_mask.merge(codes))
    return mask[pad : pad + height, pad : pad + width]


STAR = [-900, 20, 960, 22, -880, 60, 30, -1200, 40, 1400]  # crosses itself


@pytest.mark.parametrize(
    "points",
    [
        [[-1500, -1000, 1500, 1000, 1500, 1030, -1500, -970]],  # a long bar
        [[30, 20, 1800, 400, -300, 1900]],
        [[-1500, -1500, 1500, -1500, 1500, 15, 20, 20, -1500, 30]],
        [STAR],
        [[-700, -700, 20, 10, 10, 700], [40, -900, 50, 900, 55, -900]],  # two parts
        [[-1900, 10, 1900, 10, 1900, 30, -1900, 30]],
    ],
)
def test_the_area_is_clipped_not_the_points(tmp_path, points):
    mask = opened(tmp_path, [{"segmentation": points}]).load_mask(0)[0][..., 0]
    known = large_canvas(points) > 0
    assert known.sum() > 50
    assert (mask & known).sum() / (mask | known).sum() > 0.97


@pytest.mark.parametrize(
    "points", [[[-9, 3, 30.5, 70, 66, -8]], [STAR[:6]], [[5, 5, 50, 9, 9, 35]]]
)
def test_polygons_near_the_image_are_those_of_pycocotools(tmp_path, points):
    near = [np.clip(part, -40, 79).tolist() for part in points]
    mask = opened(tmp_path, [{"segmentation": near}]).load_mask(0)[0][..., 0]
    code = coco_mask.merge(coco_mask.frPyObjects(near, *SIZE))
    np.testing.assert_array_equal(mask, coco_mask.decode(code))


def test_an_outline_of_any_length_costs_little(tmp_path):
    zigzag = np.tile([[-50, -30], [110, 70]], (40_000, 1)) + np.arange(80_000)[:, None] % 7
    with pytest.raises(ValueError, match="annotation 1 .*outline of a polygon"):
        opened(tmp_path, [{"segmentation": [zigzag.ravel().tolist()]}])
