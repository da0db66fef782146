"""`lint` finds each planted fault, and nothing in clean data."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from mrcnn.data import formats
from mrcnn.data.agreement import agreement
from mrcnn.data.lint import Limits, lint
from mrcnn.data.lint.mend import mend

SIDE = 64


def clean(folder, seed=0, count=6):
    """Writes a COCO set of squares of two classes, two of each per image."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    (folder / "images").mkdir(parents=True)
    for number in range(1, count + 1):
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels)
        images.append({"id": number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE})
        for index, (y, x) in enumerate([(2, 2), (2, 40), (40, 2), (40, 40)]):
            side = 16 + int(rng.integers(3))
            square = [x, y, x + side, y, x + side, y + side, x, y + side]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": index % 2 + 1,
                    "bbox": [x, y, side, side],
                    "area": side * side,
                    "iscrowd": 0,
                    "segmentation": [square],
                }
            )
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def found(folder, data, **options):
    (folder / "instances.json").write_text(json.dumps(data))
    return list(lint(formats.read(folder / "instances.json"), **options))


def test_clean_data_has_no_problem(tmp_path):
    assert found(tmp_path, clean(tmp_path)) == []


def no_file(folder, data):
    (folder / "images" / "1.png").unlink()


def cut_file(folder, data):
    path = folder / "images" / "1.png"
    path.write_bytes(path.read_bytes()[:-200])


def same_file(folder, data):
    (folder / "images" / "2.png").write_bytes((folder / "images" / "1.png").read_bytes())


def new_file(folder, data):
    cv2.imwrite(str(folder / "images" / "new.png"), np.zeros((8, 8), np.uint8))


def other_size(folder, data):
    data["images"][0]["width"] = 80


def turned(folder, data):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((SIDE, 80, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "images" / "1.jpg", exif=exif)
    (folder / "images" / "1.png").unlink()
    data["images"][0] |= {"file_name": "1.jpg", "width": 80}


def far_point(folder, data):
    data["annotations"][1]["segmentation"][0][2] = 90


def bow_tie(folder, data):
    square = data["annotations"][0]["segmentation"][0]
    square[2:6] = square[4:6] + square[2:4]


def shape_of_nothing(folder, data):
    data["annotations"][0]["segmentation"] = [[5, 5, 5.1, 5, 5.1, 5.1]]
    data["annotations"][0]["bbox"] = None


def one_pixel(folder, data):
    data["annotations"][0] |= {"segmentation": [[5, 5, 6, 5, 6, 6, 5, 6]], "bbox": [5, 5, 1, 1]}


def corners(folder, data):
    x, y, width, height = data["annotations"][3]["bbox"]
    data["annotations"][3]["bbox"] = [x, y, x + width, y + height]


def twice(folder, data):
    data["annotations"].append(data["annotations"][0] | {"id": 99})


def only_one_image(folder, data):
    data["categories"].append({"id": 3, "name": "fox"})
    data["annotations"][0]["category_id"] = 3


def no_object(folder, data):
    data["categories"].append({"id": 3, "name": "fox"})


def other_case(folder, data):
    data["categories"][1]["name"] = "Cat "


def huge(folder, data):
    square = [0, 0, 63, 0, 63, 63, 0, 63]
    data["annotations"][0] |= {"segmentation": [square], "bbox": [0, 0, 63, 63]}


def nothing_at_all(folder, data):
    data["annotations"][0] |= {"segmentation": [], "bbox": None}


@pytest.mark.parametrize(
    "plant, kind, where",
    [
        (no_file, "missing image", "1.png"),
        (cut_file, "unreadable image", "1.png"),
        (same_file, "duplicate image", "2.png"),
        (new_file, "unlisted image", "new.png"),
        (other_size, "wrong size", "1.png"),
        (turned, "EXIF rotation", "1.jpg"),
        (far_point, "outside", "1.png: annotation 2"),
        (bow_tie, "self-crossing", "1.png: annotation 1"),
        (shape_of_nothing, "empty mask", "1.png: annotation 1"),
        (one_pixel, "one pixel", "1.png: annotation 1"),
        (corners, "box and mask", "1.png: annotation 4"),
        (twice, "duplicate object", "1.png: annotation 99"),
        (only_one_image, "rare class", "instances.json"),
        (no_object, "unused classes", "instances.json"),
        (other_case, "similar classes", "instances.json"),
        (huge, "unusual area", "1.png: annotation 1"),
        (nothing_at_all, "empty object", "1.png: annotation 1"),
    ],
)
def test_each_planted_fault_is_found(tmp_path, plant, kind, where):
    data = clean(tmp_path)
    plant(tmp_path, data)
    problems = found(tmp_path, data)
    assert kind in {problem.kind for problem in problems}, [str(problem) for problem in problems]
    line = next(str(problem) for problem in problems if problem.kind == kind)
    assert f"{where}: {kind}: " in line


def test_objects_that_become_too_small_are_found(tmp_path):
    problems = found(tmp_path, clean(tmp_path), limits=Limits(image_size=16))
    assert {problem.kind for problem in problems} == {"too small"}
    assert len(problems) == 24


def test_images_shared_with_the_validation_set_are_found(tmp_path):
    for name, seed in (("train", 0), ("val", 0), ("other", 1)):
        data = clean(tmp_path / name, seed)
        (tmp_path / name / "instances.json").write_text(json.dumps(data))
    train, val, other = (formats.read(tmp_path / name) for name in ("train", "val", "other"))
    assert [problem.kind for problem in lint(train, val=val)] == ["leak"] * 6
    assert list(lint(train, val=other)) == []


def test_a_polygon_with_a_slit_to_its_hole_does_not_cross_itself():
    from mrcnn.data.lint.polygons import crossing
    from mrcnn.images.outlines import one_ring, trace

    mask = np.pad(np.zeros((4, 4), bool), 5, constant_values=True)
    assert crossing([one_ring(trace(mask)).ravel().tolist()]) is None
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((9, 9)) < 0.6
        assert crossing([outline.ravel().tolist() for outline, _ in trace(mask)]) is None
        assert crossing([one_ring(trace(mask)).ravel().tolist()]) is None


def test_boxes_alone_are_checked(tmp_path):
    data = clean(tmp_path)
    for annotation in data["annotations"]:
        del annotation["segmentation"]
    assert found(tmp_path, data) == []
    data["annotations"][0]["bbox"] = [60, 2, 16, 16]
    data["annotations"][1]["bbox"] = [2, 2, 0, 16]
    data["annotations"].append(data["annotations"][5] | {"id": 99})
    kinds = [problem.kind for problem in found(tmp_path, data)]
    assert kinds == ["outside", "empty box", "duplicate object"]


# --- Mending -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "plant", [same_file, far_point, shape_of_nothing, corners, twice, other_case, nothing_at_all]
)
def test_mended_data_has_no_problem_left(tmp_path, plant):
    data = clean(tmp_path)
    if plant is same_file:
        rows = [a for a in data["annotations"] if a["image_id"] == 1]
        data["annotations"] = [a for a in data["annotations"] if a["image_id"] != 2]
        data["annotations"] += [a | {"id": 100 + a["id"], "image_id": 2} for a in rows]
    plant(tmp_path, data)
    (tmp_path / "instances.json").write_text(json.dumps(data))
    annotations = formats.read(tmp_path / "instances.json")
    problems = list(lint(annotations))
    mended, done = mend(annotations, problems)
    assert problems and done == problems
    left = [problem for problem in lint(mended) if problem.kind != "unlisted image"]
    assert left == []


def test_what_has_no_right_mending_is_left_alone(tmp_path):
    data = clean(tmp_path)
    bow_tie(tmp_path, data)
    (tmp_path / "instances.json").write_text(json.dumps(data))
    annotations = formats.read(tmp_path / "instances.json")
    mended, done = mend(annotations, lint(annotations))
    assert done == [] and mended == annotations


# --- Agreement -----------------------------------------------------------------------------------
def test_agreement_of_two_annotators(tmp_path):
    data = clean(tmp_path)
    (tmp_path / "a.json").write_text(json.dumps(data))
    first = formats.read(tmp_path / "a.json")
    same = agreement(first, first)
    assert (same.mean_iou, same.missed, same.added, same.confused) == (1.0, [], [], {})
    assert (same.images, sum(same.pairs.values())) == (6, 24)
    data["annotations"][0]["category_id"] = 2  # a cat that is a dog
    x, y, width, height = data["annotations"].pop(1)["bbox"]  # a dog that is missing
    half = [x, y, x + width // 2, y, x + width // 2, y + height, x, y + height]
    data["annotations"][1] |= {"segmentation": [half]}  # less than half of annotation 3
    (tmp_path / "b.json").write_text(json.dumps(data))
    found = agreement(first, formats.read(tmp_path / "b.json"), min_iou=0.6)
    assert found.confused == {("cat", "dog"): 1}
    assert found.missed == ["1.png: annotation 2", "1.png: annotation 3"]
    assert found.added == ["1.png: annotation 3"]
    assert found.mean_iou == 1.0
