"""Type hints: mypy passes, and every public function has type hints."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mrcnn

ROOT = Path(mrcnn.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
HOOKS = {
    *("build", "call", "compute_loss", "compute_mask"),
    *("compute_output_shape", "compute_output_spec", "get_config"),
}


def missing(tree: ast.Module) -> list[str]:
    """Returns the parameters and returns of public functions and methods without a hint."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found += _missing(node, node.name, is_method=False)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if not isinstance(method, ast.FunctionDef) or is_hook(method.name):
                    continue
                if method.name == "__init__" or not method.name.startswith("_"):
                    found += _missing(method, f"{node.name}.{method.name}", is_method=True)
    return found


def is_hook(name: str) -> bool:
    """Returns whether Keras calls a method of this name with tensors, which have no type."""
    return name.startswith("on_") or name in HOOKS


def _missing(function, name, is_method):
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args]
    static = any(getattr(d, "id", None) == "staticmethod" for d in function.decorator_list)
    if is_method and not static:
        parameters = parameters[1:]  # self or cls
    parameters += [*arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    found = [f"{name}({p.arg})" for p in parameters if p is not None and p.annotation is None]
    # A constructor and the setter of a property return nothing.
    returns = function.name != "__init__" and not any(
        getattr(d, "attr", None) == "setter" for d in function.decorator_list
    )
    return found + ([f"{name} ->"] if returns and function.returns is None else [])


@pytest.mark.parametrize("name", FILES)
def test_public_functions_have_hints(name):
    assert missing(ast.parse((ROOT / name).read_text(encoding="utf-8"))) == []


def test_the_measure_finds_what_is_missing():
    text = """
def f(a, *b, c: int, **d) -> int: ...
def g(a: int): ...
def _private(a): ...
class A:
    def __init__(self, a: int, b): ...
    def method(self, a) -> None: ...
    @staticmethod
    def static(a): ...
    @property
    def x(self): ...
    @x.setter
    def x(self, value): ...
    def _private(self, a): ...
    def call(self, x): ...
class _Private:
    def method(self, a): ...
"""
    assert missing(ast.parse(text)) == [
        "f(a)",
        "f(b)",
        "f(d)",
        "g ->",
        "A.__init__(b)",
        "A.method(a)",
        "A.static(a)",
        "A.static ->",
        "A.x ->",
        "A.x(value)",
    ]


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Returns the command of mypy, with one cache for all tests."""
    return [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path_factory.mktemp("mypy"))]


@pytest.mark.slow
def test_mypy_passes(mypy):
    done = subprocess.run(mypy, cwd=ROOT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_sees_a_wrong_type(mypy, tmp_path):
    """With the settings in pyproject.toml, mypy can still fail, also on a custom Config."""
    (tmp_path / "user.py").write_text(
        "from mrcnn import Config\n"
        "class Cells(Config):\n"
        "    NAME = 'cells'\n"
        "    SEED = None\n"
        "    MEAN_PIXEL = [1, 2, 3]\n"
        "Cells().validate(5)\n"
    )
    settings = ["--config-file", str(ROOT.parent / "pyproject.toml")]
    command = [*mypy, *settings, str(tmp_path / "user.py")]
    done = subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1 and 'Too many arguments for "validate"' in errors[0], done.stdout
