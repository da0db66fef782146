"""Reads pickles of weights without executing anything in them.

A pickle is a program that can call any function by name. Here, only the names of arrays and plain
containers are known, and each is replaced by a function of this file.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np

# Allowed kinds of dtypes: floats, signed and unsigned integers, and booleans, of any byte order.
_KINDS = "fiub"

# What the unpickler raises for a file that is not a pickle, or damaged.
_DAMAGE = (
    pickle.UnpicklingError,
    struct.error,
    OverflowError,
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class Refused(ValueError):
    """A pickle contains something that weights do not need."""


class _Array:
    """Replaces `numpy.ndarray` until its state is read."""

    def set_state(self, state):
        try:
            _, shape, dtype, fortran, data = state
        except (TypeError, ValueError) as error:
            raise Refused("an array without shape, dtype and data") from error
        data = data.encode("latin1") if isinstance(data, str) else data  # Python 2
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise Refused("an array of something other than numbers")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise Refused(f"an array of shape {shape!r}")
        # A view of the bytes that were read, whatever shape the pickle claims.
        self.value = np.frombuffer(data, dtype.value)
        count = 1
        for side in shape:
            count *= side
        if count != self.value.size:
            raise Refused(f"an array of shape {shape} with data for {self.value.size} numbers")
        self.value = self.value.reshape(shape, order="F" if fortran else "C")


class _DType:
    """Replaces `numpy.dtype`."""

    def __init__(self, name, *_):
        try:
            self.value = np.dtype(str(name))
        except (TypeError, ValueError) as error:
            raise Refused(f"the dtype {name!r}") from error
        if self.value.kind not in _KINDS:
            raise Refused(f"the dtype {name!r}, but weights are numbers")

    def set_state(self, state):
        """Sets the byte order. The rest of the state does not matter for numbers."""
        order: Any = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
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


# (module, name) -> its replacement. `numpy.core` was renamed to `numpy._core` in NumPy 2.
NUMPY: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("_reconstruct", lambda *_: _Array()), ("scalar", _scalar))
    },
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("__builtin__", "bytes"): lambda *_: b"",  # empty bytes, as written for Python 2
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): lambda text, encoding="latin1": text.encode("latin1"),
}


class _Unpickler(pickle._Unpickler):
    """Python's unpickler, in its pure Python version, with a fixed set of names.

    The memo of the pure version is a dict. The C version allocates a table as long as the largest
    index in the file, which can be gigabytes.

    Args:
        file: binary file.
        names: mapping of (module, name) to callable. Every other name is refused.
        storages: callable or None. See `load`.
    """

    stack: list[Any]  # set by `load` of the base class

    def __init__(self, file, names, storages=None):
        super().__init__(file, encoding="latin1")
        self.names, self.storages = names, storages

    def find_class(self, module, name):
        try:
            return self.names[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}, which weights do not need") from None

    def persistent_load(self, identifier):
        if self.storages is None:
            raise Refused("data outside of the pickle")
        return self.storages(identifier)

    def load_build(self):
        """Sets the state of our replacements, and of nothing else."""
        state = self.stack.pop()
        thing = self.stack[-1]
        if isinstance(thing, (_Array, _DType)):
            thing.set_state(state)
        elif not isinstance(thing, dict):  # the state of an OrderedDict is dropped
            raise Refused(f"the state of a {type(thing).__name__}")

    def load_newobj(self):
        raise Refused("an object of a class")

    dispatch: ClassVar[dict[int, Any]] = pickle._Unpickler.dispatch | {
        pickle.BUILD[0]: load_build,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.NEWOBJ_EX[0]: load_newobj,
    }


def load(
    data: bytes | BinaryIO,
    path: str | os.PathLike,
    names: dict[tuple[str, str], Any] | None = None,
    storages: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads a pickle of dicts, lists, tuples, text, numbers and arrays.

    Args:
        data: bytes or binary file. The pickle, or a file positioned at its start.
        path: str or path. The file, named in errors.
        names: dict of (module, name) to callable. Names that are allowed besides `NUMPY`.
            Defaults to None.
        storages: callable or None. Function of a persistent id that returns the object. Defaults to
            None: persistent ids are refused.

    Raises:
        ValueError: not a pickle, truncated, or with anything else in it. The message names the
            file.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        return mapped(_Unpickler(file, NUMPY | (names or {}), storages).load(), _unwrapped)
    except Refused as error:
        raise ValueError(
            f"{path} is refused because it contains {error}. Nothing was executed. If the file is "
            "yours, save only the weights: torch.save(model.state_dict(), path)."
        ) from error
    except _DAMAGE as error:
        raise ValueError(
            f"{path} is not a pickle of weights, or damaged ({type(error).__name__}: {error}). "
            "Copy or download it again."
        ) from error


def mapped(
    value: Any,
    leaf: Callable[[Any], Any],
    done: dict[int, tuple[Any, Any]] | None = None,
) -> Any:
    """Replaces every item of nested dicts, lists and tuples that is not one of these.

    Each object is visited once. Otherwise a list that contains another list twice, which contains
    another one twice, and so on, would take exponential time.

    Args:
        value: dict, list, tuple, or a single item.
        leaf: callable. Function of an item that returns its replacement.
        done: dict or None. The replacements so far by `id`, for the recursion. Defaults to None.
    """
    done = {} if done is None else done
    if id(value) not in done:
        made: Any
        if isinstance(value, dict):
            made = {key: mapped(item, leaf, done) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            made = type(value)(mapped(item, leaf, done) for item in value)
        else:
            made = leaf(value)
        # The value is kept too, so that its id is not used for another object.
        done[id(value)] = (value, made)
    return done[id(value)][1]


def _unwrapped(value):
    """Returns the array of a replacement, and anything else unchanged."""
    if isinstance(value, _Array):
        if not hasattr(value, "value"):
            raise Refused("an array without data")
        return value.value
    if isinstance(value, _DType) or callable(value):
        raise Refused(f"a {type(value).__name__}, which is not a weight")
    return value
