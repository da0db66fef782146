"""Error texts about files from strangers: values are cut short, and no error leaves without a file.

A damaged file can make a reader fail in any way, and a hostile one can hold a value that takes
gigabytes to print. So every reader of a file runs inside `reading`, and every error text shows a
value of the file through `shorten`.
"""

from __future__ import annotations

import contextlib
import os
import reprlib
from collections.abc import Iterator
from typing import Any

MAX_TEXT = 1000  # characters of the longest error text about one file
MAX_VALUE = 80  # characters of one value in it


class _Shortened(reprlib.Repr):
    """Prints two levels of a container, and numbers of any size in constant time."""

    def __init__(self):
        super().__init__()
        self.maxlevel = 2
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = 4
        self.maxdeque = self.maxarray = 4
        self.maxstring = self.maxother = MAX_VALUE

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to print an integer of more than 4,300 digits
        if value.bit_length() > 256:
            return f"an integer of {value.bit_length()} bits"
        return repr(value)

    def repr_str(self, value: str, level: int) -> str:
        return super().repr_str(value[: 2 * MAX_VALUE], level)

    def repr_bytes(self, value: bytes, level: int) -> str:
        return self.repr_str(repr(value[:MAX_VALUE]), level)[1:-1]

    def repr_ndarray(self, value: Any, level: int) -> str:
        return f"an array of shape {value.shape} and type {value.dtype}"


_shortened = _Shortened()


def shorten(value: Any, limit: int = MAX_VALUE) -> str:
    """Returns the `repr` of a value of a file, cut to a length that fits into an error text.

    The cost does not depend on the size of the value: only the first entries of the first two
    levels of a container are printed.

    Args:
        value: any. The value, as it was read from the file.
        limit: int. The largest number of characters. Defaults to 80.

    Returns:
        str. At most `limit` characters; a text that was cut holds "...".
    """
    text = _shortened.repr(value)
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return text[:half] + "..." + text[len(text) - half :]


def printable(path: str | os.PathLike) -> str:
    """Returns a path as text that every terminal and file takes.

    A name that is not UTF-8 reaches Python as lone surrogates, which cannot be written anywhere:
    these become escapes, such as \\udce9.

    Args:
        path: str or path.
    """
    return os.fsdecode(path).encode("utf-8", "backslashreplace").decode()


@contextlib.contextmanager
def reading(path: str | os.PathLike, expected: str, advice: str = "") -> Iterator[None]:
    """Names the file in every error that is raised while it is read.

    An error that already is a ValueError or OSError and names the file passes unchanged, unless
    its text is longer than 1,000 characters, which are kept. Any other error of a reader, such as
    an IndexError or a struct.error, becomes a ValueError. A MemoryError is one as well: it says
    that the file asks for more than the machine has.

    Args:
        path: str or path. The file.
        expected: str. What the file should be, such as "a PyTorch checkpoint".
        advice: str. What the user should do. Defaults to "The file is damaged or of another kind:
            copy, download or export it again.".

    Raises:
        ValueError: for every error that is not an OSError.
        OSError: if the operating system cannot read the file.
    """
    name = printable(path)
    try:
        yield
    except (ValueError, OSError) as error:
        text = str(error)
        number = getattr(error, "errno", None)  # libraries raise an OSError without one
        from_library = isinstance(error, UnicodeError | OSError) and number is None
        if name in text and len(text) <= MAX_TEXT and not from_library:
            raise
        if isinstance(error, OSError) and number is not None:
            text = _text(name, expected, error.strerror, advice)
            raise OSError(number, text, name) from error
        raise ValueError(_text(name, expected, text, advice)) from error
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise ValueError(_text(name, expected, text, advice)) from error


def _text(name: str, expected: str, reason: str | None, advice: str) -> str:
    """Returns one error text: the file, what was expected, what came, what to do."""
    advice = advice or "The file is damaged or of another kind: copy, download or export it again."
    reason = " ".join(str(reason or "it cannot be read").split()).removesuffix(".")
    room = max(MAX_TEXT - len(name) - len(expected) - len(advice) - 30, 100)
    if len(reason) > room:
        reason = reason[: room - 3] + "..."
    return f"{name} cannot be read as {expected}: {reason}. {advice}"
