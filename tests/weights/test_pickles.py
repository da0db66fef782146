"""Pickles of weights: arrays and containers are read, anything else is refused."""

import collections
import os
import pickle

import numpy as np
import pytest

from mrcnn.weights.files import pickles


def load(value, protocol=2):
    return pickles.load(pickle.dumps(value, protocol), "file.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_files_as_detectron2_writes_them(protocol):
    rng = np.random.default_rng(0)
    weights = collections.OrderedDict(
        a=rng.normal(size=(3, 4)).astype("float32"),
        b=np.array(3, "int64"),
        c=np.asfortranarray(rng.normal(size=(2, 5))),
        d=np.zeros((0, 3), ">f4"),
        e=np.float32(2.5),
        f=np.array([True, False]),
    )
    found = load({"model": weights, "__author__": "é", "n": [1, (2.5, None)]}, protocol)
    assert found["__author__"] == "é" and found["n"] == [1, (2.5, None)]
    for name, array in weights.items():
        np.testing.assert_array_equal(found["model"][name], array)
        if isinstance(array, np.ndarray):
            assert found["model"][name].dtype == array.dtype


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, arguments",
    [
        (os.system, ("touch owned",)),
        (eval, ("open('owned', 'w')",)),
        (open, ("owned", "w")),
        (getattr, ("x", "upper")),
        (np.save, ("owned", 1)),
        (np.load, ("owned",)),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_executed(tmp_path, monkeypatch, function, arguments, protocol):
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps({"model": [Evil(function, *arguments)]}, protocol)
    with pytest.raises(
        ValueError, match="file.pkl is refused because it contains .*Nothing was executed"
    ):
        pickles.load(data, "file.pkl")
    assert not list(tmp_path.iterdir())


def test_our_functions_are_not_changed():
    """A pickle can set attributes of anything that it names, but not of our replacements."""
    data = b"cnumpy.core.multiarray\n_reconstruct\n}S'__defaults__'\nNsb."
    with pytest.raises(ValueError, match="state of a function"):
        pickles.load(data, "x")


@pytest.mark.parametrize(
    "value, message",
    [
        (np.array([{}, []], dtype=object), "dtype"),
        (np.array(["a"]), "dtype"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")]), "dtype"),
        (np.array(["2020"], dtype="datetime64[D]"), "dtype"),
        (np.dtype("f4"), "_DType"),
        (collections.Counter("a"), "collections.Counter"),
    ],
)
def test_other_objects_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        load(value)


def test_sizes_that_disagree():
    good = pickle.dumps(np.zeros((4, 5), "float32"), 2)
    index = good.index(b"K\x04K\x05")
    for shape in (b"K\x04K\x06", b"K\xffK\xff"):
        with pytest.raises(ValueError, match="with data for 20 numbers"):
            pickles.load(good[:index] + shape + good[index + 4 :], "x")


def test_damaged_files_and_huge_memos():
    good = pickle.dumps({"a": np.zeros(100)}, 2)
    for data in (b"", b"no pickle", good[:-1], good[:200], b"\x80\x02" + b"(" * 10**5):
        with pytest.raises(ValueError, match="x (cannot be read as a pickle|is refused)"):
            pickles.load(data, "x")
    huge = b"\x80\x02}r\xff\xff\xff\xff."  # memo index 2^32 - 1: 32 GB in the C unpickler
    assert pickles.load(huge, "x") == {}
    with pytest.raises(ValueError, match="outside of the pickle"):
        pickles.load(b"Pid\n.", "x")


def test_nested_lists_are_visited_once():
    value = [0]
    for _ in range(60):  # 2^60 numbers if each list was visited every time
        value = [value, value]
    found = load(value)
    assert found[0] is found[1]
    value = []
    value.append(value)
    with pytest.raises(ValueError, match="more than 100 containers nested"):
        load(value)
