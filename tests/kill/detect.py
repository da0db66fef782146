"""Kills `mrcnn detect` at random moments, starts it again, and compares it with an unbroken run.

    python -m tests.kill.detect --count 100             the command, with a tiny network
    python -m tests.kill.detect --count 1000 --writer   only what it writes, without a network

Every file must be equal to that of the unbroken run, in which every image is exactly once, no line
of the journal may be lost, and no temporary file may be left. A new process is forked from one that
has imported everything, which saves the seconds that an import takes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mrcnn import results
from mrcnn.images.files import find_images, read_image

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


def write(images: Path, output: Path) -> None:
    """Does what `mrcnn detect` does, without a network."""
    with results.ResultWriter(output, find_images([images])) as writer:
        writer.resume({"model": "none"})
        for path in writer.remaining:
            try:
                image = read_image(path)
            except ValueError:
                continue
            side = 1 + int(image[0, 0, 0]) % image.shape[0]
            found = {
                "rois": np.array([[0, 0, side, side]] * 3, np.int32),
                "class_ids": np.array([1, 2, 3], np.int32),
                "scores": image[0, :3, 1] / np.float32(255),
            }
            writer.add(path, image, found, ["BG", "a"])
        writer.finish()


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


def start(work: Callable, *args: Path) -> int:
    """Runs a function in a forked process, silently; returns the process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        with open(os.devnull, "w") as nothing:
            with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
                work(*args)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(child: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"the process ended with code {code}")


def lines(output: Path) -> int:
    """Returns the number of lines of the journal."""
    try:
        return (output / results.JOURNAL).read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir()}


def attack(work: Callable, images: Path, root: Path, count: int, rng: random.Random) -> int:
    """Kills `count` processes; returns the number of runs that they were part of.

    Raises:
        AssertionError: a run differs from the unbroken one.
    """
    begin = time.monotonic()
    finish(start(work, images, root / "whole"))
    seconds = time.monotonic() - begin
    whole = files(root / "whole")
    total = len(find_images([images])) - 1
    check_tables(root / "whole", total)
    killed = runs = 0
    while True:
        output = root / f"run{runs}"
        wanted = rng.randint(1, 5)  # kills in this run
        for _ in range(min(wanted, count - killed)):
            before = lines(output)
            child = start(work, images, output)
            kill_at_random(child, output, before, seconds / total * (total - before + 2), rng)
            killed += 1
            finish(child)
            if (output / results.JOURNAL).exists() and lines(output) < before:
                raise AssertionError(f"{output}: {before} lines became {lines(output)}")
        finish(start(work, images, output))
        if files(output) != whole:
            names = {name for name, _ in files(output).items() ^ whole.items()}
            raise AssertionError(f"{output} differs from the unbroken run in {sorted(names)[:9]}")
        runs += 1
        if killed >= count:
            return runs


def kill_at_random(child, output, before, seconds, rng):
    """Kills a process a random time after it has begun to write; at once in some of the cases."""
    if rng.random() < 0.9:
        end = time.monotonic() + 60
        while lines(output) <= before and time.monotonic() < end:
            time.sleep(0.001)
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break  # it had nothing left to write
    time.sleep(rng.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)


def check_tables(output: Path, total: int) -> None:
    rows = json.loads((output / "detections.json").read_text("utf-8"))
    with open(output / "detections.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    names = {row["file_name"] for row in rows}
    if not rows or names != {row["file"] for row in table} or len(rows) != len(table):
        raise AssertionError("the tables of the unbroken run differ")
    if len(list(output.iterdir())) != 2 * total + 2:
        raise AssertionError("the unbroken run lacks images")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20, help="number of kills (default: 20)")
    parser.add_argument("--images", type=int, help="number of images (default: 12, or 60)")
    parser.add_argument("--writer", action="store_true", help="without a network")
    parser.add_argument("--folder", help="where to write (default: the temporary folder)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments (default: random)")
    args = parser.parse_args(argv)
    seed = random.randrange(10**6) if args.seed is None else args.seed
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        root = Path(folder)
        make_images(root / "in", args.images or (12 if args.writer else 60), 64)
        work = write
        if not args.writer:
            work = command(root / "model")
            finish(start(save_tiny_model, root / "model"))
        runs = attack(work, root / "in", root, args.count, random.Random(seed))
    seconds = time.monotonic() - begin
    print(
        f"{args.count} kills in {runs} runs, all equal to the unbroken one (seed {seed}, "
        f"{seconds:.0f} s)."
    )


if __name__ == "__main__":
    main()
