"""`mrcnn data ...`: annotations checked, converted, counted, split, merged and cut."""

import json

import pytest

from mrcnn.data import formats


def test_check_and_fix(cli, annotated, tmp_path):
    data = json.loads((annotated / "instances.json").read_text())
    large = [a for a in data["annotations"] if min(a["bbox"][2:]) >= 8]
    data["annotations"] = large
    (tmp_path / "instances.json").write_text(json.dumps(data))
    words = ["data", "check", "--min-images", "0", "--images", annotated / "images"]
    code, out, _ = cli(*words, tmp_path / "instances.json")
    assert code == 0 and "4 images: no fault found" in out, out
    data["annotations"].append(large[0] | {"id": 999})
    (tmp_path / "twice.json").write_text(json.dumps(data))
    code, out, _ = cli(*words, tmp_path / "twice.json", "--fix", tmp_path / "fixed.json")
    assert code == 1 and "annotation 999: duplicate object: " in out
    assert "Mended 1 of 1 faults" in out
    code, out, _ = cli(*words, tmp_path / "fixed.json", "--compare", tmp_path / "instances.json")
    assert code == 0 and "mean IoU 1.000, 0 only in the first, 0 only in the second" in out


def test_convert_round_trip(cli, annotated, tmp_path):
    path = annotated / "instances.json"
    via, back = tmp_path / "via.json", tmp_path / "back.json"
    assert cli("data", "convert", path, via, "--to", "via")[0] == 0
    words = ["data", "convert", via, back, "--images", annotated / "images"]
    assert cli(*words)[0] == 0
    before, after = (
        [len(image.instances) for image in formats.read(file, images=annotated / "images").images]
        for file in (path, back)
    )
    assert before == after
    code, _, err = cli("data", "convert", path, via, "--to", "vai")
    assert code == 1 and "'via'" in err


def test_stats(cli, annotated, tmp_path):
    code, out, _ = cli("data", "stats", annotated / "instances.json", "--plot", tmp_path / "a.png")
    assert code == 0 and "4 images" in out and "square" in out
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_split_merge_and_subset(cli, annotated, tmp_path):
    path = annotated / "instances.json"
    words = ["data", "split", path, "--output", annotated / "split", "--val", "0.25"]
    code, out, _ = cli(*words, "--test", "0.25")
    assert code == 0 and out.count("images,") == 3
    parts = [annotated / "split" / f"{name}.json" for name in ("train", "val", "test")]
    reading = ["--images", annotated / "images"]
    code, out, _ = cli("data", "merge", *parts, *reading, "--output", tmp_path / "all.json")
    assert code == 0 and "4 images" in out
    words = ["data", "subset", path, "--classes", "square", "--output", tmp_path / "some.json"]
    assert cli(*words)[0] == 0
    assert [c["name"] for c in json.loads((tmp_path / "some.json").read_text())["categories"]] == [
        "square"
    ]


@pytest.mark.parametrize(
    "words, text",
    [
        (["data"], "required: COMMAND"),
        (["data", "chek"], "Did you mean check?"),
        (["data", "check", "nowhere.json"], "no such"),
        (["data", "check", "a", "--option", "x"], "expected NAME=VALUE"),
        (["data", "split", "a", "--val", "0.6", "--test", "0.4"], "leave nothing to train on"),
    ],
)
def test_wrong_usage(cli, tmp_path, monkeypatch, words, text):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli(*words)
    assert code == 2 and text in err and err.startswith("mrcnn data") and err.count("\n") == 1


def test_an_unknown_class_is_wrong_usage(cli, annotated, tmp_path):
    words = ["data", "subset", annotated / "instances.json", "--classes", "cow"]
    code, _, err = cli(*words, "--output", tmp_path / "a.json")
    assert code == 2 and "There is no class 'cow'" in err
