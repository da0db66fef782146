"""Checks of single values: what is expected, in words for an error, and whether a value is that."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

REAL: Any = (int, float, np.integer, np.floating)
_SCALARS = (str, bool, type(None), *REAL, np.bool_)
_INFINITY = 1e30  # larger numbers overflow in float32
MOST = 2**31 - 1  # of any count: steps and epochs are 32-bit integers in some backends
MOST_VALUES = 1024  # of a setting that is a sequence: one value per channel, ratio or milestone
MOST_NAME_BYTES = 120  # of a NAME, so that files named after it stay below 255 bytes


class Check(NamedTuple):
    """What a value has to be.

    Attributes:
        expected: str. The words for an error, as in "must be a whole number".
        accepts: function. Takes a value and returns whether it is valid.
        convert: function. Takes a value as users write it and returns the form that the network
            reads, or the value itself if there is nothing to convert.
    """

    expected: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any] = lambda value: value


def whole(low: int, high: int = MOST) -> Check:
    """Accepts whole numbers from `low` to `high`; old scripts divide, so 50.0 is read as 50.

    The upper bound is there for files of others: none may ask for more than a machine has.
    """

    def accepts(value):
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return is_whole and low <= value <= high

    def convert(value):
        is_whole = isinstance(value, (float, np.floating)) and value.is_integer()
        return int(value) if is_whole else value

    span = f"of at least {low}" if high == MOST else f"from {low} to {high}"
    return Check(f"a whole number {span}", accepts, convert)


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """Accepts numbers from `low` to `high`, both included."""
    expected = "a number"
    if math.isfinite(high):
        expected = f"a number from {low} to {high}"
    elif math.isfinite(low):
        expected = f"a number of at least {low}"

    def accepts(value: Any) -> bool:
        if not isinstance(value, REAL) or not low <= value <= high:  # NaN is in no range
            return False
        # A whole number can be too large for an array of floats.
        return isinstance(value, (float, np.floating)) or abs(value) < _INFINITY

    return Check(expected, accepts)


def one_of(*choices: Any) -> Check:
    """Accepts these values and no others."""
    # An array compares elementwise, so `in` cannot answer for it, nor for a list that holds one.
    return Check(
        f"one of {', '.join(map(repr, choices))}",
        lambda value: isinstance(value, _SCALARS) and value in choices,
    )


def sequence(item: Check, count: int | None = None, most: int = MOST_VALUES) -> Check:
    """Accepts a list, tuple or array of at most `most` entries that `item` accepts.

    If `count` is given, there must be exactly `count` entries.
    """

    def accepts(value):
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        if not is_list and not (isinstance(value, np.ndarray) and value.ndim == 1):
            return False
        if len(value) > most or (count is not None and len(value) != count):
            return False
        return all(map(item.accepts, value))

    size = "a sequence of values" if count is None else f"a sequence of {count} values"
    return Check(f"{size}, each {item.expected}", accepts)


def or_none(check: Check) -> Check:
    """Accepts None, too."""
    return Check(
        f"{check.expected}, or None",
        lambda value: value is None or check.accepts(value),
        check.convert,
    )


positive = Check("a positive number", lambda v: isinstance(v, REAL) and 0 < v < _INFINITY)
flag = one_of(True, False)
run_name = Check(
    f"text without '/', '\\\\' and control characters, of at most {MOST_NAME_BYTES} bytes",
    lambda v: isinstance(v, str) and _is_part_of_a_file_name(v),
)
# A function is saved by its name, so text stands for the function of a model that was loaded.
text_or_function = Check("a name or a function", lambda v: callable(v) or isinstance(v, str))


def _is_part_of_a_file_name(text: str) -> bool:
    if len(text) > MOST_NAME_BYTES or set(text) & {"/", "\\"}:
        return False
    # Control characters (Cc), and halves of characters (Cs), which no file name can hold
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        return False
    return len(text.encode()) <= MOST_NAME_BYTES
