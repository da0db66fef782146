"""A few of the kills that `python -m tests.kill` does by the hundred."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")

# In a process of its own, which forks: this one has computed already.
SCRIPT = """
import sys
from pathlib import Path
from tests.kill import Kill, train
folder = Path(sys.argv[1])
unbroken = train.reference("the same layers twice", folder / "unbroken")
kills = [Kill(*moment) for moment in eval(sys.argv[2])]
print(train.check(unbroken, kills, folder / "killed"))
"""
MOMENTS = [
    ("a step", 1),  # in the first epoch
    ("half a file", 11),  # the checkpoint of the second epoch
    ("the end of a call", 1),  # between two calls
    ("a step of validation", 2),
    ("after a file is replaced", 8),
]


def run(*words):
    env = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=env, capture_output=True, text=True
    )


def test_a_training_that_is_killed_five_times_equals_the_unbroken_one(tmp_path):
    done = run("-c", SCRIPT, tmp_path, MOMENTS)
    assert done.stdout == "(5, [])\n", done.stdout + done.stderr[-2000:]


@pytest.mark.slow
def test_trainings_that_are_killed_at_random_equal_the_unbroken_ones(tmp_path):
    seed = random.randrange(10**6)
    done = run("-m", "tests.kill", "train", "--count", 9, "--seed", seed, "--output", tmp_path)
    assert done.returncode == 0 and "9 kills" in done.stdout, done.stdout


def test_a_difference_is_found():
    script = (
        "from tests.kill.train import differences\n"
        "import numpy as np\n"
        "one = {'a': np.ones(3), 'b': np.array('x')}\n"
        "print(len(differences(one, one)), len(differences({'a': np.ones(3) + 1e-5}, one)))"
    )
    assert run("-c", script).stdout == "0 2\n"
