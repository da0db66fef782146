"""Makes mutants, has them read by a child process, and judges what happened."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .kinds import KINDS, UNCHECKED, Files
from .mutate import mutate

SECONDS = 10  # of the processor, for one mutant
WAIT_SECONDS = 60  # for one mutant on a busy machine
START_SECONDS = 120  # until a child has imported the readers, on a busy machine
TESTS = Path(__file__).parents[1]
SEEDS = Path(__file__).parent / "seeds"


@dataclass
class Fault:
    """A mutant that was not handled well.

    Attributes:
        kind: str. The kind of the file.
        seed: str. The name of the example that it was made from.
        name: str. The file in it that was damaged.
        data: bytes. The damaged file.
        text: str. What happened.
    """

    kind: str
    seed: str
    name: str
    data: bytes
    text: str

    def save(self) -> Path:
        """Saves the damaged file where the tests find it; returns its path."""
        number = hashlib.sha256(self.data).hexdigest()[:8]
        path = SEEDS / self.kind / f"{number}-{self.seed}" / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path


@dataclass
class Report:
    """What became of the mutants of a kind.

    Attributes:
        outcomes: Counter. "refused", "equal", "other" (which the format cannot tell) and "fault".
        faults: list of Fault.
    """

    outcomes: collections.Counter = field(default_factory=collections.Counter)
    faults: list[Fault] = field(default_factory=list)


class Child:
    """A process that reads mutants of one kind. It is started again after a crash or a hang.

    Args:
        kind: str.
        folder: Path. An empty folder for the mutants.
    """

    def __init__(self, kind: str, folder: Path):
        self.kind = kind
        self.folder = folder
        self.examples = KINDS[kind].seeds()
        self.paths = [
            _write(folder / f"seed-{name}", files) for name, files in self.examples.items()
        ]
        self._process: subprocess.Popen | None = None

    def read(self, files: Files) -> tuple[str, str]:
        """Returns how reading the files ended, and a text."""
        process = self._process or self._start()
        used = _processor_seconds(process.pid)
        folder = _write(self.folder / "mutant", files)
        try:
            process.stdin.write(json.dumps(str(folder)) + "\n")
            process.stdin.flush()
            answer = self._answer(SECONDS)
            for _ in range(WAIT_SECONDS - SECONDS):
                if answer is not None or _processor_seconds(process.pid) >= used + SECONDS:
                    break
                answer = self._answer(1)
        finally:
            shutil.rmtree(folder)
        if answer is not None:
            return answer
        hung = process.poll() is None
        self.close()
        if hung:
            return "fault", f"not done after {SECONDS} seconds"
        return "fault", f"a crash with status {process.returncode}"

    def _start(self) -> subprocess.Popen:
        folders = [TESTS, TESTS / "weights", TESTS / "data/formats", TESTS.parent]
        path = os.pathsep.join(map(str, folders))
        # A module that only an error imports would be written as bytecode, which looks like harm.
        quiet = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "fuzz.child", self.kind, *map(str, self.paths)]
        with open(self.folder / "stderr", "w+") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=os.environ | quiet,
            )
            if self._answer(START_SECONDS) is None:
                self.close()
                stderr.seek(0)
                raise RuntimeError(f"The undamaged files cannot be read:\n{stderr.read()[-3000:]}")
        return self._process

    def _answer(self, seconds):
        """Returns the next answer, or None if there is none in time."""
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if ready and not line:
            self._process.wait()
        return tuple(json.loads(line)) if line else None

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def run(kind: str, count: int, seed: int = 0) -> Report:
    """Reads mutants of a kind.

    Args:
        kind: str. A key of `KINDS`.
        count: int. How many mutants.
        seed: int. Another seed makes other mutants. Defaults to 0.

    Returns:
        Report.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        child = Child(kind, Path(folder))
        try:
            for number in range(count):
                _one(child, random.Random(f"{kind}/{seed}/{number}"), report)
        finally:
            child.close()
    return report


def _one(child, rng, report):
    """Makes and reads one mutant."""
    seed = rng.choice(list(child.examples))
    files = child.examples[seed]
    name = rng.choice(list(files))
    other = rng.choice([example[name] for example in child.examples.values() if name in example])
    mutant = mutate(files[name], other, Path(name).suffix, rng)
    outcome, text = child.read(files | {name: mutant.data})
    if outcome == "other" and not mutant.is_consistent and Path(name).suffix not in UNCHECKED:
        outcome, text = "fault", "other numbers, though the format has checksums"
    report.outcomes[outcome] += 1
    if outcome == "fault":
        report.faults.append(Fault(child.kind, seed, name, mutant.data, f"{mutant.how}: {text}"))


def saved(kind: str) -> Iterator[tuple[Path, str, str]]:
    """Yields path, example and file name of every saved mutant of a kind."""
    for path in sorted((SEEDS / kind).rglob("*")):
        if path.is_file():
            folder, _, name = path.relative_to(SEEDS / kind).as_posix().partition("/")
            yield path, folder.split("-", 1)[1], name


def run_saved(kind: str) -> list[str]:
    """Reads the saved mutants of a kind; returns what was not handled well."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        child = Child(kind, Path(folder))
        try:
            for path, seed, name in saved(kind):
                outcome, text = child.read(child.examples[seed] | {name: path.read_bytes()})
                if outcome == "fault" or (outcome == "other" and path.suffix not in UNCHECKED):
                    found.append(f"{path.relative_to(SEEDS)}: {outcome} {text}")
        finally:
            child.close()
    return found


def _processor_seconds(pid: int) -> float:
    """Returns the time of the processor that a process has used; infinite if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # also on other systems, which wait for SECONDS in all
        return float("inf")
    if fields[0] == "Z":
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _write(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
