"""Exit codes, wrong usage, and a parser that suggests what was meant."""

from __future__ import annotations

import argparse
import difflib
import re
import sys

OK, PROBLEM, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = "Exit codes: 0 fine, 1 a problem was found, 2 wrong usage, 3 some inputs were skipped."


class UsageError(Exception):
    """The command line asks for something that cannot be done; exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest word that exists.

    Attributes:
        is_command: bool. Whether it is the parser of one command, which names its unknown options.
    """

    is_command = False

    def parse_known_args(self, args=None, namespace=None):
        """As argparse, but an unknown option is an error of the command that got it."""
        found, extra = super().parse_known_args(args, namespace)
        if extra and self.is_command:
            self.error(f"unrecognized arguments: {' '.join(extra)}")
        return found, extra

    def error(self, message):
        """Prints one line and exits with code 2."""
        hint = self._hint(message)
        print(f"{self.prog}: error: {message}{hint} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(USAGE)

    def _hint(self, message):
        choice = re.search(r"invalid choice: '?([^' ]+)'? \(choose from (.*)\)", message)
        if choice:
            return did_you_mean(choice[1], re.findall(r"[^', ]+", choice[2]))
        for word in re.findall(r"--[\w-]+", message) if "unrecognized" in message else ():
            hint = did_you_mean(word, list(self._option_string_actions))
            if hint:
                return hint
        return ""


def did_you_mean(word: str, names: list[str]) -> str:
    """Returns `" Did you mean X?"`, or nothing where no name is near."""
    near = difflib.get_close_matches(word, names, n=1)
    return f" Did you mean {near[0]}?" if near else ""
