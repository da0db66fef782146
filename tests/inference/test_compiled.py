"""Compiled graphs: how many are kept, and what happens in threads and in forked processes."""

import gc
import os
import signal
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from keras import ops
from tiny import TinyConfig

from mrcnn import MaskRCNN, runtime
from mrcnn.inference import compiled

HAS_GRAPHS = keras.backend.backend() in ("tensorflow", "jax")


def toy_model():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, ops.sum(inputs, axis=(1, 2)))


def image(side):
    return np.full((1, side, 2, 3), side, "float32")


@pytest.mark.skipif(not HAS_GRAPHS, reason="PyTorch builds no graphs")
def test_the_graph_that_was_used_last_stays(monkeypatch):
    monkeypatch.setattr(compiled, "MAX_GRAPHS", 2)
    predict = compiled.compiled(toy_model())
    for side, traces in [(1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4), (3, 5), (2, 5)]:
        np.testing.assert_allclose(predict(image(side)), [[2 * side * side] * 3])
        assert predict.traces == traces
        assert len(predict._graphs) <= 2


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="about tf.function")
def test_a_graph_that_goes_leaves_nothing_behind(monkeypatch):
    from tensorflow.python.eager import context

    monkeypatch.setattr(compiled, "MAX_GRAPHS", 1)
    predict = compiled.compiled(toy_model())
    predict(image(1))
    gone = weakref.ref(next(iter(predict._graphs.values())))
    gc.collect()
    before = len(context.context().list_function_names())
    predict(image(2))
    assert gone() is None
    assert len(context.context().list_function_names()) <= before


def test_threads_find_what_one_finds_while_graphs_go(monkeypatch):
    monkeypatch.setattr(compiled, "MAX_GRAPHS", 2)
    predict = compiled.compiled(toy_model())
    sides = [1, 2, 3] * 4
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda side: predict(image(side)), sides))
    for side, sums in zip(sides, found, strict=True):
        np.testing.assert_allclose(sums, [[2 * side * side] * 3])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.parametrize("mode", ["detect", "build", "train"])
def test_a_forked_process_is_refused(mode):
    """It would wait forever for the threads of its parent."""
    model = MaskRCNN("training" if mode == "train" else "inference", TinyConfig())
    calls = {
        "detect": lambda: model.detect([np.zeros((64, 64, 3), np.uint8)]),
        "build": lambda: MaskRCNN("inference", TinyConfig()),
        "train": lambda: model.train(None),
    }
    child = os.fork()
    if child == 0:
        try:
            calls[mode]()
        except RuntimeError as error:
            os._exit(0 if "forked" in str(error) and '"spawn"' in str(error) else 1)
        finally:
            os._exit(2)
    assert exit_code(child) == 0


def exit_code(child, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hung"


def test_a_process_that_builds_its_first_model_is_welcome(monkeypatch):
    monkeypatch.setattr(runtime, "_process", None)
    runtime.refuse_fork()
    runtime.refuse_fork()
    monkeypatch.setattr(runtime, "_process", os.getpid() + 1)
    with pytest.raises(RuntimeError, match="forked from one that has already built a model"):
        runtime.refuse_fork()
