"""The files around the package are valid, agree with each other, and are packaged."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import mrcnn

ROOT = Path(__file__).parent.parent
# mkdocs.yml may name Python objects by tags, and the test of the site reads it.
YAML = [
    *sorted(ROOT.glob(".github/**/*.yml")),
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
]
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def listed(name):
    """Returns the entries of a list in pyproject.toml."""
    return re.findall(r'"(.+?)"', re.search(rf"\n{name} = \[(.*?)\]\n", PROJECT, re.DOTALL)[1])


def test_the_files_are_there():
    assert len(YAML) >= 6
    for name in ("LICENSE", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        assert len((ROOT / name).read_text(encoding="utf-8")) > 500


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_files_parse(path):
    assert isinstance(read(path), dict)


def test_the_version_is_defined_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+", mrcnn.__version__)
    assert 'dynamic = ["version"]' in PROJECT and "\nversion = " in PROJECT
    assert not re.search(r'\nversion = "', PROJECT)


def test_the_version_is_that_of_the_citation_and_of_the_newest_release():
    assert read(ROOT / "CITATION.cff")["version"] == mrcnn.__version__
    headings = re.findall(r"^## \[(.+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", mrcnn.__version__]


def test_the_changelog_has_the_sections_of_keep_a_changelog():
    sections = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert sections and set(sections) <= known


def test_requirements_are_those_of_the_project():
    assert listed("dependencies") == (ROOT / "requirements.txt").read_text().split()


def test_the_workflow_tests_the_lower_bounds_and_all_pythons_that_are_promised():
    jobs = read(ROOT / ".github/workflows/test.yml")["jobs"]
    runs = jobs["tensorflow"]["strategy"]["matrix"]["include"]
    lowest = re.search(r'requires-python = ">=([\d.]+)"', PROJECT)[1]
    highest = max(re.findall(r"Python :: 3\.(\d+)", PROJECT), key=int)
    assert {run["python"] for run in runs} == {lowest, f"3.{highest}"}
    assert {run["versions"] for run in runs} == {"oldest", "newest"}
    (oldest,) = [r for r in runs if r["python"] == lowest and r["versions"] == "oldest"]
    bounds = [requirement.replace(">=", "==") for requirement in listed("dependencies")[:2]]
    assert oldest["pins"] == " ".join(f'"{bound}.*"' for bound in bounds)  # tensorflow, keras
    assert set(jobs["backends"]["strategy"]["matrix"]["backend"]) == {"jax", "torch"}


SOURCES = sorted((ROOT / "mrcnn").rglob("*.py"))


def lines_of_code(function):
    """Lines of a function without its docstring."""
    count = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        count -= function.body[0].end_lineno - function.body[0].lineno + 1
    return count


def test_files_functions_and_layers_stay_small():
    """Not laws of nature, but nothing here needs more."""
    found = []
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 450:
            found.append(f"{path}: more than 450 lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            if lines_of_code(node) > 60:
                found.append(f"{path}: {node.name} has more than 60 lines")
            arguments = node.args.args[1:] + node.args.kwonlyargs
            if node.name == "__init__" and "network" in path.parts and len(arguments) > 8:
                found.append(f"{path}: a constructor has more than 8 arguments")
    assert not found and len(SOURCES) > 100


def test_the_workflow_names_tests_that_exist():
    text = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    paths = re.findall(r"\btests/[\w/.]+", text)
    assert paths and all((ROOT / path).exists() for path in paths)


def test_the_wheel_holds_the_types_the_model_and_the_version(tmp_path):
    """The package is built from a copy that holds nothing else, without a network."""
    code = (
        "import os, sys; os.chdir(sys.argv[1])\n"
        "from setuptools import build_meta\n"
        "build_meta.build_wheel(sys.argv[2])"
    )
    source = tmp_path / "source"
    source.mkdir()
    for name in ("mrcnn", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"mask_rcnn-{mrcnn.__version__}-py3")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        assert {"mrcnn/py.typed", "mrcnn/assets/demo/weights.h5"} <= names
        assert json.loads(file.read("mrcnn/assets/demo/config.json"))["NAME"] == "demo"
        metadata = file.read(next(n for n in names if n.endswith("METADATA"))).decode()
    assert f"\nVersion: {mrcnn.__version__}\n" in metadata
    assert {"docs", "test", "dev"} == set(re.findall(r"^Provides-Extra: (.+)$", metadata, re.M))
