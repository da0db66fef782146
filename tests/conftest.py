"""Set up for all tests: a quiet TensorFlow, no windows, a tiny model, and freed memory."""

import ctypes
import gc
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# TensorFlow runs one operation at a time, as `runtime.compute_serially` sets it. Tests of single
# operations start TensorFlow before that function is called.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

GROWTH = 150 * 2**20  # bytes that tests may allocate before unused models are freed


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """Returns the folder of a tiny model with random weights and the classes of ShapesDataset."""
    from tiny import TinyConfig

    from mrcnn import MaskRCNN

    model = MaskRCNN("inference", TinyConfig())
    model.class_names = ["BG", "square", "circle", "triangle"]
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save(folder)
    return folder


_after_last = 0


@pytest.fixture(autouse=True)
def models_go():
    """Frees unused models. They contain reference cycles, which Python is slow to find."""
    global _after_last
    yield
    if resident() - _after_last > GROWTH:
        gc.collect()
        give_back()
        _after_last = resident()


def resident() -> int:
    """Returns the memory of the process in bytes, or 0 if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def give_back():
    """Returns freed memory to the system, if the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        pass
