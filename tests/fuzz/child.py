"""Reads mutants in a process with a limit of memory, and says what came of each.

It reads the folder of one mutant per line, and answers with a line of JSON: how it ended
("refused", "equal", "other" or "fault"), and a text. A crash or a hang ends the process; the parent
starts another one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

MEMORY = 2 * 2**30  # bytes that reading one mutant may take
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# What a reader never does. See the table of audit events of Python.
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "pty.spawn")
FORBIDDEN += ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "shutil.rmtree")
FORBIDDEN += ("socket.connect", "socket.bind", "ctypes.dlopen", "urllib.Request", "os.chmod")

_events: list[str] = []


def _watch(event, arguments):
    """Notes everything that harms."""
    if event in FORBIDDEN:
        _events.append(f"{event} {arguments!r}"[:200])
    elif event == "open" and arguments[2] & WRITING:  # os.open has no mode
        if arguments[0] != os.devnull:
            _events.append(f"open {arguments[0]!r} to write"[:200])


def digest(value: Any) -> str:
    """Returns a checksum of all that was read."""
    sha = hashlib.sha256()
    _add(sha, value)
    return sha.hexdigest()


def _add(sha, value):
    import numpy as np

    if isinstance(value, dict):
        for key in sorted(value, key=str):
            _add(sha, (str(key), value[key]))
    elif isinstance(value, (list, tuple)):
        sha.update(f"[{len(value)}".encode())
        for item in value:
            _add(sha, item)
    elif isinstance(value, (np.ndarray, np.generic)):
        value = np.ascontiguousarray(value)
        sha.update(f"{value.shape}{value.dtype}".encode() + value.tobytes())
    else:
        sha.update(repr(value).encode("utf-8", "replace"))


def judge(read: Any, folder: Path, expected: set[str]) -> tuple[str, str]:
    """Reads one mutant.

    Args:
        read: function of a folder.
        folder: Path. The files of the mutant.
        expected: set of str. The digests of the undamaged files.

    Returns:
        How it ended, and a text.
    """
    _events.clear()
    try:
        found = digest(read(folder))
    except (ValueError, OSError) as error:
        result = _refusal(error, folder)
    except BaseException as error:
        result = "fault", f"raw {type(error).__name__}: {str(error)[:200]}"
    else:
        result = ("equal" if found in expected else "other"), ""
    if _events:
        return "fault", f"executed: {'; '.join(_events)[:400]}"
    return result


def _refusal(error, folder) -> tuple[str, str]:
    from mrcnn.errors import MAX_TEXT

    text = str(error)
    if len(text) > MAX_TEXT:
        return "fault", f"an error of {len(text)} characters: {text[:200]}"
    if str(folder) not in text:
        return "fault", f"an error that does not name the file: {text[:300]}"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return "fault", f"more than {MEMORY / 2**30:.0f} GB of memory: {text[:300]}"
        cause = cause.__cause__ or cause.__context__
    return "refused", text


def _limit_memory():
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return  # other systems have no such limit
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answers line by line until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer
    logging.disable()
    warnings.simplefilter("ignore")
    from .kinds import KINDS

    kind = KINDS[sys.argv[1]]
    expected = {digest(kind.read(Path(folder))) for folder in sys.argv[2:]}
    sys.addaudithook(_watch)
    _limit_memory()
    print(json.dumps(["ready", ""]), file=answers)
    for line in sys.stdin:
        print(json.dumps(judge(kind.read, Path(json.loads(line)), expected)), file=answers)


if __name__ == "__main__":
    main()
