"""Reads text files of unknown origin: JSON and CSV, of a limited size."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

from mrcnn.errors import reading

# The largest file of a model folder that is read, in bytes: JSON of this size takes up to a
# gigabyte as Python objects. Real ones have a few kilobytes; a history has 300 bytes per epoch.
MAX_BYTES = 16 * 2**20


def read_json(path: str | os.PathLike, expected: str, max_bytes: int = MAX_BYTES) -> Any:
    """Reads a JSON file.

    Args:
        path: str or path. The file.
        expected: str. What the file should be, for errors, such as "the settings of a model".
        max_bytes: int. A larger file is refused. Defaults to 16 MiB.

    Returns:
        The value.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, too deeply nested or too large.
    """
    with reading(path, expected):
        return json.loads(_read(path, max_bytes))


def read_csv(path: str | os.PathLike, expected: str) -> list[dict[str, str]]:
    """Reads a CSV file with a header.

    Args:
        path: str or path. The file.
        expected: str. As in `read_json`.

    Returns:
        The rows, as dicts by column.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not CSV, a row with more or fewer cells than the header, or too large.
    """
    with reading(path, expected):
        lines = _read(path, MAX_BYTES).splitlines()
        rows = list(csv.DictReader(lines, restkey="", strict=True))
        for number, row in enumerate(rows, 2):
            if "" in row or None in row.values():
                raise ValueError(f"line {number} has other columns than the header")
        return rows


def _read(path, max_bytes) -> str:
    with open(Path(path), "rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return content.decode("utf-8")
