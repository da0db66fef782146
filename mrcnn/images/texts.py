"""Reads text files of unknown origin: JSON and CSV."""

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


def read_text(path: str | os.PathLike, expected: str, max_bytes: int | None = MAX_BYTES) -> str:
    """Reads a text file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    UTF-16 and UTF-32 without a mark are recognized by the zeros of their first letters, as in JSON.

    Args:
        path: str or path. The file.
        expected: str. What the file should be, for errors, such as "the settings of a model".
        max_bytes: int or None. A larger file is refused. None: any size. Defaults to 16 MiB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not text, or too large.
    """
    content = _read_bytes(path, expected, max_bytes)
    with reading(path, expected):
        return content.decode(json.detect_encoding(content))


def read_json(path: str | os.PathLike, expected: str, max_bytes: int | None = MAX_BYTES) -> Any:
    """Reads a JSON file.

    Args:
        path: str or path. The file.
        expected: str. As in `read_text`.
        max_bytes: int or None. As in `read_text`.

    Returns:
        The value.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON (naming the line), too deeply nested or too large.
    """
    text = read_text(path, expected, max_bytes)
    with reading(path, expected):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise ValueError(f"it is not JSON: {where}: {error.msg}") from error


def read_csv(path: str | os.PathLike, expected: str) -> list[dict[str, str]]:
    """Reads a CSV file with a header, in UTF-8.

    Args:
        path: str or path. The file.
        expected: str. As in `read_json`.

    Returns:
        The rows, as dicts by column.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not CSV, a row with more or fewer cells than the header, or too large.
    """
    content = _read_bytes(path, expected, MAX_BYTES)
    with reading(path, expected):
        lines = content.decode("utf-8").splitlines()
        rows = list(csv.DictReader(lines, restkey="", strict=True))
        for number, row in enumerate(rows, 2):
            if "" in row or None in row.values():
                raise ValueError(f"line {number} has other columns than the header")
        return rows


def _read_bytes(path, expected, max_bytes) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {expected}. Check the path.")
    with reading(path, expected), open(path, "rb") as file:
        content = file.read() if max_bytes is None else file.read(max_bytes + 1)
        if max_bytes is not None and len(content) > max_bytes:
            raise ValueError(f"it has more than {max_bytes} bytes")
        return content
