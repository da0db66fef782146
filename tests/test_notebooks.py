"""The .py and the .ipynb file of a notebook hold the same cells. nbmake runs the notebooks."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = [
    "demo",
    "train_shapes",
    "custom_dataset",
    "inspect_data",
    "inspect_model",
    "inspect_weights",
]


def test_every_notebook_is_listed():
    assert sorted(NAMES) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NAMES)
def test_both_files_hold_the_same_cells(name):
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    written = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert written == build.notebook(source), "run: python notebooks/build.py"
    cells = json.loads(written)["cells"]
    assert cells[0]["cell_type"] == "markdown" and cells[-1]["cell_type"] == "code"
    assert "assert" in "".join(cells[-1]["source"])
    assert not any(cell.get("outputs") for cell in cells)
