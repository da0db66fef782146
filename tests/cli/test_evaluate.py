"""`mrcnn evaluate`."""

import json


def test_evaluate(cli, tiny_folder, annotated, tmp_path):
    words = ["evaluate", tiny_folder, "--images", annotated / "images"]
    words += ["--annotations", annotated / "instances.json", "--output", tmp_path]
    code, out, _ = cli(*words)
    assert code == 0 and "AP50" in out
    scores = json.loads((tmp_path / "evaluation.json").read_text())
    assert scores["num_images"] == 4 and "AP" in scores["bbox"]
    assert (tmp_path / "precision_recall.png").stat().st_size > 1000
    words = ["evaluate", tiny_folder, "--images", annotated / "images"]
    code, _, err = cli(*words, "--labels", annotated / "labels", "--output", tmp_path)
    assert code == 2 and "No class has the same name" in err and "object" in err
