"""What the commands share: exit codes, wrong usage, opening a model."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

OK, PROBLEM, USAGE, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130


class UsageError(Exception):
    """The command line asks for something that cannot be; exit code 2."""


def open_model(name, mode="inference", **overrides):
    """The model of a folder, of a weight file, of published weights, or the bundled one ("demo").

    Raises:
        UsageError: none of these.
    """
    from mrcnn.weights.download import known

    path = Path(name)
    if name != "demo" and not path.exists() and name not in known():
        raise UsageError(
            f"MODEL {name!r} is not there: give a model folder, a weight file, a name that "
            '"mrcnn download" lists, or "demo"'
        )
    load_backend()
    from mrcnn.models.mask_rcnn import MaskRCNN

    if name == "demo":
        return MaskRCNN.demo(mode, **overrides)
    if path.is_dir():
        return MaskRCNN.load(path, mode, **overrides)
    return MaskRCNN.from_weights(name, mode, **overrides)


def load_backend():
    """Imports Keras and its backend, and finds the devices, without their messages.

    TensorFlow writes several lines to stderr from C++ whatever its settings say. They are shown
    when the import fails, and with --debug.
    """
    with _silent_stderr(unless=logging.getLogger("mrcnn").isEnabledFor(logging.DEBUG)):
        import keras

        keras.distribution.list_devices()


@contextmanager
def _silent_stderr(unless=False):
    try:
        stderr = sys.__stderr__.fileno()
    except (AttributeError, ValueError, OSError):  # no terminal behind it
        unless = True
    if unless:
        yield
        return
    sys.__stderr__.flush()
    kept = os.dup(stderr)
    with tempfile.TemporaryFile() as swallowed:
        os.dup2(swallowed.fileno(), stderr)
        try:
            yield
        except BaseException:
            swallowed.seek(0)
            os.write(kept, swallowed.read())
            raise
        finally:
            os.dup2(kept, stderr)
            os.close(kept)
