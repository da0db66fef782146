"""200 mutants of each kind of file, and all that once failed."""

import pytest

from fuzz.kinds import KINDS
from fuzz.run import run, run_saved, saved

COUNT = 200


@pytest.mark.parametrize("kind", KINDS)
def test_mutants_are_refused_or_harmless(kind):
    report = run(kind, COUNT)
    assert sum(report.outcomes.values()) == COUNT
    assert not report.faults, "\n".join(
        f"{fault.seed}/{fault.name} {fault.text}" for fault in report.faults
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if any(saved(kind))])
def test_mutants_that_once_failed(kind):
    assert run_saved(kind) == []
