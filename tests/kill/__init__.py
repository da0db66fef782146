"""Kills processes at chosen and at random moments, runs them again, and compares the results.

`python -m tests.kill train --count 300` runs any number of kills; see `tests/kill/__main__.py`.

A process that does the work counts *events*: an epoch begins, a step ends, a file is about to be
replaced. It kills itself at the event that it was told, so a failure can be repeated. Other kills
come from outside, after a random time.

The processes are forked from one that has imported everything and computed nothing: TensorFlow
takes seconds to import, and its threads do not survive a fork.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MOST_KILLS = 3  # of one piece of work


class Kill(NamedTuple):
    """A moment at which a process is killed.

    Attributes:
        event: str. The kind of event, or "time".
        number: float. The number of the event of this kind in the process, from 1; for "time" the
            seconds since its start.
    """

    event: str
    number: float

    def __str__(self):
        return f"{self.event} {self.number:.4g}"


class Events:
    """Counts the events of this process, and kills it at one of them.

    Args:
        kill: Kill or None.
    """

    def __init__(self, kill: Kill | None = None):
        self.kill = kill
        self.counts: Counter[str] = Counter()

    def __call__(self, event: str) -> None:
        """Counts an event, and kills the process if it is the one.

        Args:
            event: str. Its kind.
        """
        self.counts[event] += 1
        if self.kill == (event, self.counts[event]):
            os.kill(os.getpid(), signal.SIGKILL)

    def count_files(self) -> None:
        """Counts the moments in which a file is written: half written, written, and replaced."""
        from mrcnn.images import atomic

        flush, replace = atomic._flush_to_disk, os.replace

        def flush_counted(path):
            if Path(path).is_file():
                if self.kill == ("half a file", self.counts["half a file"] + 1):
                    os.truncate(path, os.path.getsize(path) // 2)
                self("half a file")
            flush(path)

        def replace_counted(source, target, **options):
            self("before a file is replaced")
            replace(source, target, **options)
            self("after a file is replaced")

        atomic._flush_to_disk, os.replace = flush_counted, replace_counted


def run(work: Callable[[Events], None], log: Path, kill: Kill | None = None) -> tuple[int, float]:
    """Runs a function in a forked process.

    Args:
        work: function of the `Events` of the process.
        log: Path. The output of the process is added to this file.
        kill: Kill or None. When the process is killed. Defaults to None: never.

    Returns:
        (exit status, seconds): 0 if the function returned, -9 if the process was killed.
    """
    start = time.monotonic()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _child(work, log, kill)
    if kill and kill.event == "time":
        while time.monotonic() - start < kill.number:
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), time.monotonic() - start
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - start


def events_of(log: Path) -> dict[str, int]:
    """Returns how many events of each kind there were in a process that was not killed.

    Args:
        log: Path. See `run`.
    """
    lines = log.read_text(errors="replace").splitlines()
    rows = [line[7:].rpartition(": ") for line in lines if line[:7] == "EVENTS "]
    return {event: int(count) for event, _, count in rows}


def draw(events: dict[str, int], seconds: float, rng: random.Random) -> list[Kill]:
    """Draws up to `MOST_KILLS` kills: half of them at an event, half at a random time.

    Args:
        events: dict. How many events of each kind the unbroken run had.
        seconds: float. How long the unbroken run took.
        rng: random.Random.
    """
    kills = []
    for _ in range(rng.choice([1, 1, 2, MOST_KILLS])):
        if rng.random() < 0.5:
            kills.append(Kill("time", rng.uniform(0, seconds)))
        else:
            event = rng.choice(sorted(events))
            kills.append(Kill(event, rng.randint(1, events[event])))
    return kills


def _child(work, log, kill):
    """Does the work and ends the process, as a process of `multiprocessing` ends."""
    status = 1
    try:
        output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        events = Events(kill)
        work(events)
        for event, count in events.counts.items():
            print(f"EVENTS {event}: {count}")
        with contextlib.suppress(ImportError):
            from multiprocessing import util

            util._exit_function()  # what an interpreter calls when it ends
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
