"""Checks of single values: what is expected, in words for an error, and whether a value is that."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

REAL = (int, float, np.integer, np.floating)


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


def whole(low: int) -> Check:
    """Accepts whole numbers of at least `low`; old scripts divide, so 50.0 is read as 50."""

    def accepts(value):
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        return is_whole and value >= low

    def convert(value):
        is_whole = isinstance(value, (float, np.floating)) and value.is_integer()
        return int(value) if is_whole else value

    return Check(f"a whole number of at least {low}", accepts, convert)


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """Accepts numbers from `low` to `high`, both included."""
    expected = "a number"
    if math.isfinite(high):
        expected = f"a number from {low} to {high}"
    elif math.isfinite(low):
        expected = f"a number of at least {low}"
    # not (value < low), since a NaN has to be refused
    return Check(expected, lambda value: isinstance(value, REAL) and bool(low <= value <= high))


def one_of(*choices: Any) -> Check:
    """Accepts these values and no others."""
    # An array compares elementwise, so `in` cannot answer for it.
    return Check(
        f"one of {', '.join(map(repr, choices))}",
        lambda value: np.ndim(value) == 0 and value in choices,
    )


def sequence(item: Check, count: int | None = None) -> Check:
    """Accepts a list, tuple or array whose entries `item` accepts, exactly `count` if given."""

    def accepts(value):
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        if not is_list and not (isinstance(value, np.ndarray) and value.ndim == 1):
            return False
        return (count is None or len(value) == count) and all(map(item.accepts, value))

    size = "a sequence of values" if count is None else f"a sequence of {count} values"
    return Check(f"{size}, each {item.expected}", accepts)


def or_none(check: Check) -> Check:
    """Accepts None, too."""
    return Check(
        f"{check.expected}, or None",
        lambda value: value is None or check.accepts(value),
        check.convert,
    )


positive = Check("a positive number", lambda v: isinstance(v, REAL) and bool(v > 0))
flag = one_of(True, False)
# A function is saved by its name, so text stands for the function of a model that was loaded.
text_or_function = Check("a name or a function", lambda v: callable(v) or isinstance(v, str))
