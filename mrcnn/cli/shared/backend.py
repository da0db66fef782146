"""Loads Keras without the messages of its backend."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from mrcnn.backend import explained


def load_backend() -> None:
    """Imports Keras and its backend, and finds the devices, without their messages.

    TensorFlow writes several lines to stderr from C++ whatever its settings say. They are shown
    when the import fails, and with --debug.

    Raises:
        BackendError: the backend is not installed, or there is none of that name.
    """
    with explained(), _silent_stderr(unless=logging.getLogger("mrcnn").isEnabledFor(logging.DEBUG)):
        from mrcnn import runtime

        runtime.devices()


@contextmanager
def _silent_stderr(unless: bool = False) -> Iterator[None]:
    stderr = _descriptor()
    if unless or stderr is None:
        yield
        return
    kept = os.dup(stderr)
    with tempfile.TemporaryFile() as swallowed:
        os.dup2(swallowed.fileno(), stderr)
        try:
            yield
        except (ImportError, ValueError):  # explained in one line by the caller
            raise
        except BaseException:
            swallowed.seek(0)
            os.write(kept, swallowed.read())
            raise
        finally:
            os.dup2(kept, stderr)
            os.close(kept)


def _descriptor():
    """The file descriptor of stderr; None where there is none behind it."""
    stream = sys.__stderr__
    if stream is None:
        return None
    try:
        stream.flush()
        return stream.fileno()
    except (AttributeError, ValueError, OSError):
        return None
