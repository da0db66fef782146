"""Runs an old script or notebook, unchanged, on current versions of its packages.

::

    from mrcnn.compat.run import run
    run("samples/coco/coco.py", ["evaluate", "--dataset=coco", "--model=mask_rcnn_coco.h5"])
    run("demo.ipynb")
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import re
import sys
import tokenize
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mrcnn.compat import stand_ins

_MAGIC = re.compile(r"^(\s*)[%!?]")  # %matplotlib inline, !pip install, ?help
_HELP = re.compile(r"^\s*[\w.]+\?{1,2}\s*$")
# Cell magics whose cell is Python; a cell of any other, such as %%bash, is left out entirely.
_PYTHON_CELLS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%python", "%%python3")


def run(
    path: str | os.PathLike, argv: Sequence[str] = (), say: Callable[[str], Any] = print
) -> dict:
    """Runs a script or notebook as `__main__`, with the stand-ins of `mrcnn.compat.stand_ins`.

    A notebook runs in its own folder, as Jupyter runs it, a script in the current one. Lines of
    IPython (`%matplotlib inline`, `!pip install ...`) are left out, each with a note.

    Args:
        path: str or path. A `.py` or `.ipynb` file.
        argv: sequence of str. The script's arguments. Defaults to none.
        say: callable. Function that shows a note. Defaults to `print`.

    Returns:
        The global variables of the script, by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: neither a script nor a notebook.
        Whatever the script raises, SystemExit included.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such script or notebook. Check the path.")
    is_notebook = path.suffix == ".ipynb"
    blocks = list(_cells(path, say)) if is_notebook else [_script(path)]
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    if is_notebook:
        vars(main).update(
            get_ipython=lambda: _IPython(say),
            display=lambda *values: say("\n".join(map(str, values))),
        )
    with stand_ins.installed(), _as_main(main, path, argv, is_notebook):
        for name, source in blocks:
            # Tracebacks read the lines of a cell from this cache.
            linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
            exec(compile(source, name, "exec", dont_inherit=True), vars(main))
    return vars(main)


@contextmanager
def _as_main(main: types.ModuleType, path: Path, argv: Sequence[str], moves: bool):
    """Makes a module `__main__`, with its arguments, its folder and the path to its neighbors."""
    before = sys.argv, list(sys.path), sys.modules["__main__"], os.getcwd()
    sys.argv = [str(path), *map(str, argv)]
    sys.path.insert(0, str(path.parent))
    sys.modules["__main__"] = main
    if moves:
        os.chdir(path.parent)
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.modules["__main__"] = before[:3]
        os.chdir(before[3])


def _script(path: Path) -> tuple[str, str]:
    if path.suffix not in (".py", ".pyw", ""):
        raise ValueError(f"{path}: expected a script (.py) or a notebook (.ipynb).")
    with tokenize.open(path) as file:  # in the encoding that it declares
        return str(path), file.read()


# --- Notebooks -----------------------------------------------------------------------------------
def _cells(path: Path, say: Callable[[str], Any]) -> Iterator[tuple[str, str]]:
    """Yields the name and source of every code cell."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        sheets = notebook.get("worksheets")  # notebooks of format 3
        cells = notebook["cells"] if sheets is None else sheets[0]["cells"]
        cells = [cell for cell in cells if cell["cell_type"] == "code"]
        codes = [cell.get("source", cell.get("input", "")) for cell in cells]
        sources = [code if isinstance(code, str) else "".join(code) for code in codes]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a notebook: {type(error).__name__}: {error}.") from error
    for number, source in enumerate(sources, 1):
        name = f"{path} cell {number}"
        yield name, python_of(source, name, say)


def python_of(source: str, name: str, say: Callable[[str], Any] = print) -> str:
    """Returns the Python code of a cell, without the lines of IPython.

    Args:
        source: str. The cell.
        name: str. Of the cell, for notes.
        say: callable. Function that shows a note. Defaults to `print`.

    Returns:
        Source with the same number of lines, so that a traceback names the right one.
    """
    if _is_python(source):  # a line that begins with % can be part of a multi-line string
        return source
    first = source.lstrip().split("\n", 1)[0]
    if first.startswith("%%") and first.split()[0] not in _PYTHON_CELLS:
        say(f"{name}: left out: {first}")
        return "pass"
    lines = source.split("\n")
    for index, line in enumerate(lines):
        magic = _MAGIC.match(line) or _HELP.match(line)
        if magic:
            say(f"{name}: left out: {line.strip()}")
            indent = line[: len(line) - len(line.lstrip())]
            lines[index] = f"{indent}pass"
    return "\n".join(lines)


def _is_python(source):
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


class _IPython:
    """What `get_ipython()` returns to a notebook: its magics do nothing, with a note."""

    def __init__(self, say):
        self._say = say

    def run_line_magic(self, name: str, line: str = "", *others: Any) -> None:
        """Leaves a magic out."""
        self._say(f"left out: %{name} {line}".rstrip())

    def magic(self, line: str) -> None:
        """Leaves a magic out."""
        self._say(f"left out: %{line}")

    def system(self, line: str) -> None:
        """Leaves a shell command out."""
        self._say(f"left out: !{line}")
