"""Error texts about files: short, with the file's name, for any failure of a reader."""

import time

import numpy as np
import pytest

from mrcnn.errors import MAX_TEXT, reading, shorten


def nested(depth=40):
    value = ()
    for _ in range(depth):
        value = (value, value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(),
        10**100_000,
        "x" * 10**7,
        b"\xff" * 10**7,
        list(range(10**6)),
        {i: nested() for i in range(1000)},
        np.zeros((10**4, 10**3)),
    ],
    ids=["nested", "integer", "text", "bytes", "list", "dict", "array"],
)
def test_a_value_of_any_size_is_printed_short_and_at_once(value):
    start = time.perf_counter()
    text = shorten(value)
    assert 0 < len(text) <= 80
    assert time.perf_counter() - start < 1


def test_a_short_value_is_printed_as_it_is():
    for value in [None, 3, -1.5, "cat", [1, 2], {"a": (1, 2)}, True, b"ab"]:
        assert shorten(value) == repr(value)


@pytest.mark.parametrize(
    "error", [IndexError("list"), KeyError("x"), MemoryError(), TypeError(), ZeroDivisionError()]
)
def test_any_error_becomes_one_that_names_the_file(error):
    with pytest.raises(ValueError, match=r"a/b\.pth cannot be read as a checkpoint: .*again\."):
        with reading("a/b.pth", "a checkpoint"):
            raise error


def test_an_error_that_names_the_file_is_kept_as_it_is():
    error = ValueError("a/b.pth: no weights in it")
    with pytest.raises(ValueError, match="no weights in it") as caught:
        with reading("a/b.pth", "a checkpoint"):
            raise error
    assert caught.value is error


def test_an_error_of_the_operating_system_keeps_its_number():
    with pytest.raises(
        OSError, match=r"a/b\.pth cannot be read as a checkpoint: Too many"
    ) as caught:
        with reading("a/b.pth", "a checkpoint"):
            raise OSError(24, "Too many open files")
    assert caught.value.errno == 24


def test_an_error_of_pillow_is_no_error_of_the_operating_system():
    with pytest.raises(ValueError, match=r"a/b\.png cannot be read as an image: cannot identify"):
        with reading("a/b.png", "an image"):
            raise OSError("cannot identify image file 'a/b.png'")


def test_a_long_text_is_cut():
    with pytest.raises(ValueError) as caught:
        with reading("a/b.pth", "a checkpoint"):
            raise ValueError("x" * 10**6)
    assert len(str(caught.value)) <= MAX_TEXT


def test_an_interrupt_passes():
    with pytest.raises(KeyboardInterrupt):
        with reading("a/b.pth", "a checkpoint"):
            raise KeyboardInterrupt
