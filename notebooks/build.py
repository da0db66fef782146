"""Writes the notebooks (.ipynb, without outputs) from their sources in percent format (.py).

python notebooks/build.py
"""

import json
import re
from pathlib import Path


def cells(text):
    """Returns the cells of a source: a list of (kind, lines)."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        kind, _, body = part.partition("\n")
        lines = body.strip("\n").split("\n")
        if "[markdown]" in kind:
            lines = [re.sub(r"^# ?", "", line) for line in lines]
        found.append(("markdown" if "[markdown]" in kind else "code", lines))
    return found


def notebook(text):
    """Returns the notebook of a source as JSON text."""
    made = []
    for number, (kind, lines) in enumerate(cells(text)):
        source = [line + "\n" for line in lines[:-1]] + lines[-1:]
        cell = {"cell_type": kind, "id": f"cell-{number:02}", "metadata": {}, "source": source}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": made,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1) + "\n"


if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in ("build.py", "conftest.py"):
            path.with_suffix(".ipynb").write_text(notebook(path.read_text("utf-8")), "utf-8")
