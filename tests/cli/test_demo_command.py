"""`mrcnn demo`."""

import json
import re

import cv2
import pytest


@pytest.mark.slow
def test_demo(cli, tmp_path):
    code, out, _ = cli("demo", "--output", tmp_path)
    assert code == 0
    count = int(re.search(r"Found (\d+) coins", out).group(1))
    assert 23 <= count <= 25
    assert len(json.loads((tmp_path / "detections.json").read_text())) == count
    for name in ("demo.png", "curves.png"):
        assert cv2.imread(str(tmp_path / name)) is not None
