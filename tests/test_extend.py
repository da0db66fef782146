"""The "How to add" pages of the documentation work: their patches apply, and their code runs.

Each page in docs/extend shows one small change. New files are Python blocks with the path as title,
changes of existing files are diff blocks, and the block "Try it" uses the result. Here all changes
are made to a copy of the package, and every "Try it" block runs on it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(path for path in (REPOSITORY / "docs/extend").glob("*.md") if path.stem != "index")
BLOCK = re.compile(r'^```(\w+) title="(.+?)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
# Files in mrcnn/ that each change may touch, at most.
LIMITS = dict.fromkeys(["backbone", "format", "export", "command", "augmentation", "schedule"], 1)
LIMITS |= {"dialect": 2, "metric": 2, "nms": 2, "head": 4}


def blocks(page):
    """Returns (kind, title, text) of every titled block of a page."""
    return BLOCK.findall(page.read_text("utf-8"))


def test_every_change_has_its_page():
    assert {page.stem for page in PAGES} == set(LIMITS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_few_files_are_touched(page):
    titles = {title for _, title, _ in blocks(page)}
    touched = {title for title in titles if title.startswith("mrcnn/")}
    assert 1 <= len(touched) <= LIMITS[page.stem]
    assert "Try it" in titles


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    """Returns a copy of the package with the changes of all pages."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "mrcnn", folder / "mrcnn", ignore=ignored)
    for page in PAGES:
        for kind, title, text in blocks(page):
            if kind == "diff":
                command = ["git", "apply", "--recount", "--unidiff-zero", "-"]
                done = subprocess.run(
                    command, cwd=folder, input=text, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{page.name}, {title}: {done.stderr}"
            elif title.startswith("mrcnn/"):
                target = folder / title
                assert not target.exists(), f"{page.name}: {title} exists already"
                target.write_text(text, encoding="utf-8")
    return folder


def test_the_examples_run(patched):
    script = ["import faulthandler, traceback", "faulthandler.enable()", "failed = []"]
    for page in PAGES:
        (code,) = (text for _, title, text in blocks(page) if title == "Try it")
        script += [
            "try:",
            f"    exec(compile({code!r}, {page.name!r}, 'exec'), {{}})",
            "except BaseException:",
            f"    failed.append({page.name!r})",
            "    traceback.print_exc()",
        ]
    script.append("raise SystemExit(', '.join(failed) or None)")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(script)], cwd=patched, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-4000:]
