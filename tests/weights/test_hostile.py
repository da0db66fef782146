"""Weight files that were made to do harm: each is read in a child process with limits.

A file is refused with a short error that names it, or it is read within 10 seconds and 2 GB. The
child notes everything that would be executed, opened to write or connected to.
"""

import io
import json
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest
from fuzz.run import Child
from writers import pickled, write_old, write_safe, write_zip

from mrcnn.weights.files.pickles import MAX_OPCODES
from mrcnn.weights.maps import detectron2, matterport, torchvision
from mrcnn.weights.shapes import Shapes


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    child = Child("pkl", tmp_path_factory.mktemp("hostile"))
    yield child
    child.close()


def check(child, name, data, message):
    """Reads one file. A message of None: it may be read."""
    outcome, text = child.read({name: data})
    assert outcome != "fault", text
    if message is not None:
        assert outcome == "refused"
        assert message in text
        assert len(text) <= 1000


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
def test_programs_in_a_pickle(child, case):
    data, message = PROGRAMS[case]
    check(child, "a.pkl", data, message)


# --- Zip files -----------------------------------------------------------------------------------
def made(tmp_path, content=None, **options):
    content = {"a": np.arange(6, dtype="float32")} if content is None else content
    return write_zip(tmp_path / "made.pth", content, **options).read_bytes()


def replaced(data, old, new, which=0):
    """Replaces one occurrence; a test that finds none would show nothing."""
    parts = data.split(old)
    assert len(parts) > which + 1
    return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])


def zipped(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as target:
        for name, data in members:
            target.NameToInfo.pop(name, None)  # Python warns of a name that is there twice
            target.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def overlapping():
    """Returns a zip file with one member inside the data of another."""
    inner = zipped([("a/data/1", b"1234")])[: 30 + 8 + 4]
    data = zipped([("a/data.pkl", b"}."), ("a/data/0", inner), ("a/data/1", b"1234")])
    # The directory finds the last member in the one before it.
    where = data.index(inner)
    return replaced(data, struct.pack("<I", data.rindex(b"PK\3\4")), struct.pack("<I", where))


NUMBERS = np.arange(6, dtype="float32").tobytes()
ZIPS = {
    "a number": (lambda d: flipped(d, d.index(NUMBERS)), "checksum of 'archive/data/0'"),
    "the pickle": (lambda d: flipped(d, d.index(b"FloatStorage")), "checksum of 'archive/data.pkl"),
    "the byte order": (lambda d: replaced(d, b"little", b"lottle"), "checksum"),
    "name in the local header": (lambda d: replaced(d, b"data/0", b"data/1"), "two headers"),
    "name in the directory": (lambda d: replaced(d, b"data/0", b"data/1", 1), "two headers"),
    "size in the local header": (
        lambda d: replaced(d, struct.pack("<2I", 24, 24), struct.pack("<2I", 20, 20)),
        "two headers",
    ),
    "size in the directory": (
        lambda d: replaced(d, struct.pack("<2I", 24, 24), struct.pack("<2I", 20, 20), 1),
        "two headers",
    ),
    "method in the local header": (lambda d: d[:8] + b"\x08" + d[9:], "two headers"),
    "claimed size": (
        lambda d: d.replace(struct.pack("<2I", 24, 24), struct.pack("<2I", 2**31, 2**31)),
        "checksum",
    ),
    "encrypted": (
        lambda d: replaced(d, b"PK\1\2\x14\x03\x14\x00\x00", b"PK\1\2\x14\x03\x14\x00\x01"),
        "compressed",
    ),
    "bytes before": (lambda d: b"PK\3\4" + d, "expected"),
    "bytes after": (lambda d: d + b"\x00", "does not end with the directory"),
    "count": (lambda d: d[:-12] + b"\x03\x00" + d[-10:], "does not end with the directory"),
    "counts": (lambda d: d[:-14] + b"\x03\x00\x03\x00" + d[-10:], "its directory ends"),
    "start": (lambda d: d[:-6] + b"\x00\x00\x00\x00" + d[-2:], "its directory ends"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_zip_files_with_wrong_headers(child, tmp_path, case):
    change, message = ZIPS[case]
    check(child, "content.pth", change(made(tmp_path)), message)


MEMBERS = {
    "twice": ([("a/data.pkl", b"}."), ("a/data.pkl", b"N.")], "there twice"),
    "two pickles": ([("a/data.pkl", b"}."), ("b/data.pkl", b"N.")], "2 members data.pkl"),
    "no pickle": ([("a/data/0", b"1234")], "0 members data.pkl"),
    "big-endian": ([("a/data.pkl", b"}."), ("a/byteorder", b"big")], "another byte order"),
    "many": ([(f"{i:x}", b"") for i in range(101_000)], "it has 101000 members"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_zip_files_with_wrong_members(child, case):
    members, message = MEMBERS[case]
    check(child, "content.pth", zipped(members), message)


def test_overlapping_members(child):
    check(child, "content.pth", overlapping(), "its members overlap")


def test_compressed_pickles(child):
    data = zipped([("a/data.pkl", b"]" * 10**7)], zipfile.ZIP_DEFLATED)
    assert len(data) < 60_000
    check(child, "content.pth", data, "compressed, which torch.save never does")


# --- Tensors -------------------------------------------------------------------------------------
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
def test_tensors(child, tmp_path, case):
    old, new, message = TENSORS[case]
    if case == "storage alone":
        data = b"\x80\x02}" + text("a") + b"(" + IDENTIFIER + b"s."
        data = made(tmp_path, change=lambda _: data)
    else:
        data = made(tmp_path, change=lambda data: replaced(data, old, new))
    check(child, "content.pth", data, message)


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
def test_files_from_before_2020(child, tmp_path, case):
    change, message = OLD[case]
    check(child, "content.pt", change(*old_parts(tmp_path)), message)


# --- safetensors ---------------------------------------------------------------------------------
def entry(start, stop, shape=None, dtype="F32"):
    shape = [(stop - start) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


SAFE = {
    "bytes after": ({"a": entry(0, 8)}, 9, "its arrays end at byte 8"),
    "hole": ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "starts at byte 8 of the numbers"),
    "hole before": ({"a": entry(4, 8)}, 8, "starts at byte 4 of the numbers"),
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "starts at byte 4 of the numbers"),
    "shared": ({"a": entry(0, 8), "b": entry(0, 8)}, 8, "starts at byte 0 of the numbers"),
    "missing bytes": ({"a": entry(0, 8)}, 7, "its arrays end at byte 8"),
    "4,000 digits": (b'{"a":{"dtype":"F32","shape":[1' + b"0" * 4000 + b"]}}", 0, "digits"),
    "33 axes": ({"a": entry(0, 4, [1] * 33)}, 4, "has dtype"),
    "endless shape": ({"a": entry(0, 0, [2**62, 2**62, 0])}, 0, None),
    "wrapping shape": ({"a": entry(0, 0, [2**62, 4])}, 0, "has shape"),
    "negative": ({"a": entry(0, 4, [-1, -1])}, 4, "has dtype"),
    "backwards": ({"a": entry(4, 0, [0])}, 4, "has shape"),
    "true": ({"a": entry(0, 4, [True])}, 4, "has dtype"),
    "a fraction": ({"a": entry(0, 4, [1.0])}, 4, "has dtype"),
    "type": ({"a": entry(0, 4, [1], "O")}, 4, "has dtype 'O'"),
    "long type": ({"a": entry(0, 4, [1], "O" * 10**5)}, 4, "has dtype"),
    "type as a list": ({"a": entry(0, 4, [1], ["F32"])}, 4, "is damaged at 'a'"),
    "three offsets": ({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4, 4]}}, 4, "values"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, 4, "no dtype, shape and offsets"),
    "long name": ({"a" * 10**6: entry(0, 8)}, 9, "its arrays end"),
    "twice": (b'{"a":' + json.dumps(entry(0, 4)).encode() + b',"a":1}', 4, "a name twice"),
    "nested": (b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}", 0, "recursion"),
    "another encoding": (json.dumps({"a": entry(0, 4)}).encode("utf-16"), 4, "utf-8"),
    "a list": (b"[1, 2]", 0, "not a JSON object"),
    "many": ({f"a{i}": entry(0, 0) for i in range(50_000)}, 0, "neither a Mask R-CNN"),
    "too many": ({f"a{i}": entry(0, 0) for i in range(100_000)}, 0, "its header has"),
}


@pytest.mark.parametrize("case", SAFE)
def test_safetensors(child, tmp_path, case):
    header, size, message = SAFE[case]
    data = write_safe(tmp_path / "x", header, bytes(size)).read_bytes()
    check(child, "a.safetensors", data, message)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_length_of_the_header(child, length):
    check(child, "a.safetensors", struct.pack("<Q", length) + b"{}", "its header has")


# --- HDF5 ----------------------------------------------------------------------------------------
def layered(path, layers, names=None):
    """Writes layers: a dict of the datasets of each, by name."""
    with h5py.File(path, "w") as file:
        listed = list(layers) if names is None else names
        file.attrs["layer_names"] = np.array([name.encode() for name in listed] or [b""])
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in weights] or [b""])
            for name, (shape, options) in weights.items():
                group.create_dataset(name, shape, "float32", **options)
    return path


SPARSE = {"chunks": (2**16,)}
CLAIM = {"kernel": ((2**40,), SPARSE)}


def links(path):
    """Writes 300 names of one array of 4 MB."""
    layered(path, {"a": {f"w{i}": ((1,), {}) for i in range(300)}})
    with h5py.File(path, "a") as file:
        file["a/big"] = np.zeros(2**20, "float32")
        for i in range(300):
            del file[f"a/w{i}"]
            file[f"a/w{i}"] = file["a/big"]


def many_links(path):
    """Writes 200 names of one group of 200 arrays."""
    layered(path, {"a": {f"w{i}": ((1,), {}) for i in range(200)}}, [f"a{i}" for i in range(200)])
    with h5py.File(path, "a") as file:
        for i in range(200):
            file[f"a{i}"] = file["a"]


def metadata(value):
    def write(path):
        layered(path, {"a": {"w": ((1,), {})}})
        with h5py.File(path, "a") as file:
            file.attrs["mrcnn_metadata"] = value

    return write


def classes(count, units=1024, **others):
    """Writes heads of Matterport's that claim classes without holding any number."""
    shapes = {
        "mrcnn_class_conv1": (7, 7, 4, units),
        "mrcnn_class_logits": (units, count),
        "mrcnn_bbox_fc": (units, 4 * count),
        **others,
    }
    layers = {name: {"kernel": (shape, {"chunks": True})} for name, shape in shapes.items()}
    return lambda path: layered(path, layers)


HDF5 = {
    "8 TB": (lambda p: layered(p, {"a": CLAIM}), "claim"),
    "many claims": (
        lambda p: layered(p, {f"a{i}": {"w": ((2**23,), SPARSE)} for i in range(20)}),
        "claim",
    ),
    "links to one array": (links, "claim"),
    "links to one group": (many_links, "claim"),
    "a layer twice": (lambda p: layered(p, {"a": CLAIM}, ["a", "a"]), "expected each once"),
    "layers": (lambda p: layered(p, {}, [f"{i}" for i in range(4001)]), "at most 4000"),
    "a name with a damaged letter": (
        lambda p: layered(p, {"conv1": {"w": ((1,), {})}}, ["conv2"]),
        "which it does not list",
    ),
    "dots": (lambda p: layered(p, {"a": {"w": ((1,), {})}}, ["a/../a"]), None),
    "a user block": (lambda p: p.write_bytes(bytes(512) + b"\x89HDF\r\n\x1a\n"), "an HDF5"),
    "deep metadata": (metadata("[" * 60_000), "not valid JSON"),
    "metadata of numbers": (metadata([1, 2]), "is not text"),
    "list of metadata": (metadata(["{}", "{}"]), "not valid JSON"),
    "metadata of 5,000 digits": (metadata('{"epoch": ' + "9" * 5000 + "}"), "not valid JSON"),
    "10**9 classes": (classes(10**9), "claim"),
    "10**6 classes": (classes(10**6, units=1), "expected (1, 100000)"),
    "other boxes": (classes(1000, mrcnn_bbox_fc=(8, 8)), "expected (1024, 4000)"),
    "channels": (classes(3, conv1=(7, 7, 10**5, 4)), "expected (7, 7, 1024, 4)"),
    "a number for a kernel": (classes(3, conv1=(1,)), "expected"),
}


@pytest.mark.parametrize("case", HDF5)
def test_hdf5(child, tmp_path, case):
    write, message = HDF5[case]
    write(tmp_path / "a.h5")
    check(child, "a.h5", (tmp_path / "a.h5").read_bytes(), message)


# --- Networks that a file asks for ---------------------------------------------------------------
def shapes_of(family, backbone, units=4, classes=3, pyramid=2, masks=2):
    """Returns the shapes of the tensors that decide how large a network is."""
    found = {}
    for stage, outputs in enumerate((1, 2, 4, 8), start=1):
        for block in range(2):
            for conv in (1, 2):
                found[backbone(stage, block, conv)] = (outputs, outputs, 3, 3)
    if family is torchvision:
        found |= {
            "backbone.body.conv1.weight": (1, 3, 7, 7),
            "roi_heads.box_predictor.cls_score.weight": (classes, units),
            "roi_heads.box_predictor.bbox_pred.weight": (4 * classes, units),
            "roi_heads.box_head.fc6.weight": (units, 49 * pyramid),
            "backbone.fpn.inner_blocks.0.0.weight": (pyramid, 1, 1, 1),
            "backbone.fpn.layer_blocks.0.0.weight": (pyramid, pyramid, 3, 3),
            "rpn.head.conv.0.0.weight": (pyramid, pyramid, 3, 3),
            "rpn.head.cls_logits.weight": (3, pyramid, 1, 1),
            "roi_heads.mask_head.1.0.weight": (masks, masks, 3, 3),
            "roi_heads.mask_predictor.conv5_mask.bias": (masks,),
            "roi_heads.mask_predictor.mask_fcn_logits.weight": (classes, masks, 1, 1),
        }
    else:
        found |= {
            "backbone.bottom_up.stem.conv1.weight": (1, 3, 7, 7),
            "roi_heads.box_predictor.cls_score.weight": (classes, units),
            "roi_heads.box_predictor.bbox_pred.weight": (4 * classes - 4, units),
            "roi_heads.box_head.fc1.weight": (units, 49 * pyramid),
            "backbone.fpn_lateral2.weight": (pyramid, 1, 1, 1),
            "backbone.fpn_output2.weight": (pyramid, pyramid, 3, 3),
            "proposal_generator.rpn_head.conv.weight": (pyramid, pyramid, 3, 3),
            "proposal_generator.rpn_head.objectness_logits.weight": (3, pyramid, 1, 1),
            "roi_heads.mask_head.mask_fcn2.weight": (masks, masks, 3, 3),
            "roi_heads.mask_head.deconv.bias": (masks,),
            "roi_heads.mask_head.predictor.weight": (classes - 1, masks, 1, 1),
        }
    return found


FAMILIES = [
    (torchvision, lambda s, b, c: f"backbone.body.layer{s}.{b}.conv{c}.weight"),
    (detectron2, lambda s, b, c: f"backbone.bottom_up.res{s + 1}.{b}.conv{c}.weight"),
]


@pytest.mark.parametrize("family, backbone", FAMILIES)
def test_a_network_is_not_larger_than_its_file(family, backbone):
    """A shape that other tensors contradict is refused before a network is built."""
    good = shapes_of(family, backbone)
    assert family.settings(Shapes("a.pth", good))["NUM_CLASSES"] == 3
    refused = 0
    for name, shape in good.items():
        for axis in range(min(len(shape), 2)):
            sides = list(shape)
            sides[axis] = 10**6
            if ".conv1.weight" in name and "stem" not in name and "body.conv1" not in name:
                continue  # decides nothing
            if axis == 1 and ("inner_blocks" in name or "lateral" in name or "logits" in name):
                continue
            if axis == 1 and ("predictor.weight" in name or "stem" in name or "body.conv1" in name):
                continue
            with pytest.raises(ValueError, match="a.pth"):
                family.settings(Shapes("a.pth", good | {name: tuple(sides)}))
            refused += 1
    assert refused > 20
    with pytest.raises(ValueError, match="expected 1 to 100,000"):
        family.settings(Shapes("a.pth", shapes_of(family, backbone, classes=10**9)))


def test_the_limits_are_above_the_published_files():
    """ResNet-101 with all heads: 690 weights, 257 MB."""
    from mrcnn.weights.files import reading

    assert reading.MAX_WEIGHTS > 5 * 690 and reading.MAX_UNSTORED_BYTES > 64_158_584 * 4
    assert matterport.MAX_CLASSES > 21_842
