"""A few of the kills that `python -m tests.kill detect` does by the hundred."""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")


def kill(what, count, folder):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = ["-m", "tests.kill", what, "--count", count, "--output", folder]
    words += ["--seed", random.randrange(10**6)]
    words = [sys.executable, *map(str, words)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f"{count} kills" in done.stdout and " 0 failed" in done.stdout


def test_the_writer_survives_kills(tmp_path):
    memory = Path("/dev/shm")  # a disk would take most of the time to flush its files
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        kill("writer", 15, folder)


@pytest.mark.slow
def test_the_command_survives_kills(tmp_path):
    kill("detect", 3, tmp_path)
