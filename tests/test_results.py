"""Detections that are written to files."""

import csv
import errno
import json
import os
import tracemalloc

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn import results
from mrcnn.images.drawing import draw_instances


def test_outputs_never_share_a_name():
    paths = ["a/x.png", "a/x.jpg", "b/x.png", "b/X.tif", "b/y.png", "c/y_labels.png", "c/a_x.png"]
    stems = results.output_stems(paths)
    assert stems[0] == "x" and stems[2] == "b_x" and stems[4] == "y"
    files = [name.lower() for stem in stems for name in (stem, f"{stem}_labels")]
    assert len(set(files)) == 2 * len(paths)


def two_overlapping():
    masks = np.zeros((2, 6, 8), bool)
    masks[0, 1:4, 1:5] = True
    masks[1, 2:6, 3:8] = True
    return {
        "rois": np.array([[1, 1, 4, 5], [2, 3, 6, 8]], np.int32),
        "class_ids": np.array([1, 2], np.int32),
        "scores": np.array([0.9, 0.8], np.float32),
        "rles": [coco_mask.encode(np.asfortranarray(m, dtype=np.uint8)) for m in masks],
    }, masks


def test_label_image_gives_overlaps_to_the_higher_score():
    found, masks = two_overlapping()
    labels = results.label_image(found, (6, 8))
    assert labels.dtype == np.uint16
    assert np.array_equal(labels == 1, masks[0]) and np.array_equal(labels > 0, masks.any(0))
    found["scores"] = found["scores"][::-1]
    assert np.array_equal(results.label_image(found, (6, 8)) == 2, masks[1])


def test_rows():
    found, masks = two_overlapping()
    rows = results.coco_rows(found, 7, "a.png")
    assert rows[1]["bbox"] == [3, 2, 5, 4] and rows[1]["image_id"] == 7
    rows = json.loads(json.dumps(rows))
    for row, mask in zip(rows, masks, strict=True):
        assert np.array_equal(coco_mask.decode(row["segmentation"]) > 0, mask)
    table = results.table_rows(found, "a.png", ["BG", "cat", "dog"])
    assert table[1] == ("a.png", 2, "dog", "0.8000", 2, 3, 6, 8, 20)


def test_labels_are_16_bit(tmp_path):
    results.save_labels(tmp_path / "a.png", np.array([[0, 65535]], np.uint16))
    read = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16 and read.tolist() == [[0, 65535]]


def test_a_folder_of_results(tmp_path):
    """Writes the files of `mrcnn detect` from Python. An input is never overwritten."""
    found, _ = two_overlapping()
    paths = [tmp_path / "in" / "a.png", tmp_path / "in" / "b.png"]
    writer = results.ResultWriter(tmp_path / "out", paths)
    writer.add(paths[1], np.zeros((6, 8, 3), np.uint8), found, ["BG", "cat", "dog"])
    assert writer.finish() == 2
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["image_id"] for row in rows] == [1, 1]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"b.png", "b_labels.png", "detections.json", "detections.csv"}
    with pytest.raises(FileExistsError, match="a.png there is an input and would be overwritten"):
        results.ResultWriter(tmp_path / "in", paths)


# --- ResultWriter: unfinished runs --------------------------------------------------------------
IMAGE = np.zeros((120, 800, 3), np.uint8)  # large enough not to be enlarged
NAMES = ["BG", "cat", "dog"]


def detection(number):
    """A result that depends on the number alone."""
    return {
        "rois": np.array([[1, 1, 4 + number, 5]], np.int32),
        "class_ids": np.array([1 + number % 2], np.int32),
        "scores": np.array([1 / (number + 1.5)], np.float32),
    }


@pytest.fixture
def inputs(tmp_path):
    """Four input files; the writer reads only their size and time."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{name}.jpg" for name in "abcd"]
    for path in paths:
        path.write_bytes(b"an image")
    return paths


def write(folder, paths, made_by=None, stop=None, start_over=False):
    """Writes what remains, up to a number of images; returns the number taken over."""
    with results.ResultWriter(folder, paths) as writer:
        done = writer.resume(made_by or {}, start_over)
        for path in writer.remaining[:stop]:
            writer.add(path, IMAGE, detection(ord(path.name[0])), NAMES)
        if stop is None:
            writer.finish()
    return done


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("stop", [0, 1, 3, 4])
def test_a_resumed_run_writes_what_an_unbroken_one_writes(tmp_path, inputs, stop):
    assert write(tmp_path / "whole", inputs) == 0
    assert write(tmp_path / "out", inputs, stop=stop) == 0
    (tmp_path / "out" / ".b_labels-abcd1234.png").touch()  # a write that was killed
    assert write(tmp_path / "out", inputs) == stop
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    rows = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert [row["image_id"] for row in rows] == [0, 1, 2, 3]
    assert write(tmp_path / "out", inputs) == 0  # a finished run starts over


def test_only_what_is_still_true_is_taken_over(tmp_path, inputs):
    out = tmp_path / "out"
    write(out, inputs, stop=4)
    inputs[0].write_bytes(b"another image")
    (out / "b_labels.png").unlink()
    inputs[2].unlink()
    assert write(out, [*inputs[:2], inputs[3], tmp_path / "in" / "new.jpg"]) == 1
    rows = json.loads((out / "detections.json").read_text())
    assert [row["file_name"][-5:] for row in rows] == ["a.jpg", "b.jpg", "d.jpg", "w.jpg"]


def test_the_run_of_another_command_is_kept(tmp_path, inputs):
    out = tmp_path / "out"
    write(out, inputs, {"model": "m", "config": {"SCORE": 0.5, "MAX": 7}}, stop=3)
    before = contents(out)
    for made_by, paths, text in (
        ({"model": "m", "config": {"SCORE": 0.7, "MAX": 7}}, inputs, "with SCORE = 0.5, not 0.7"),
        ({"model": "n", "config": {"SCORE": 0.5, "MAX": 7}}, inputs, "with model = 'm', not 'n'"),
        ({"model": "m", "config": {"SCORE": 0.5, "MAX": 7}}, inputs[1:], "in other images, such"),
    ):
        with pytest.raises(FileExistsError, match=f"unfinished detections {text}.*start over"):
            write(out, paths, made_by)
        assert contents(out) == before
    assert write(out, inputs, {"model": "n"}, start_over=True) == 0
    assert "detections.jsonl" not in contents(out)


@pytest.mark.parametrize(
    "text", [b"my own notes\n", b'{"lines": "of another program"}\n', b'[1]\n{"mrcnn": 1}\n']
)
def test_the_file_of_another_program_is_kept(tmp_path, inputs, text):
    (tmp_path / "detections.jsonl").write_bytes(text)
    with pytest.raises(FileExistsError, match="was not written by mrcnn"):
        results.ResultWriter(tmp_path, inputs)
    assert (tmp_path / "detections.jsonl").read_bytes() == text


@pytest.mark.parametrize(
    "lines",
    [
        '{"mrcnn": 1}\n',
        '{"mrcnn": 1, "made_by": 5, "inputs": [3]}\n',
        '{"mrcnn": 1, "made_by": {}, "inputs": []}\n[]\n',
        '{"mrcnn": 1, "made_by": {}, "inputs": []}\n{"path": []}\n',
        '{"mrcnn": 1, "made_by": {}, "inputs": []}\n{"path": "IN", "stem": "a", "file": FILE}\n',
    ],
)
def test_a_damaged_journal_is_named(tmp_path, inputs, lines):
    (tmp_path / "a.png").touch()
    (tmp_path / "a_labels.png").touch()
    state = inputs[0].stat()
    lines = lines.replace("IN", str(inputs[0]), 1) if '"IN"' in lines else lines
    lines = lines.replace("FILE", f"[{state.st_size}, {state.st_mtime_ns}]")
    (tmp_path / "detections.jsonl").write_text(lines)
    with pytest.raises(ValueError, match=r"detections\.jsonl cannot be read as unfinished"):
        write(tmp_path, inputs)


def test_a_header_that_was_cut_is_none(tmp_path, inputs):
    (tmp_path / "detections.jsonl").write_bytes(b'{"mrcnn": 1, "made_')
    assert write(tmp_path, inputs) == 0


def test_outputs_of_an_unfinished_run_are_no_inputs(tmp_path, inputs):
    """The folder that is searched for images is the one that is written to."""
    folder = inputs[0].parent
    write(folder, sorted(folder.iterdir()), stop=2)
    found = [path for path in sorted(folder.iterdir()) if path.suffix != ".jsonl"]
    assert len(found) == 4 + 2 * 2
    assert write(folder, found) == 2
    assert set(contents(folder)) == {
        *(f"{name}{end}" for name in "abcd" for end in (".jpg", ".png", "_labels.png")),
        "detections.json",
        "detections.csv",
    }


def test_names_that_cannot_be_written_are_escaped(tmp_path):
    """A name that is not UTF-8, or of 252 letters, used to end the run without tables."""
    long = "x" * 251
    names = ["caf\udce9.png", f"{long}.png", f"{long}.jpg", "日" * 84 + ".png", "plain.png"]
    paths = [tmp_path / name for name in names]
    with results.ResultWriter(tmp_path / "out", paths) as writer:
        for path in paths:
            writer.add(path, IMAGE, detection(1), NAMES)
        renamed = writer.renamed
        assert writer.finish() == 5
    assert [(name[-8:], png) for name, png in renamed][0] == (r"af\xe9.png"[-8:], "caf%e9.png")
    assert len(renamed) == 4 and len({png for _, png in renamed}) == 4
    assert {png for _, png in renamed} | {"plain.png"} <= set(os.listdir(tmp_path / "out"))
    assert len(os.listdir(tmp_path / "out")) == 2 * 5 + 2
    rows = json.loads((tmp_path / "out" / "detections.json").read_text("utf-8"))
    with open(tmp_path / "out" / "detections.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == [row["file"] for row in table]
    assert rows[0]["file_name"] == str(tmp_path / r"caf\xe9.png")
    assert rows[3]["file_name"] == str(paths[3])


def test_fewer_names_than_classes():
    """A classes.json with too few names used to end the run with an IndexError."""
    found, _ = two_overlapping()
    assert [row[2] for row in results.table_rows(found, "a", ["BG", "cat"])] == ["cat", "class 2"]
    assert [row[2] for row in results.table_rows(found, "a", [])] == ["class 1", "class 2"]
    for names in ([], ["BG", "cat"], ["BG", "lone \ud800"]):
        draw_instances(np.zeros((6, 8), np.uint8), found, class_names=names)


def test_a_class_name_that_is_no_text(tmp_path):
    """JSON can hold half of a surrogate pair."""
    with results.ResultWriter(tmp_path, [tmp_path / "a.jpg"]) as writer:
        writer.add(tmp_path / "a.jpg", IMAGE, detection(0), ["BG", "lone \ud800"])
        writer.finish()
    assert r"lone \ud800" in (tmp_path / "detections.csv").read_text("utf-8")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["save_drawing", "save_labels", "save_csv", "save_rows"])
def test_a_full_disk_loses_nothing(tmp_path, inputs, monkeypatch, where, number):
    write(tmp_path / "whole", inputs)
    out = tmp_path / "out"
    write(out, inputs, stop=2)

    def full(*args):
        raise OSError(number, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(results.files, where, full)
        with pytest.raises(OSError, match="no room"):
            write(out, inputs)
    assert write(out, inputs) >= 2
    assert contents(out) == contents(tmp_path / "whole")


def test_one_name_that_the_disk_refuses(tmp_path, inputs):
    """A folder has the name of an output: only this image is left out."""
    (tmp_path / "out" / "b_labels.png").mkdir(parents=True)
    with results.ResultWriter(tmp_path / "out", inputs) as writer:
        for path in inputs:
            if path.stem == "b":
                with pytest.raises(ValueError, match="b_labels.png"):
                    writer.add(path, IMAGE, detection(1), NAMES)
            else:
                writer.add(path, IMAGE, detection(1), NAMES)
        assert writer.finish() == 3


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(results.files, "save_drawing", lambda *args: None)
    monkeypatch.setattr(results.files, "save_labels", lambda *args: None)
    paths = [tmp_path / f"{i}.png" for i in range(60)]
    rows, small = 100, np.zeros((9, 9, 3), np.uint8)
    found = {
        "rois": np.tile(np.array([[1, 1, 4, 5]]), (rows, 1)),
        "class_ids": np.ones(rows, int),
        "scores": np.ones(rows),
    }
    writer = results.ResultWriter(tmp_path / "out", paths)
    writer.add(paths[0], small, found, NAMES)
    tracemalloc.start()
    try:
        for path in paths[1:]:
            writer.add(path, small, found, NAMES)
        assert writer.finish() == 60 * rows
        # All 6,000 rows would take 4 MB.
        assert tracemalloc.get_traced_memory()[1] < 5e5
    finally:
        tracemalloc.stop()
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())) == 60 * rows
