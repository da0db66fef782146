"""A few of the kills that `python -m tests.kill.detect` does by the hundred."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def kill(*words):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.kill.detect", *map(str, words)]
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all equal to the unbroken one" in done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_the_writer_survives_kills(tmp_path):
    memory = Path("/dev/shm")  # a disk would take most of the time to flush its files
    folder = memory if memory.is_dir() else tmp_path
    kill("--writer", "--count", 15, "--images", 5, "--folder", folder)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_the_command_survives_kills(tmp_path):
    kill("--count", 3, "--images", 20, "--folder", tmp_path)
