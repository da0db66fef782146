"""COCO AP against direct calls of pycocotools, pooled counts, the COCO format and curves."""

import contextlib
import copy
import io
import json
import math
import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn import plots, results
from mrcnn.data import ground_truth
from mrcnn.data.dataset import Dataset
from mrcnn.evaluation import coco as ev
from mrcnn.evaluation import pooled
from mrcnn.evaluation.detections import coco_results
from mrcnn.images.rle import masks_to_rles

DATA = os.environ.get("MRCNN_DATA")  # a folder of real images


class Masks(Dataset):
    """A data set made of lists of masks [H, W, N] and class ids."""

    def __init__(self, items, classes=("cat", "dog"), ids=None, class_ids=None):
        super().__init__()
        for number, name in enumerate(classes, 1):
            self.add_class("stub", class_ids[number - 1] if class_ids else number, name)
        for index, (masks, _) in enumerate(items):
            size = {"height": masks.shape[0], "width": masks.shape[1]}
            self.add_image("stub", ids[index] if ids else f"i{index}", None, **size)
        self.items = items
        self.prepare()

    def load_mask(self, image_id):
        masks, class_ids = self.items[image_id]
        return masks, np.asarray(class_ids, np.int32)


def disks(rng, count, size=160, radius=(3, 75)):
    y, x = np.ogrid[:size, :size]
    y, x = y[..., None], x[..., None]
    center, r = rng.uniform(0, size, (2, count)), rng.uniform(*radius, count)
    masks = (y - center[0]) ** 2 + (x - center[1]) ** 2 < r**2
    return masks[..., masks.any(axis=(0, 1))]


def detections(rng, masks, class_ids, extra=3):
    """Detections of the objects: some are shifted, of another class, missing or added."""
    kept = [
        np.roll(masks[..., i], rng.integers(-3, 4, 2), (0, 1))
        for i in range(masks.shape[-1])
        if rng.random() < 0.85
    ]
    ids = [abs(c) for c, _ in zip(class_ids, range(len(kept)), strict=False)]
    stack = np.stack(kept, -1) if kept else np.zeros((*masks.shape[:2], 0), bool)
    stack = np.concatenate([stack, disks(rng, extra, masks.shape[0])], axis=-1)
    ids += list(rng.integers(1, 3, stack.shape[-1] - len(ids)))
    return result(stack, ids, rng.uniform(0.05, 1, len(ids)))


def result(masks, class_ids, scores, rle=False):
    rles = masks_to_rles(masks)
    xywh = np.array([coco_mask.toBbox(r) for r in rles]).reshape(-1, 4)
    rois = np.stack([xywh[:, 1], xywh[:, 0], xywh[:, 1] + xywh[:, 3], xywh[:, 0] + xywh[:, 2]], 1)
    found = {
        "rois": rois.astype(np.int32),
        "class_ids": np.asarray(class_ids, np.int32),
        "scores": np.asarray(scores, np.float32),
    }
    return found | ({"rles": rles} if rle else {"masks": masks})


@pytest.fixture
def random_set():
    rng = np.random.default_rng(3)
    items, results = [], []
    for count in (12, 1, 0, 7, 20):
        masks = disks(rng, count) if count else np.zeros((160, 160, 0), bool)
        class_ids = rng.integers(1, 3, masks.shape[-1]) * rng.choice([1, 1, 1, -1], masks.shape[-1])
        items.append((masks, class_ids))
        results.append(detections(rng, masks, class_ids))
    return Masks(items), results


def by_hand(items, results, kind):
    """Calls pycocotools as its demonstration does, with dictionaries that are built here."""
    truth = {"images": [], "annotations": [], "categories": [{"id": 1}, {"id": 2}], "info": {}}
    rows = []
    for number, ((masks, class_ids), found) in enumerate(zip(items, results, strict=True), 1):
        truth["images"].append({"id": number, "height": 160, "width": 160})
        for i, class_id in enumerate(class_ids):
            code = coco_mask.encode(np.asfortranarray(masks[..., i].astype(np.uint8)))
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": number,
                    "iscrowd": int(class_id < 0),
                    "category_id": int(abs(class_id)),
                    "segmentation": code,
                    "area": float(coco_mask.area(code)),
                    "bbox": list(coco_mask.toBbox(code)),
                }
            )
        for i, class_id in enumerate(found["class_ids"]):
            y1, x1, y2, x2 = (float(v) for v in found["rois"][i])
            row = {
                "image_id": number,
                "category_id": int(class_id),
                "score": float(found["scores"][i]),
            }
            if kind == "bbox":
                row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            else:
                mask = np.asfortranarray(found["masks"][..., i].astype(np.uint8))
                row["segmentation"] = coco_mask.encode(mask)
            rows.append(row)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        table = COCOeval(coco, coco.loadRes(rows), kind)
        table.evaluate()
        table.accumulate()
        table.summarize()
    return table.stats


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_equals_pycocotools(random_set, kind):
    dataset, results = random_set
    stats = by_hand(dataset.items, results, kind)
    scores = getattr(ev.evaluate(dataset, results), kind)
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", None, None, "AR", "ARs", "ARm", "ARl"]
    for name, expected in zip(names, stats, strict=True):
        if name:
            assert scores[name] == expected  # to the last bit
    assert 0.05 < scores["AP"] < 0.95


def test_silent_and_does_not_change_its_input(random_set, capsys):
    dataset, results = random_set
    before = copy.deepcopy(results)
    ev.evaluate(dataset, results)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == ""
    for old, new in zip(before, results, strict=True):
        assert all((old[key] == new[key]).all() for key in old)


def test_rles_masks_and_generators_score_the_same(random_set):
    dataset, results = random_set
    full = ev.evaluate(dataset, results)
    codes = (
        {**{k: v for k, v in r.items() if k != "masks"}, "rles": masks_to_rles(r["masks"])}
        for r in results
    )
    assert ev.evaluate(dataset, codes).to_dict() == full.to_dict()


def test_per_class_mean_is_the_total(random_set):
    evaluation = ev.evaluate(*random_set)
    assert [row["name"] for row in evaluation.per_class] == ["cat", "dog"]
    for kind in ("bbox", "segm"):
        for name in ("AP", "AP50"):
            mean = np.mean([row[f"{kind}_{name}"] for row in evaluation.per_class])
            assert mean == pytest.approx(getattr(evaluation, kind)[name], abs=1e-12)


def test_perfect_detections_and_129_objects():
    masks = np.zeros((120, 130, 129), bool)
    for i in range(129):
        y, x = i // 13 * 10, i % 13 * 10
        masks[y : y + 8, x : x + 8, i] = True
    dataset = Masks([(masks, np.ones(129))])
    evaluation = ev.evaluate(dataset, [result(masks, np.ones(129), np.linspace(0.6, 1, 129))])
    assert evaluation.max_detections == 129
    assert evaluation.bbox["AP"] == evaluation.segm["AP"] == pytest.approx(1)
    assert evaluation.segm["AR"] == 1 and math.isnan(evaluation.segm["APl"])
    assert evaluation.pooled == {iou: 1 for iou in pooled.POOLED_IOUS}
    assert evaluation.pooled_counts[0.9] == (129, 0, 0)
    hundred = ev.evaluate(dataset, [result(masks, np.ones(129), np.ones(129))], max_detections=100)
    assert hundred.segm["AR"] == pytest.approx(100 / 129)


def test_no_detections_no_objects_no_images():
    masks = np.zeros((20, 20, 1), bool)
    masks[2:9, 3:9] = True
    none = result(np.zeros((20, 20, 0), bool), [], [])
    nothing_found = ev.evaluate(Masks([(masks, [1])]), [none])
    assert nothing_found.bbox["AP"] == nothing_found.segm["AP"] == nothing_found.segm["AR"] == 0
    assert nothing_found.pooled[0.5] == 0 and nothing_found.pooled_counts[0.5] == (0, 0, 1)
    for empty in (np.zeros((20, 20, 0), bool), np.zeros((0, 0, 0), bool)):
        dataset = Masks([(empty, [])])
        dataset.image_info[0] |= {"height": 20, "width": 20}
        nothing_there = ev.evaluate(dataset, [result(masks, [1], [0.9])])
        assert math.isnan(nothing_there.bbox["AP"]) and math.isnan(nothing_there.segm["AP50"])
        assert nothing_there.pooled[0.5] == 0
        assert "no objects" in nothing_there.summary()
        assert math.isnan(ev.evaluate(dataset, [none]).pooled[0.5])
    with pytest.raises(ValueError, match="no images"):
        ev.evaluate(Masks([]), [])


def test_wrong_input_is_explained():
    masks = np.zeros((20, 20, 1), bool)
    masks[2:9, 3:9] = True
    dataset = Masks([(masks, [1]), (masks, [2])])
    good = result(masks, [1], [0.9])
    with pytest.raises(ValueError, match="one for each of 2 images, got 1"):
        ev.evaluate(dataset, [good])
    with pytest.raises(ValueError, match="2 images, got more"):
        ev.evaluate(dataset, [good] * 3)
    with pytest.raises(ValueError, match=r"results\[1\]: class id 3.*classes 1 to 2"):
        ev.evaluate(dataset, [good, result(masks, [3], [0.9])])
    with pytest.raises(ValueError, match=r"results\[1\].*'scores': 2"):
        ev.evaluate(dataset, [good, good | {"scores": np.ones(2)}])
    with pytest.raises(ValueError, match=r"\[30, 20\].*\[20, 20\]"):
        ev.evaluate(dataset, [good, result(np.ones((30, 20, 1), bool), [1], [1])])
    with pytest.raises(ValueError, match="max_detections"):
        ev.evaluate(dataset, [good, good], max_detections=0)
    with pytest.raises(ValueError, match="twice"):
        ev.evaluate(dataset, [good, good], [0, 0])
    with pytest.raises(ValueError, match="class id 2"):
        ev.evaluate(Masks([(masks, [2])], classes=("cat",)), [good])


def test_boxes_only():
    class Boxes(Dataset):
        def load_boxes(self, image_id):
            return np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32), np.array([1, 1])

    dataset = Boxes()
    dataset.add_class("stub", 1, "cat")
    dataset.add_image("stub", 1, None, height=50, width=50)
    dataset.prepare()
    found = {
        "rois": np.array([[0, 0, 10, 10], [0, 0, 50, 50]]),
        "class_ids": np.array([1, 1]),
        "scores": np.array([0.9, 0.8]),
    }
    evaluation = ev.evaluate(dataset, [found])
    assert evaluation.segm is None and evaluation.bbox["AP"] == pytest.approx(51 / 101)
    assert evaluation.pooled_counts[0.5] == (1, 1, 1)
    assert "boxes" in evaluation.summary() and "masks" not in evaluation.summary()
    assert "segm" not in repr(evaluation)


# --- Pooled score --------------------------------------------------------------------------------
def bar(start, stop, size=100):
    mask = np.zeros((4, size, 1), bool)
    mask[:, start:stop] = True
    return mask


def stack(*masks):
    return np.concatenate(masks, axis=-1)


def testpooled_counts_by_hand():
    truth = stack(bar(0, 10), bar(20, 30), bar(40, 100))
    found = stack(bar(0, 8), bar(20, 30), bar(0, 10), bar(32, 36))  # IoU .8, 1, 1 of object 0, 0
    dataset = Masks([(truth, [1, 2, -1])])
    # class 1: object 0 and two detections, of which one matches; class 2: one of each
    results = [result(found, [1, 2, 1, 1], [0.9, 0.9, 0.8, 0.4])]
    evaluation = ev.evaluate(dataset, results)
    assert evaluation.pooled_counts[0.5] == (2, 1, 0)  # the one of score .4 does not count
    assert evaluation.pooled_counts[0.9] == (2, 1, 0)
    assert evaluation.pooled[0.9] == pytest.approx(2 / 3)
    assert ev.evaluate(dataset, results, score_threshold=0.3).pooled_counts[0.5] == (2, 2, 0)
    assert ev.evaluate(dataset, results, score_threshold=0.95).pooled_counts[0.5] == (0, 0, 2)


def test_pooled_iou_of_exactly_the_threshold_counts():
    dataset = Masks([(bar(0, 10), [1])])
    counts = ev.evaluate(dataset, [result(bar(0, 5), [1], [1])]).pooled_counts
    assert counts[0.5] == (1, 0, 0) and counts[0.6] == (0, 1, 1)


def test_pooled_detection_in_a_crowd_is_neither_right_nor_wrong():
    dataset = Masks([(stack(bar(0, 10), bar(40, 100)), [1, -1])])
    found = stack(bar(0, 10), bar(50, 60), bar(70, 80), bar(20, 30))
    counts = ev.evaluate(dataset, [result(found, [1, 1, 1, 1], [1, 1, 1, 1])]).pooled_counts
    assert counts[0.5] == (1, 1, 0)
    counts = ev.evaluate(dataset, [result(found, [1, 2, 1, 1], [1, 1, 1, 1])]).pooled_counts
    assert counts[0.5] == (1, 2, 0)  # another class than the crowd's


# --- COCO format ---------------------------------------------------------------------------------
def test_ground_truth_format():
    dataset = Masks(
        [(stack(bar(0, 10), bar(40, 100), bar(0, 0)), [1, -2, 1])], ids=[285], class_ids=[3, 44]
    )
    truth = json.loads(json.dumps(ground_truth.coco_ground_truth(dataset)))
    assert truth["images"] == [{"id": 285, "height": 4, "width": 100}]
    assert [c["id"] for c in truth["categories"]] == [3, 44]
    first, crowd = truth["annotations"]  # the empty mask is left out
    assert (first["id"], first["image_id"], first["category_id"], first["iscrowd"]) == (
        1,
        285,
        3,
        0,
    )
    assert first["bbox"] == [0, 0, 10, 4] and first["area"] == 40
    assert (crowd["category_id"], crowd["iscrowd"]) == (44, 1)
    assert (coco_mask.decode(crowd["segmentation"]) == bar(40, 100)[..., 0]).all()


def test_results_format_and_fallback_ids():
    items = [(bar(0, 10), [1])]
    rows = coco_results(Masks(items), [result(bar(5, 9), [2], [0.5])])
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0]["image_id"] == 0 and rows[0]["category_id"] == 2
    assert rows[0]["bbox"] == [5, 0, 4, 4] and rows[0]["score"] == 0.5
    assert isinstance(rows[0]["segmentation"]["counts"], str)
    rows = coco_results(
        Masks(items, ids=[7], class_ids=[10, 20]), [result(bar(5, 9), [2], [0.5], rle=True)]
    )
    assert rows[0]["image_id"] == 7 and rows[0]["category_id"] == 20
    assert (
        ev.evaluate(Masks(items * 2, ids=[7, 7]), [result(bar(0, 10), [1], [1])] * 2).bbox["AP"]
        == 1
    )
    assert results.result_to_coco(result(bar(5, 9), [2], [0.5]), 9)[0]["category_id"] == 2


def test_label_images_give_the_same_ground_truth():
    labels = np.zeros((30, 40), np.int32)
    labels[3:9, 4:20], labels[12:30, 30:40], labels[5:7, 6:8] = 1, 2, 3

    class Labels(Masks):
        def load_label(self, image_id):
            return labels, np.ones(3, np.int32)

    items = [(labels[..., None] == [1, 2, 3], [1, 1, 1])]
    assert ground_truth.coco_ground_truth(Labels(items)) == ground_truth.coco_ground_truth(
        Masks(items)
    )


def test_boxes_of_the_annotation_file_are_used():
    class OwnBoxes(Masks):
        def load_boxes(self, image_id):
            return np.array([[0, 0.5, 4, 9.5]], np.float32), np.array([1])

    dataset = OwnBoxes([(bar(0, 10), [1])])
    assert ground_truth.coco_ground_truth(dataset)["annotations"][0]["bbox"] == [0.5, 0, 9, 4]
    only = ground_truth.coco_ground_truth(dataset, masks=False)["annotations"][0]
    assert only["area"] == 36 and "segmentation" not in only


def test_real_coco_annotations():
    if not DATA:
        pytest.skip("needs MRCNN_DATA: a folder that holds coco26")
    from mrcnn.data.formats.coco import CocoDataset

    folder = Path(DATA) / "coco26"
    dataset = CocoDataset.from_json(folder / "instances.json", folder / "images")
    results = []
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        kept = class_ids > 0
        results.append(result(masks[..., kept], class_ids[kept], np.ones(kept.sum()), rle=True))
    evaluation = ev.evaluate(dataset, results)
    assert evaluation.segm["AP"] == pytest.approx(1) and evaluation.bbox["AP"] == pytest.approx(1)
    assert evaluation.num_objects == 180 and evaluation.pooled_counts[0.9] == (180, 0, 0)


# --- Text and images -----------------------------------------------------------------------------
def test_summary_repr_and_json(random_set):
    evaluation = ev.evaluate(*random_set)
    text = evaluation.summary()
    for part in ("boxes", "masks", "AP50", f"{evaluation.segm['AP']:.3f}", "cat", "dog", "0.9"):
        assert part in text
    assert len(repr(evaluation)) < 80 and "segm AP" in repr(evaluation)
    evaluation.segm["APl"] = math.nan
    data = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert data["segm"]["APl"] is None and data["pooled"]["0.5"] == evaluation.pooled[0.5]


def test_curves_as_png(random_set, tmp_path):
    plots.plot_precision_recall(ev.evaluate(*random_set), tmp_path / "new" / "pr.png")
    assert cv2.imread(str(tmp_path / "new" / "pr.png")).std() > 5
    empty = ev.evaluate(
        Masks([(np.zeros((9, 9, 0), bool), [])]), [result(np.zeros((9, 9, 0), bool), [], [])]
    )
    plots.plot_precision_recall(empty, tmp_path / "empty.png")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["empty.png"]


def test_history_from_rows_csv_and_with_gaps(tmp_path):
    rows = [
        {"epoch": 1, "loss": 3.0, "rpn_class_loss": 1.0},
        {"epoch": 2, "loss": 2.0, "val_loss": math.nan, "val_mask_AP": 0.3},
    ]
    plots.plot_history(rows, tmp_path / "a.png")
    plots.plot_history(rows[:1], tmp_path / "one.png")
    (tmp_path / "h.csv").write_text("epoch,loss,val_loss,val_box_AP\n1,2.5,,\n2,2.0,2.2,0.1\n")
    calls = [(tmp_path / "h.csv", tmp_path / f"{i}.png") for i in range(2)]
    threads = [threading.Thread(target=plots.plot_history, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shapes = {n: cv2.imread(str(tmp_path / f"{n}.png")).shape for n in ("a", "one", "0", "1")}
    assert shapes["a"][1] == shapes["0"][1] == shapes["1"][1] == 2 * shapes["one"][1]
    with pytest.raises(ValueError, match="no epochs"):
        plots.plot_history([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
