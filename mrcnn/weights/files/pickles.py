"""Pickles that hold weights, read without executing anything in them.

A pickle is a program: it may call whatever it names. Here the only names that mean something are
those of arrays and plain containers, and each stands for a function of this file.
"""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np

# Of an array in a pickle: whole and floating point numbers and booleans, in either byte order.
_KINDS = "fiub"


class Refused(ValueError):
    """A pickle asks for something that no weights need."""


class _Array:
    """Stands for `numpy.ndarray` while its state is not there yet."""

    def set_state(self, state):
        try:
            _, shape, dtype, fortran, data = state
        except (TypeError, ValueError) as error:
            raise Refused("an array without shape, dtype and data") from error
        data = data.encode("latin1") if isinstance(data, str) else data  # text to Python 2
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise Refused("an array that does not hold plain numbers")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise Refused(f"an array of shape {shape!r}")
        self.value = np.frombuffer(data, dtype.value)
        count = 1
        for side in shape:
            count *= side
        if count != self.value.size:
            raise Refused(f"an array of shape {shape} with data for {self.value.size} numbers")
        self.value = self.value.reshape(shape, order="F" if fortran else "C")


class _DType:
    """Stands for `numpy.dtype`."""

    def __init__(self, name, *_):
        try:
            self.value = np.dtype(str(name))
        except (TypeError, ValueError) as error:
            raise Refused(f"the dtype {name!r}") from error
        if self.value.kind not in _KINDS:
            raise Refused(f"the dtype {name!r}: weights are plain numbers")

    def set_state(self, state):
        """Takes the byte order; the rest says nothing about plain numbers."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        self.value = self.value.newbyteorder(order if order in "<>=|" else "=")


def _scalar(dtype, data):
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(dtype, _DType) or len(data) != dtype.value.itemsize:
        raise Refused("a number whose size is not that of its dtype")
    return np.frombuffer(data, dtype.value)[0].item()


def _from_buffer(data, dtype, shape, order, *_):
    array = _Array()
    array.set_state((1, shape, dtype, order == "F", bytes(data)))
    return array


# (module, name) -> what it stands for. `numpy.core` became `numpy._core` in NumPy 2.
NUMPY = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("_reconstruct", lambda *_: _Array()), ("scalar", _scalar))
    },
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("__builtin__", "bytes"): lambda *_: b"",  # how Python 2 is told of no bytes
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): lambda text, encoding="latin1": text.encode("latin1"),
}


class _Unpickler(pickle._Unpickler):
    """Python's own unpickler in Python, whose memo is a dictionary.

    The one in C makes a table as long as the greatest number that a file names: gigabytes.
    """

    def __init__(self, file, names, storages=None):
        super().__init__(file, encoding="latin1")
        self.names, self.storages = names, storages

    def find_class(self, module, name):
        try:
            return self.names[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}, which no weights need") from None

    def persistent_load(self, identifier):
        if self.storages is None:
            raise Refused("data outside of the pickle")
        return self.storages(identifier)

    def load_build(self):
        """Sets the state of our stand-ins, and of nothing else."""
        state = self.stack.pop()
        thing = self.stack[-1]
        if isinstance(thing, (_Array, _DType)):
            thing.set_state(state)
        elif not isinstance(thing, dict):  # an OrderedDict carries attributes of its module along
            raise Refused(f"the state of a {type(thing).__name__}")

    def load_newobj(self):
        raise Refused("an object of a class")

    dispatch = pickle._Unpickler.dispatch | {
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_newobj,
    }


def load(data, path, names=None, storages=None):
    """What a pickle holds, made of dicts, lists, tuples, text, numbers and arrays alone.

    Args:
        data: the pickle, or a binary file at its begin.
        path: of the file, for errors.
        names: (module, name) -> function, beside `NUMPY`.
        storages: function of a persistent id; None: there are none.

    Raises:
        ValueError: naming the file: not a pickle, cut short, or asking for anything else.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        return mapped(_Unpickler(file, NUMPY | (names or {}), storages).load(), _finished)
    except Refused as error:
        raise ValueError(
            f"{path} is refused: it asks for {error}. Nothing was executed. If the file is yours, "
            "save the weights alone: torch.save(model.state_dict(), path)."
        ) from error
    except (
        pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError,
        ValueError, OverflowError, RecursionError, MemoryError, AssertionError, struct.error,
    ) as error:  # fmt: skip
        raise ValueError(
            f"{path} is no pickle of weights, or a damaged one ({type(error).__name__}: {error}). "
            "Copy or download it again."
        ) from error


def mapped(value, leaf, done=None):
    """Dicts, lists and tuples with `leaf(item)` in place of every other item.

    `done` holds what was seen, so that a list that names another twice, which names another twice,
    and so on, takes as long as it is.
    """
    done = {} if done is None else done
    if id(value) not in done:
        if isinstance(value, dict):
            made = {key: mapped(item, leaf, done) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            made = type(value)(mapped(item, leaf, done) for item in value)
        else:
            made = leaf(value)
        done[id(value)] = (value, made)  # the value too: its id must not be given to another
    return done[id(value)][1]


def _finished(value):
    """An array in place of its stand-in."""
    if isinstance(value, _Array):
        if not hasattr(value, "value"):
            raise Refused("an array without data")
        return value.value
    if isinstance(value, _DType) or callable(value):
        raise Refused(f"a {type(value).__name__} that is no weight")
    return value
