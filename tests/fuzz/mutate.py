"""Damages files: at random bytes, and with knowledge of JSON, zip, PNG and pickle files.

Everything depends only on the random generator that is passed in, so that a mutant can be made
again from its number.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
import zlib
from typing import NamedTuple

EXTREMES = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63)
EXTREMES += (2**64 - 1, 10**9, -(2**31))
TEXTS = (
    "",
    "../../x",
    "/etc/passwd",
    "a" * 5000,
    "\x00",
    "\ud800",
    "NaN",
    "é" * 300,
    "-1",
    "1e400",
)
# Parts of pickles: opcodes, and programs that must never run.
TOKENS = (
    *(b"0", b"1", b"2", b"(", b"((((((((", b"t", b"l", b"d", b"]", b"}", b")", b"\x8f", b"\x90"),
    *(b"h\x00", b"h\x01", b"q\x00", b"\x94", b"R", b"b", b"\x81", b"s", b"u", b"a", b"e", b"Q"),
    *(b"\x85", b"\x86", b"\x87", b"\x91", b"\x93", b"K\xff", b"J\xff\xff\xff\xff", b"."),
    *(b"\x96" + b"\xff" * 7 + b"\x00", b"\x8b\xff\xff\xff\x7f", b"r\xff\xff\xff\xff", b"F1e400\n"),
    *(b"cos\nsystem\n", b"cos\nsystem\n(X\x05\x00\x00\x00touchtR", b"c_codecs\nencode\n"),
    *(b"ctorch\nSize\n", b"cbuiltins\neval\n", b"ctorch\nFloatStorage\n", b"X\x01\x00\x00\x00O"),
    b"(" * 3000,
    b"]" * 3000,
    b"2\x86" * 60,  # a tuple of the tuple before and itself, 60 times
)


class Mutant(NamedTuple):
    """A damaged file.

    Attributes:
        data: bytes. Its content.
        how: str. What was done.
        is_consistent: bool. Whether the checksums of the file were computed again, so that no
            reader can tell.
    """

    data: bytes
    how: str
    is_consistent: bool = False


def mutate(data: bytes, other: bytes, suffix: str, rng: random.Random) -> Mutant:
    """Returns a mutant of a file.

    Args:
        data: bytes. The file.
        other: bytes. Another file of the kind, or the same.
        suffix: str. The suffix of its name.
        rng: random.Random.
    """
    aware = _AWARE.get(suffix)
    if aware and rng.random() < 0.4:
        return aware(data, rng)
    names = []
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        change = rng.choice(_CHANGES)
        data = splice(data, other, rng) if change is splice else change(data, rng)
        names.append(change.__name__)
    return Mutant(data, "+".join(names))


# --- Bytes ---------------------------------------------------------------------------------------
def _span(data, rng, most=64):
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randint(1, most))


def flip_bits(data, rng):
    """Flips up to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert(data, rng):
    """Inserts random bytes."""
    start, _ = _span(data, rng)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 8, 100))) + data[start:]


def delete(data, rng):
    """Deletes a block."""
    start, stop = _span(data, rng)
    return data[:start] + data[stop:]


def duplicate(data, rng):
    """Repeats a block."""
    start, stop = _span(data, rng, 1000)
    return data[:stop] + data[start:stop] * rng.choice((1, 1, 3)) + data[stop:]


def append(data, rng):
    """Appends random bytes, or zeros."""
    count = rng.choice((1, 4, 100, 70_000))
    return data + (rng.randbytes(count) if rng.random() < 0.5 else bytes(count))


def truncate(data, rng):
    """Cuts the end off."""
    return data[: rng.randrange(len(data) + 1)]


def clear(data, rng):
    """Fills a block with zeros."""
    start, stop = _span(data, rng, 512)
    return data[:start] + bytes(stop - start) + data[stop:]


def swap(data, rng):
    """Exchanges two blocks."""
    size = rng.choice((1, 4, 16, 256))
    first, second = sorted(rng.randrange(max(len(data) - size, 1)) for _ in range(2))
    if second < first + size:
        return data
    middle = data[second : second + size] + data[first + size : second] + data[first : first + size]
    return data[:first] + middle + data[second + size :]


def extreme(data, rng):
    """Sets an integer of 1, 2, 4 or 8 bytes to an extreme value."""
    size = rng.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    start = rng.randrange(len(data) - size + 1)
    number = rng.choice(EXTREMES) % 2 ** (8 * size)
    return (
        data[:start] + number.to_bytes(size, rng.choice(("little", "big"))) + data[start + size :]
    )


def token(data, rng):
    """Inserts or writes over a part of a pickle."""
    start, _ = _span(data, rng)
    part = rng.choice(TOKENS)
    return data[:start] + part + data[start + rng.choice((0, len(part))) :]


def digits(data, rng):
    """Replaces a number in text by another one."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not places:
        return data
    start = rng.choice(places)
    stop = start
    while stop < len(data) and 48 <= data[stop] <= 57:
        stop += 1
    number = rng.choice((*map(str, EXTREMES), "9" * 4000, "1e999", "0.5"))
    return data[:start] + number.encode() + data[stop:]


def splice(data, other, rng):
    """Joins the start of one file to the end of another."""
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_CHANGES = (flip_bits, flip_bits, insert, delete, duplicate, append, truncate, clear, swap)
_CHANGES += (extreme, extreme, token, digits, splice)


# --- JSON ----------------------------------------------------------------------------------------
def change_json(data: bytes, rng: random.Random) -> Mutant:
    """Changes one place of a JSON file: drops it, repeats it, or puts something else there."""
    try:
        content = json.loads(data)
    except ValueError:
        return Mutant(flip_bits(data, rng), "flip_bits")
    places = list(_places(content))
    if not places:
        return Mutant(b"[]", "json:empty")
    where, key = rng.choice(places)
    how = rng.choice(("drop", "number", "text", "type", "nest", "repeat", "many"))
    if how == "drop":
        del where[key]
    elif how == "number":
        where[key] = rng.choice((*EXTREMES, 10**30, 1e308, float("nan"), float("inf"), 0.5, -0.0))
    elif how == "text":
        where[key] = rng.choice(TEXTS)
    elif how == "type":
        where[key] = rng.choice(
            (None, True, [], {}, [[]], "1", 3, [None], {"a": []}, [1, "b"], [[[1]]])
        )
    elif how == "nest":
        where[key] = "@"
    elif how == "repeat":
        where[key] = [where[key]] * rng.choice((2, 100))
    elif isinstance(where, list):
        where.extend([where[key]] * rng.choice((1, 2000)))
    else:
        where |= {f"{key}{i}": where[key] for i in range(rng.choice((1, 2000)))}
    text = json.dumps(content)
    if how == "nest":
        depth = rng.choice((50, 5000, 100_000))
        text = text.replace('"@"', "[" * depth + "]" * depth)
    if rng.random() < 0.1:  # the same key twice
        text = text.replace("{", '{"id": 1, "id": 2, ', 1)
    return Mutant(text.encode(), f"json:{how}", is_consistent=True)


def _places(value):
    """Yields every place of a JSON value: a container and the key in it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def change_safetensors(data: bytes, rng: random.Random) -> Mutant:
    """Changes the header of a safetensors file, and its length with it."""
    length = int.from_bytes(data[:8], "little")
    mutant = change_json(data[8 : 8 + length], rng)
    header = mutant.data
    return Mutant(struct.pack("<Q", len(header)) + header + data[8 + length :], mutant.how, True)


# --- Zip -----------------------------------------------------------------------------------------
def change_zip(data: bytes, rng: random.Random) -> Mutant:
    """Writes a zip file again with other members, whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = [(info.filename, file.read(info)) for info in file.infolist()]
    pickles = [i for i, (name, _) in enumerate(members) if name.endswith(".pkl")]
    how = rng.choice(("pickle", "pickle", "pickle", "drop", "twice", "rename", "content", "order"))
    at = rng.choice(pickles) if how == "pickle" else rng.randrange(len(members))
    name, content = members[at]
    if how in ("pickle", "content"):
        change = rng.choice((flip_bits, insert, delete, duplicate, extreme, token, truncate))
        members[at] = name, change(content, rng)
    elif how == "drop":
        del members[at]
    elif how == "twice":
        members.append((name, flip_bits(content, rng)))
    elif how == "rename":
        members[at] = rng.choice(("../../x", "a" * 3000, "archive/data.pkl", name + "0")), content
    else:
        rng.shuffle(members)
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.1 else zipfile.ZIP_STORED
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            if name in file.namelist():  # Python warns of a name that is there twice
                file.NameToInfo.pop(name)
            file.writestr(info, content, method)
    return Mutant(target.getvalue(), f"zip:{how}", is_consistent=True)


# --- PNG -----------------------------------------------------------------------------------------
def change_png(data: bytes, rng: random.Random) -> Mutant:
    """Changes a chunk of a PNG file, and its checksum with it."""
    chunks = []
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    at = rng.randrange(len(chunks))
    kind, content = chunks[at]
    how = rng.choice(("content", "inside", "size", "drop", "repeat"))
    if how == "inside" and kind == b"IDAT":
        content = zlib.compress(flip_bits(zlib.decompress(content), rng))
        chunks[at] = kind, content
    elif how == "size":
        head = chunks[0][1]
        place = rng.choice((0, 4, 8, 9, 12))
        count = 4 if place < 8 else 1
        value = (rng.choice(EXTREMES) % 2 ** (8 * count)).to_bytes(count, "big")
        chunks[0] = b"IHDR", head[:place] + value + head[place + count :]
    elif how == "drop":
        del chunks[at]
    elif how == "repeat":
        chunks[at:at] = [chunks[at]] * rng.choice((1, 100))
    else:
        chunks[at] = kind, rng.choice((flip_bits, insert, delete, truncate))(content, rng)
    parts = [data[:8]]
    for kind, content in chunks:
        checksum = zlib.crc32(kind + content)
        parts.append(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum))
    return Mutant(b"".join(parts), f"png:{how}", is_consistent=True)


_AWARE = {
    ".json": change_json,
    ".safetensors": change_safetensors,
    ".pth": change_zip,
    ".png": change_png,
}
