"""Exit codes, the error of wrong usage, and a parser that suggests the nearest word."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mrcnn.backend import BackendError
from mrcnn.errors import MAX_TEXT

OK, PROBLEM, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = "Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 3 some inputs were skipped."


class UsageError(Exception):
    """The command line asks for something that cannot be done. The exit code is 2."""


# Our own checks raise these with a text that needs no more.
_EXPLAINED = (UsageError, BackendError, ValueError, OSError, FloatingPointError)


def is_explained(error: BaseException) -> bool:
    """Returns whether the text of an error says all that a user needs."""
    return isinstance(error, (*_EXPLAINED, MemoryError))


def one_line(error: BaseException) -> str:
    """Returns the text of an error in one line of bounded length.

    Args:
        error: exception. If it is none of those that the package raises itself, its type is named.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        # Python puts a number before the text and the file behind it, which ours names already.
        if error.filename is None or str(error.filename) in error.strerror:
            text = error.strerror
    if isinstance(error, MemoryError):
        text = f"there is not enough memory: {text}".removesuffix(": ")
    elif not isinstance(error, _EXPLAINED):
        text = f"{type(error).__name__}: {text or 'no message'}"
    elif not text:
        text = "no message"
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and suggest the nearest word that exists.

    Attributes:
        is_command: bool. Whether this is the parser of one command. Such a parser reports unknown
            options itself, so that the error names the command. Defaults to False.
    """

    is_command = False

    def parse_known_args(  # type: ignore[override]  # argparse has overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parses arguments as argparse does, but a command rejects unknown options.

        Args:
            args: sequence of str or None. Defaults to None: the arguments of this process.
            namespace: object or None. Receives the values. Defaults to None: a new `Namespace`.

        Returns:
            (namespace, unknown arguments).
        """
        found, extra = super().parse_known_args(args, namespace)
        if extra and self.is_command:
            self.error(f"unrecognized arguments: {' '.join(extra)}")
        return found, extra

    def error(self, message: str) -> NoReturn:
        """Prints the message in one line, with a suggestion if there is one, and exits with code 2.

        Args:
            message: str. The error.
        """
        hint = self._hint(message)
        print(f"{self.prog}: error: {message}{hint} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(USAGE)

    def _hint(self, message):
        """Returns the suggestion for an error of argparse, or an empty string."""
        choice = re.search(r"invalid choice: '?([^' ]+)'? \(choose from (.*)\)", message)
        if choice:
            return did_you_mean(choice[1], re.findall(r"[^', ]+", choice[2]))
        for word in re.findall(r"--[\w-]+", message) if "unrecognized" in message else ():
            hint = did_you_mean(word, list(self._option_string_actions))
            if hint:
                return hint
        return ""


def did_you_mean(word: str, names: list[str]) -> str:
    """Returns " Did you mean X?", or an empty string if no name is similar.

    Args:
        word: str. What the user wrote.
        names: list of str. The words that exist.
    """
    near = difflib.get_close_matches(word, names, n=1)
    return f" Did you mean {near[0]}?" if near else ""
