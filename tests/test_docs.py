"""The documentation site builds without a warning, and its Python examples parse."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))


def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    model = (tmp_path / "reference" / "model" / "index.html").read_text("utf-8")
    assert "mrcnn.models.mask_rcnn.MaskRCNN.detect" in model


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_parse(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        ast.parse(code)
