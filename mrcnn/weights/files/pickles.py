"""Reads pickles of weights without executing anything in them.

A pickle is a program that can call any function by name. Here, only the names of arrays and plain
containers are known, and each is replaced by a function of this file. Every step of the program
costs a bounded amount of time and memory, and the number of steps is limited.
"""

from __future__ import annotations

import math
import mmap
import os
import pickle
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from mrcnn.errors import reading, shorten

# Steps of the program. A checkpoint takes about 40 per tensor, three times as many with the state
# of its optimizer, so this is enough for 4,000 tensors. As many steps take about two seconds and
# at most 300 MB.
MAX_OPCODES = 500_000
# Containers in containers. A state dict needs three levels.
MAX_DEPTH = 100
# Axes of an array, as in NumPy 1.
MAX_AXES = 32
# Arguments of a function of this file. None takes more than eight.
_MAX_ARGUMENTS = 16
# Keys of dicts: nothing else is hashed, because tuples of tuples can take exponential time.
_MAX_KEY = 2**63

# Names of dtypes as NumPy pickles them. No name of a file reaches `np.dtype`.
_DTYPES = {
    name: np.dtype(name)
    for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
}
# Of "=" and "|", the order is that of the machine, or there is none.
_ORDERS: dict[str, Any] = {"<": "<", ">": ">", "=": "=", "|": "|"}


class Refused(ValueError):
    """A pickle contains something that weights do not need."""


class _Array:
    """Replaces `numpy.ndarray` until its state is read."""

    def set_state(self, state, encode):
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array without shape, dtype and data")
        _, shape, dtype, fortran, data = state
        data = encode(data) if isinstance(data, str) else data  # Python 2
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise Refused("an array of something other than numbers")
        if not isinstance(shape, tuple) or not are_sizes(shape):
            raise Refused(f"an array of shape {shorten(shape)}")
        # A view of the bytes that were read, whatever shape the pickle claims.
        self.value = np.frombuffer(data, dtype.value)
        if math.prod(shape) != self.value.size:
            raise Refused(f"an array of shape {shape} with data for {self.value.size} numbers")
        self.value = self.value.reshape(shape, order="F" if fortran else "C")


class _DType:
    """Replaces `numpy.dtype`."""

    def __init__(self, name=None, *_):
        if not isinstance(name, str) or name not in _DTYPES:
            raise Refused(f"the dtype {shorten(name)}, but weights are numbers")
        self.value = _DTYPES[name]

    def set_state(self, state, encode):
        """Sets the byte order. The rest of the state does not matter for numbers."""
        order: Any = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if isinstance(order, str) and order in _ORDERS:
            self.value = self.value.newbyteorder(_ORDERS[order])


def _scalar(dtype, data):
    if not isinstance(dtype, _DType) or not isinstance(data, (bytes, str)):
        raise Refused("a number of no known dtype")
    if len(data) != dtype.value.itemsize:
        raise Refused("a number whose size is not that of its dtype")
    data = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(data, dtype.value)[0].item()


def _from_buffer(data, dtype, shape, order, *_):
    array = _Array()
    array.set_state((1, shape, dtype, order == "F", data), None)
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
}


class _Input:
    """The bytes of a pickle. Nothing is allocated for bytes that are not there.

    Args:
        data: bytes or mmap.
        position: int. Where the pickle starts.
    """

    def __init__(self, data, position):
        self.data = data
        self.position = position

    def read(self, count):
        return self._advance(self.position + count)

    def readline(self):
        return self._advance(self.data.find(b"\n", self.position) + 1)

    def _advance(self, stop):
        if not self.position <= stop <= len(self.data) or (stop == 0 and self.position):
            raise EOFError("it ends in the middle of a value")
        start, self.position = self.position, stop
        return self.data[start:stop]


class _Unpickler(pickle._Unpickler):
    """Python's unpickler, in its pure Python version, with fixed sets of names and of opcodes.

    The memo of the pure version is a dict. The C version allocates a table as long as the largest
    index in the file, which can be gigabytes.

    Args:
        source: _Input.
        names: mapping of (module, name) to callable. Every other name is refused.
        storages: callable or None. See `load`.
    """

    stack: list[Any]  # set by `load` of the base class
    append: Callable[[Any], None]
    read: Callable[[int], bytes]

    def __init__(self, source, names, storages=None):
        super().__init__(source, encoding="latin1")
        self.storages = storages
        self.names = NUMPY | names
        self.names["collections", "OrderedDict"] = self.ordered_dict
        self.names["_codecs", "encode"] = self.encode
        self.steps = 0
        self.encoded: dict[str, bytes] = {}

    def spend(self, steps):
        """Counts steps of the program."""
        self.steps += steps
        if self.steps > MAX_OPCODES:
            raise Refused(f"more than {MAX_OPCODES:,} opcodes, as no state dict does")

    def find_class(self, module, name):
        try:
            return self.names[module, name]
        except KeyError:
            text = shorten(f"{module}.{name}")[1:-1]
            raise Refused(f"{text}, which weights do not need") from None

    def persistent_load(self, identifier):
        if self.storages is None:
            raise Refused("data outside of the pickle")
        return self.storages(identifier)

    # --- Functions that a pickle may call ----------------------------------------------------
    def encode(self, text, encoding="latin1"):
        """Replaces `_codecs.encode`. A text that is encoded again is not copied again."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise Refused("text in an unknown encoding")
        if text not in self.encoded:
            self.encoded[text] = text.encode("latin1")
        return self.encoded[text]

    def ordered_dict(self, pairs=()):
        """Replaces `collections.OrderedDict`. Python 2 passed a list of pairs."""
        if not isinstance(pairs, (list, tuple)):
            raise Refused("an OrderedDict of something other than pairs")
        self.spend(len(pairs))
        if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            raise Refused("an OrderedDict of something other than pairs")
        _check_keys(key for key, _ in pairs)
        return dict(pairs)

    # --- Opcodes that differ from Python's ---------------------------------------------------
    def load_build(self):
        """Sets the state of our replacements, and of nothing else."""
        state = self.stack.pop()
        thing = self.stack[-1]
        if isinstance(thing, (_Array, _DType)):
            thing.set_state(state, self.encode)
        elif not isinstance(thing, dict):  # the state of an OrderedDict is dropped
            raise Refused(f"the state of a {type(thing).__name__}")

    def load_reduce(self):
        """Calls a function of this file."""
        arguments = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise Refused("a call without a short tuple of arguments")
        if not callable(function):
            raise Refused(f"a call of a {type(function).__name__}")
        self.stack[-1] = function(*arguments)

    def load_bytearray8(self):
        """Reads a bytearray as bytes. Python's allocates whatever length the file claims."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    def load_setitem(self):
        _check_keys(self.stack[-2:-1])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self):
        keys = self.stack[::2]
        _check_keys(keys)
        super().load_setitems()  # type: ignore[misc]
        if len(self.stack[-1]) < len(keys):  # Python writes up to 1,000 items at once
            raise Refused("a dict with a key twice")

    def load_dict(self):
        _check_keys(self.stack[::2])
        super().load_dict()  # type: ignore[misc]

    dispatch: ClassVar[dict[int, Any]]  # filled below


# All opcodes except those of sets, objects of a class, extensions and buffers outside of the file.
_OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG
    LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST APPEND
    APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS PUT BINPUT
    LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD PERSID BINPERSID
"""


def _counted(function):
    def opcode(unpickler):
        unpickler.spend(1)
        function(unpickler)

    return opcode


def _refuse(unpickler):
    raise Refused("an object of a class, or a set")


_Unpickler.dispatch = {code: _refuse for code in pickle._Unpickler.dispatch}
for _name in _OPCODES.split():
    _code = getattr(pickle, _name)[0]
    # Python's table holds functions, so that a method of ours has to be looked up by its name.
    _method = getattr(_Unpickler, pickle._Unpickler.dispatch[_code].__name__)
    _Unpickler.dispatch[_code] = _counted(_method)


def _check_keys(keys: Iterable[Any]) -> None:
    """Raises an error unless all keys of a dict can be hashed at once."""
    for key in keys:
        plain = key is None or isinstance(key, (str, bytes, float))
        if not plain and not (isinstance(key, int) and -_MAX_KEY <= key < _MAX_KEY):
            raise Refused(f"a dict with the key {shorten(key)}: keys must be text or numbers")


def load(
    data: bytes | mmap.mmap,
    path: str | os.PathLike,
    names: dict[tuple[str, str], Any] | None = None,
    storages: Callable[[Any], Any] | None = None,
) -> Any:
    """Reads a pickle of dicts, lists, tuples, text, numbers and arrays.

    Args:
        data: bytes or mmap. The pickle.
        path: str or path. The file, named in errors.
        names: dict of (module, name) to callable. Names that are allowed besides those of NumPy.
            Defaults to None.
        storages: callable or None. Function of a persistent id that returns the object. Defaults to
            None: persistent ids are refused.

    Raises:
        ValueError: not a pickle, truncated, or with anything else in it. The message names the
            file.
    """
    value, end = load_part(data, path, names=names, storages=storages)
    if end != len(data):
        with reading(path, "a pickle of weights"):
            raise ValueError(f"{len(data) - end} bytes follow the end of the pickle")
    return value


def load_part(
    data: bytes | mmap.mmap,
    path: str | os.PathLike,
    start: int = 0,
    names: dict[tuple[str, str], Any] | None = None,
    storages: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """Does the same as `load` for one of several pickles in a file.

    Args:
        data: bytes or mmap. The pickle and what surrounds it.
        path: str or path. The file, named in errors.
        start: int. Where the pickle starts. Defaults to 0.
        names: dict. As in `load`. Defaults to None.
        storages: callable or None. As in `load`. Defaults to None.

    Returns:
        Tuple of the content and the position where the pickle ends.
    """
    source = _Input(data, start)
    with reading(path, "a pickle of weights"):
        try:
            content = _Unpickler(source, names or {}, storages).load()
            return mapped(content, _unwrapped), source.position
        except Refused as error:
            raise ValueError(
                f"{path} is refused because it contains {error}. Nothing was executed. If the "
                "file is yours, save only the weights: torch.save(model.state_dict(), path)."
            ) from error


def mapped(
    value: Any,
    leaf: Callable[[Any], Any],
    done: dict[int, tuple[Any, Any]] | None = None,
    depth: int = 0,
) -> Any:
    """Replaces every item of nested dicts, lists and tuples that is not one of these.

    Each object is visited once. Otherwise a list that contains another list twice, which contains
    another one twice, and so on, would take exponential time.

    Args:
        value: dict, list, tuple, or a single item.
        leaf: callable. Function of an item that returns its replacement.
        done: dict or None. The replacements so far by `id`, for the recursion. Defaults to None.
        depth: int. How many containers contain the value. Defaults to 0.

    Raises:
        Refused: containers are nested in each other too deeply, or contain themselves.
    """
    done = {} if done is None else done
    if depth > MAX_DEPTH:
        raise Refused(f"more than {MAX_DEPTH} containers nested in each other")
    if id(value) not in done:
        made: Any
        if isinstance(value, dict):
            made = {key: mapped(item, leaf, done, depth + 1) for key, item in value.items()}
        elif isinstance(value, (list, tuple)):
            made = type(value)(mapped(item, leaf, done, depth + 1) for item in value)
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


def are_sizes(values: Any) -> bool:
    """Returns whether all values are sizes of an array: a few integers of 0 and more.

    Args:
        values: list or tuple of anything.
    """
    return len(values) <= MAX_AXES and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63 for n in values
    )
