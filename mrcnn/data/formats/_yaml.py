"""Reads the small part of YAML that `data.yaml` files of YOLO use.

A value is one line of text, a list or a mapping. Anchors, tags, nested values and texts of several
lines are not read: keys that hold them are left out, so nothing in a file can be executed or grow.
"""

from __future__ import annotations

import json
import re
from typing import Any

_QUOTED = r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')"""
_TOKEN = re.compile(r"\s*(?:" + _QUOTED + r"""|([^,\[\]{}"'][^,\[\]{}]*|[,\[\]{}]))""")


def parse(text: str) -> dict[str, Any]:
    """Returns the top-level keys of a file: each a str, a list of str or a dict of str to str.

    Args:
        text: str. The text of the file.

    Raises:
        ValueError: if a list or mapping is damaged, naming the line.
    """
    lines = [_without_comment(line) for line in text.split("\n")]
    found: dict[str, Any] = {}
    index = 0
    while index < len(lines):
        pair = None if lines[index][:1] in " \t#-[{" else _pair(lines[index])
        index += 1
        if pair is None:  # an empty line, or something that no data.yaml holds
            continue
        first, block = index, []
        while index < len(lines) and (lines[index][:1] in ("", " ", "\t", "-", "]", "}")):
            block.append(lines[index])
            index += 1
        try:
            found[_scalar(pair[0])] = _value(pair[1], block)
        except ValueError as error:
            raise ValueError(f"line {first}: {error}") from error
    return found


def _without_comment(line: str) -> str:
    """Cuts a comment: a # at the start or after a space, outside of quotes."""
    if "#" not in line:
        return line.rstrip()
    quote, before = "", ""  # the open quote, and the last character that is not a space
    for position, character in enumerate(line):
        if quote:
            escaped = quote == '"' and before == "\\"
            quote = "" if character == quote and not escaped else quote
            before = "" if escaped else character
            continue
        if character in "\"'" and before in ("", ":", ",", "[", "{", "-"):
            quote = character
        elif character == "#" and line[position - 1 : position] in ("", " ", "\t"):
            return line[:position].rstrip()
        if not character.isspace():
            before = character
    return line.rstrip()


def _value(first, block):
    if first.startswith(("[", "{")):
        return _flow(" ".join([first, *block]))
    if first.startswith(("|", ">")):  # a text of several lines, such as a download script
        return ""
    if first:
        return _scalar(first)
    rows = [line.strip() for line in block if line.strip()]
    if all(row.startswith("- ") or row == "-" for row in rows) and rows:
        return [_scalar(row[1:].strip()) for row in rows]
    indent = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    pairs = {}
    for line in block:
        pair = None if line[indent : indent + 1] in " \t" else _pair(line[indent:])
        if pair is not None:  # deeper levels are left out
            pairs[_scalar(pair[0])] = _scalar(pair[1])
    return pairs if pairs else ""


def _flow(text):
    """Reads [a, b] or {0: a, 1: b} of one level."""
    closing = {"[": "]", "{": "}"}[text[0]]
    pieces: list[list[str]] = [[]]  # of each entry: a quoted key and its value are two
    position = 1
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"a list that starts with {text[0]} does not end with {closing}")
        token, position = match[1] or match[2].strip(), match.end()
        if token == closing:
            break
        if token in ("[", "]", "{", "}"):
            raise ValueError("a list inside of a list is not read")
        if token == ",":
            pieces.append([])
        elif token:
            pieces[-1].append(token)
    entries = ["".join(entry) for entry in pieces if entry]
    if closing == "]":
        return [_scalar(entry) for entry in entries]
    pairs = [_pair(entry) for entry in entries]
    if None in pairs:
        raise ValueError("a mapping needs entries like 0: name")
    return {_scalar(pair[0]): _scalar(pair[1]) for pair in pairs if pair is not None}


def _pair(text):
    """Splits `key: value`; None if it is something else."""
    quoted = re.match(_QUOTED, text)
    key, colon, value = text[quoted.end() if quoted else 0 :].partition(":")
    if not colon or (quoted and key.strip()) or (value and not value[0].isspace() and not quoted):
        return None
    return quoted[1] if quoted else key.strip(), value.strip()


def _scalar(text):
    if len(text) > 1 and text[0] == text[-1] == '"':
        return str(json.loads(text))
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    return text.strip()
