"""Reads weight files that may do harm in a child process."""

import pytest
from fuzz.run import Child


@pytest.fixture(scope="session")
def child(tmp_path_factory):
    """Returns a process that reads weight files of any kind."""
    child = Child("pkl", tmp_path_factory.mktemp("hostile"))
    yield child
    child.close()


@pytest.fixture
def check(child):
    """Returns a function that reads one file, and checks how it is refused.

    It takes the name of the file (weights of no known network are called "content"), its bytes,
    and a part of the expected error. None: the file may be read, but must do no harm.
    """

    def check(name, data, message):
        outcome, text = child.read({name: data})
        assert outcome != "fault", text
        if message is not None:
            assert outcome == "refused"
            assert message in text
            assert len(text) <= 1000

    return check
