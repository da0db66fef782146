"""No mask file starts a program: Pillow would run Ghostscript for an EPS file of any name."""

import re
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

import mrcnn
from mrcnn.data.formats import _colors, labelbox

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def started(monkeypatch):
    calls = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **_: calls.append(args))
    return calls


@pytest.mark.parametrize(
    "read",
    [
        _colors.read_colors,
        _colors.read_numbers,
        lambda path: labelbox._pixels(path, (100, 100)),
    ],
    ids=["colors", "numbers", "labelbox"],
)
def test_postscript_in_a_mask_file_is_refused(tmp_path, started, read):
    path = tmp_path / "mask.png"
    path.write_bytes(EPS)
    with pytest.raises(ValueError, match=r"mask\.png"):
        read(path)
    assert started == []


def test_the_check_can_fail(tmp_path, started):
    path = tmp_path / "mask.png"
    path.write_bytes(EPS)
    with Image.open(path) as image, pytest.raises(Exception):  # noqa: B017
        image.load()
    assert len(started) == 1


def test_pillow_is_never_asked_to_guess_the_format():
    guess = re.compile(r"Image\.open\((?![^\n]*formats=)")
    root = Path(mrcnn.__file__).parent
    files = [path for path in root.rglob("*.py") if "stand_ins" not in path.parts]
    assert [path.name for path in files if guess.search(path.read_text("utf-8"))] == []
