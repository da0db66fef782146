"""Pickles that were made to do harm: each is read in a child process with limits.

A file is refused with a short error that names it, or it is read within 10 seconds and 2 GB. The
child notes everything that would be executed, opened to write or connected to.
"""

import pickle
import struct

import numpy as np
import pytest
from writers import pickled, replaced, write_old, write_zip, zipped

from mrcnn.weights.files.pickles import MAX_OPCODES


# --- Programs in pickles -------------------------------------------------------------------------
def text(value):
    value = value.encode()
    return b"X" + struct.pack("<I", len(value)) + value


def integer(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(data)) + data


# A tuple of two references to a tuple of two references, and so on: 2^60 items, if one counts.
SHARED = b"K\x01" + b"2\x86" * 60
ENCODE = b"c_codecs\nencode\n"
CALL = b"ctouch\ntouch\n"
LATIN = text("latin1")
NUMBER = b"cnumpy\ndtype\n(" + text("f4") + b"K\x00K\x01tR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n)R"
MILLION = b"(" + b"K\x01" * 400_000


def repeated(call, times=40_000):
    """Memoizes what lies on the stack, and calls a function with it many times."""
    return b"q\x00](" + (call + b"h\x00\x85R") * times + b"e."


PROGRAMS = {
    # Commands
    "system": (b"cos\nsystem\n" + text("touch owned") + b"\x85R.", "os.system"),
    "eval": (b"cbuiltins\neval\n" + text("open('owned', 'w')") + b"\x85R.", "builtins.eval"),
    "exec 2": (b"c__builtin__\nexec\n" + text("1") + b"\x85R.", "__builtin__.exec"),
    "popen": (b"csubprocess\nPopen\n" + text("touch") + b"\x85R.", "subprocess.Popen"),
    "by stack": (b"\x8c\x05posix\x8c\x06system\x93" + text("touch") + b"\x85R.", "posix.system"),
    "dotted": (b"\x8c\x05numpy\x8c\x0ff2py.os.system_\x93.", "which weights do not need"),
    "inst": (b"(" + text("touch owned") + b"ios\nsystem\n.", "an object of a class"),
    "obj": (b"(cos\nsystem\n" + text("touch owned") + b"o.", "os.system"),
    "obj of ours": (b"(cnumpy\nndarray\no.", "an object of a class"),
    "newobj": (b"cnumpy\nndarray\n)\x81.", "an object of a class"),
    "extension": (b"\x82\x01.", "an object of a class"),
    "long name": (b"c" + b"a" * 10**6 + b"\nb\n.", "which weights do not need"),
    "state of a function": (ARRAY[:-2] + b"}" + text("a") + b"Nsb.", "the state of a function"),
    "call of text": (text("abc") + b")R.", "a call of a str"),
    "call with text": (b"cnumpy\ndtype\n" + text("f4") + b"R.", "a short tuple"),
    "persistent id": (b"Pa\n.", "data outside of the pickle"),
    # Values that take exponential time to hash, print or convert
    "key": (b"}" + SHARED + b"K\x01s.", "keys must be text or numbers"),
    "keys": (b"}(" + SHARED + b"K\x01u.", "keys must be text or numbers"),
    "old keys": (b"(" + SHARED + b"K\x01d.", "keys must be text or numbers"),
    "pairs": (
        b"ccollections\nOrderedDict\n](" + SHARED + b"K\x01\x86e\x85R.",
        "keys must be text or numbers",
    ),
    "set": (b"\x8f(" + SHARED + b"\x90.", "a set"),
    "frozenset": (b"(" + SHARED + b"\x91.", "a set"),
    "printed shape": (ARRAY + b"(K\x01" + SHARED + NUMBER + b"\x89C\x00tb.", "an array of shape"),
    "printed dtype": (b"cnumpy\ndtype\n" + SHARED + b"\x85R.", "the dtype"),
    "key of a million digits": (b"}" + integer(10**300_000) + b"K\x01s.", "bits"),
    "read": (SHARED + b".", None),
    # Lengths that are claimed
    "bytearray": (b"\x96" + struct.pack("<Q", 2**40) + b".", "in the middle of a value"),
    "bytes": (b"\x8e" + struct.pack("<Q", 2**62) + b".", "in the middle of a value"),
    "text": (b"\x8d" + struct.pack("<Q", 2**33) + b".", "in the middle of a value"),
    "integer": (b"\x8b\xff\xff\xff\x7f.", "in the middle of a value"),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b".", "in the middle of a value"),
    "negative": (b"T\xff\xff\xff\xff.", "negative"),
    "memo": (b"}r\xff\xff\xff\xff.", "has no dict of tensors"),
    # Steps and levels
    "lists": (b"]" * (MAX_OPCODES + 1), "more than 500,000 opcodes"),
    "marks": (b"(" * (MAX_OPCODES + 1), "more than 500,000 opcodes"),
    "memoized": (b"N" + b"\x94" * (MAX_OPCODES + 1), "more than 500,000 opcodes"),
    "nested": (b"]" * 100_000 + b"a" * 99_999 + b".", "more than 100 containers"),
    "nested tuples": (b")" + b"\x85" * 100_000 + b".", "more than 100 containers"),
    "in itself": (b"]q\x00h\x00a.", "more than 100 containers"),
    # Copies of what was read once
    "encoded": (text("a" * 10**6) + repeated(b"c_codecs\nencode\n"), None),
    "sizes": (MILLION + b"l" + repeated(b"ctorch\nSize\n"), "torch.Size"),
    "dicts": (
        b"](" + b"K\x01K\x02\x86" * 100_000 + b"e" + repeated(b"ccollections\nOrderedDict\n"),
        "opcodes",
    ),
    "arguments": (
        MILLION + b"tq\x00](" + (b"cnumpy\nndarray\nh\x00R") * 40_000 + b"e.",
        "a short tuple",
    ),
    "encoding": (ENCODE + text("a") + text("rot13") + b"\x86R.", "unknown encoding"),
    # Arrays
    "objects": (b"cnumpy\ndtype\n(" + text("O8") + b"K\x00K\x01tR.", "the dtype 'O8'"),
    "structure": (b"cnumpy\ndtype\n(" + text("f4,O") + b"K\x00K\x01tR.", "the dtype 'f4,O'"),
    "no data": (b"}" + text("a") + ARRAY + b"s.", "an array without data"),
    "claimed shape": (
        ARRAY + b"(K\x01(" + integer(2**40) + b"t" + NUMBER + b"\x89C\x04abcdtb.",
        "with data for 1 numbers",
    ),
    "endless shape": (
        ARRAY + b"(K\x01(" + integer(2**62) * 2 + integer(0) + b"t" + NUMBER + b"\x89C\x00tb.",
        None,
    ),
    "33 axes": (ARRAY + b"(K\x01(" + b"K\x01" * 33 + b"t" + NUMBER + b"\x89C\x04abcdtb.", "shape"),
    "number": (
        b"cnumpy.core.multiarray\nscalar\n" + NUMBER + text("a" * 10**6) + b"\x86R.",
        "whose size is not that",
    ),
    "order": (NUMBER + b"(K\x03" + SHARED + b"tb.", "_DType"),
    # Names
    "a name twice": (b"}(" + text("a") + b"N" + text("a") + b"Nu.", "a key twice"),
    # The end
    "more": (b"}." + b"N", "1 bytes follow the end"),
    "nothing": (b"", "a.pkl"),
}


@pytest.mark.parametrize("case", PROGRAMS)
def test_programs_in_a_pickle(check, case):
    data, message = PROGRAMS[case]
    check("a.pkl", data, message)


# --- Tensors -------------------------------------------------------------------------------------
def made(tmp_path, content=None, **options):
    content = {"a": np.arange(6, dtype="float32")} if content is None else content
    return write_zip(tmp_path / "made.pth", content, **options).read_bytes()


IDENTIFIER = text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x06tQ"
TENSORS = {
    "type as text": (b"ctorch\nFloatStorage\n", text("O"), "data outside of the pickle"),
    "known type as text": (b"ctorch\nFloatStorage\n", text("<f4"), "data outside of the pickle"),
    "type as a number": (b"ctorch\nFloatStorage\n", b"K\x04", "data outside of the pickle"),
    "key as a number": (text("0"), b"K\x00", "data outside of the pickle"),
    "shared key": (text("0"), SHARED, "data outside of the pickle"),
    "shared identifier": (text("storage"), SHARED, "data outside of the pickle"),
    "endless count": (b"K\x06tQ", integer(10**300_000) + b"tQ", "a storage"),
    "true count": (b"K\x06tQ", b"\x88tQ", "a storage"),
    "negative count": (b"K\x06tQ", integer(-1) + b"tQ", "a storage"),
    "stride 0": (b"K\x06\x85q\x05K\x01\x85", integer(10**9) + b"\x85K\x00\x85", "exceeds"),
    "negative offset": (b"QK\x00", b"Q" + integer(-1), "without a valid shape"),
    "shared shape": (b"K\x06\x85", SHARED, "without a valid shape"),
    "long shape": (b"K\x06\x85", MILLION + b"t", "without a valid shape"),
    "large stride": (b"K\x01\x85", integer(2**62) + b"\x85", "exceeds its storage"),
    "storage alone": (b"ctorch._utils\n_rebuild_tensor_v2\n((", b"((", "a storage"),
    "another storage": (text("0"), text("1"), "has -1 bytes"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors(check, tmp_path, case):
    old, new, message = TENSORS[case]
    if case == "storage alone":
        data = b"\x80\x02}" + text("a") + b"(" + IDENTIFIER + b"s."
        data = made(tmp_path, change=lambda _: data)
    else:
        data = made(tmp_path, change=lambda data: replaced(data, old, new))
    check("content.pth", data, message)


def test_one_storage_of_bfloat16_in_many_tensors(child, tmp_path):
    """If the whole storage is widened for each tensor, all of them need 8 GB."""
    storage = np.zeros(2 * 10**6, "uint16")
    content = {f"a{i}": storage[i : i + 10] for i in range(1000)}
    program, storages = pickled(content)
    assert len(storages) == 1000
    # The writer writes a storage for each tensor: let all name the first one.
    for i in range(1, 1000):
        program = program.replace(text(str(i)), text("0"))
    data = zipped([("a/data.pkl", program), ("a/data/0", storage.tobytes())])
    outcome, found = child.read({"content.pth": data})
    assert outcome == "other", found


# --- The format before 2020 ----------------------------------------------------------------------
def old_parts(tmp_path):
    data = write_old(tmp_path / "a.pt", {"a": np.arange(6, dtype="float32")}).read_bytes()
    keys = pickle.dumps(["0"], 2)
    at = data.index(keys)
    return data[:at], keys, data[at + len(keys) :]


OLD = {
    "shared keys": (lambda a, k, n: a + b"](" + SHARED + b"e." + n, "list of storages is missing"),
    "no keys": (lambda a, k, n: a + b"]." + n, "not that of its tensors"),
    "twice": (lambda a, k, n: a + pickle.dumps(["0", "0"], 2) + n * 2, "not that of its tensors"),
    "count": (lambda a, k, n: a + k + struct.pack("<q", 5) + n[8:], "has 5 numbers"),
    "bytes after": (lambda a, k, n: a + k + n + b"\x00", "its storages end at byte"),
    "bytes within": (lambda a, k, n: a + k + n[:12] + b"\x00" + n[12:], "its storages end at byte"),
    "truncated": (lambda a, k, n: a + k + n[:-1], "its storages end at byte"),
    "byte order": (lambda a, k, n: replaced(a, b"\x88s.", b"\x89s.") + k + n, "another byte order"),
    "view": (lambda a, k, n: replaced(a, b"K\x06tQ", b"K\x06K\x01tQ") + k + n, "a storage"),
}


@pytest.mark.parametrize("case", OLD)
def test_files_from_before_2020(check, tmp_path, case):
    change, message = OLD[case]
    check("content.pt", change(*old_parts(tmp_path)), message)
