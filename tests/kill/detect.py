"""Kills `mrcnn detect` at random moments, starts it again, and compares it with an unbroken run.

Every file must be equal to that of the unbroken run, in which every image is exactly once, no line
of the journal may be lost, and no temporary file may be left.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mrcnn import results
from mrcnn.images.files import find_images

from . import Kill, draw, events_of, run

TESTS = Path(__file__).parent.parent


def make_images(folder: Path, count: int, side: int) -> None:
    """Writes images of random pixels, one that is damaged, and one whose name is not UTF-8."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        image = rng.integers(0, 256, (side, side, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index:05d}.png"), image)
    (folder / "damaged.png").write_bytes((folder / "00000.png").read_bytes()[:60])
    with contextlib.suppress(OSError):  # a disk that takes UTF-8 only
        os.rename(folder / "00001.png", os.fsencode(folder) + b"/caf\xe9.png")


def command(model: Path) -> Callable[[Path, Path], None]:
    """Returns `mrcnn detect` with a model as a function of the images and the output folder."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from mrcnn.cli import main
    from mrcnn.models import mask_rcnn  # noqa: F401  (imported before the processes are forked)

    def detect(images: Path, output: Path) -> None:
        code = main(["detect", str(model), str(images), "--output", str(output)])
        if code != 3:  # one image is damaged
            raise AssertionError(f"exit code {code}")

    return detect


def save_tiny_model(folder: Path) -> None:
    sys.path.insert(0, str(TESTS))
    from tiny import TinyConfig

    from mrcnn import MaskRCNN

    MaskRCNN("inference", TinyConfig(SEED=1)).save(folder)


def lines(output: Path) -> int:
    """Returns the number of lines of the journal."""
    try:
        return (output / results.JOURNAL).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir()}


def start(
    work: Callable[[Path, Path], None], images: Path, folder: Path, kill: Kill | None = None
) -> tuple[int, float]:
    """Runs `work` in a process of its own, as `tests.kill.run` does, on `folder`/out.

    Raises:
        AssertionError: the process failed, or the journal has lost lines.
    """

    def counted(events):
        events.count_files()
        work(images, folder / "out")

    folder.mkdir(exist_ok=True)
    before = lines(folder / "out")
    status, seconds = run(counted, folder / "log", kill)
    if status not in (0, -9):
        text = (folder / "log").read_text(errors="replace")[-2000:]
        raise AssertionError(f"the process ended with status {status}:\n{text}")
    if (folder / "out" / results.JOURNAL).exists() and lines(folder / "out") < before:
        raise AssertionError(f"{before} lines became {lines(folder / 'out')}")
    return status, seconds


def check(
    work: Callable, images: Path, folder: Path, kills: list[Kill], whole: dict[str, bytes]
) -> tuple[int, str]:
    """Kills a detection, runs it to its end, and compares it with the unbroken run.

    Args:
        work: function of the images and the output folder.
        images: Path. The folder of images.
        folder: Path. Where to run it. It is removed if all is well.
        kills: list of Kill. One per start, before the start that is not killed.
        whole: dict. The files of the unbroken run.

    Returns:
        (number of processes that were killed, what is wrong or ""). A process may end before its
        kill.
    """
    killed = 0
    try:
        for kill in [*kills, None]:
            status, _ = start(work, images, folder, kill)
            killed += status == -9
            if status == 0:
                break
        found = files(folder / "out")
    except AssertionError as error:
        return killed, str(error)
    if found != whole:
        names = {os.fsencode(name).decode("utf-8", "replace") for name in _changed(found, whole)}
        return killed, f"differs from the unbroken run in {sorted(names)[:9]}"
    shutil.rmtree(folder)
    return killed, ""


def _changed(found, whole):
    return {name for name, _ in found.items() ^ whole.items()}


def check_tables(output: Path, total: int) -> None:
    rows = json.loads((output / "detections.json").read_text("utf-8"))
    with open(output / "detections.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    names = {row["file_name"] for row in rows}
    if not rows or names != {row["file"] for row in table} or len(rows) != len(table):
        raise AssertionError("the tables of the unbroken run differ")
    if len(list(output.iterdir())) != 2 * total + 2:
        raise AssertionError("the unbroken run lacks images")


def attack(work: Callable, count: int, seed: int, folder: Path, images: int) -> int:
    """Kills `count` processes at random moments.

    Args:
        work: function of a folder of images and the output folder.
        count: int. How many processes are killed.
        seed: int. Seed of the moments.
        folder: Path. Where to work. Failed runs stay there.
        images: int. Number of images.

    Returns:
        The number of detections that did not resume right.
    """
    rng = random.Random(seed)
    make_images(folder / "in", images, 64)
    _, seconds = start(work, folder / "in", folder / "unbroken")
    whole = files(folder / "unbroken" / "out")
    check_tables(folder / "unbroken" / "out", len(find_images([folder / "in"])) - 1)
    events = events_of(folder / "unbroken" / "log")
    killed = runs = failed = 0
    while killed < count:
        kills = draw(events, seconds, rng)[: count - killed]
        more, wrong = check(work, folder / "in", folder / str(runs), kills, whole)
        killed, runs, failed = killed + more, runs + 1, failed + bool(wrong)
        if wrong:
            print(f"{folder / str(runs - 1)}: killed at {'; '.join(map(str, kills))}: {wrong}")
    print(f"{killed} kills in {runs} runs, {failed} failed (seed {seed}).")
    return failed


def main(count: int, seed: int, folder: Path) -> int:
    """Kills `mrcnn detect` with a tiny network; see `attack`."""
    status, _ = run(lambda events: save_tiny_model(folder / "model"), folder / "log")
    if status:
        raise RuntimeError((folder / "log").read_text()[-3000:])
    return attack(command(folder / "model"), count, seed, folder, images=20)
