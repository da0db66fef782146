"""Reads the members of a zip file of torch.save, and checks all that the format can tell.

Two readers of a zip file may see different members, because names, sizes and positions stand in
it twice. Here both have to agree. The checksum of every member is compared, members must not
overlap, and nothing is decompressed: torch.save stores its members as they are.
"""

from __future__ import annotations

import struct
import zlib

from mrcnn.errors import shorten
from mrcnn.weights.files.mapping import MappedFile, release

# A checkpoint has one member per tensor and a few more. A member takes about 500 bytes of memory.
MAX_MEMBERS = 100_000
_LOCAL = struct.Struct("<4s5H3I2H")  # the header before the data of a member
_CENTRAL = struct.Struct("<4s6H3I5H2I")  # an entry of the directory at the end of the file
_END = struct.Struct("<4s4H2IH")  # the last record of the file
_END_64 = struct.Struct("<4sQ2H2I4Q")  # the same for more than 4 GB
_LOCATOR_64 = struct.Struct("<4sIQI")  # says where that one is
_ENCRYPTED, _SIZES_FOLLOW = 1, 8  # bits of the flags
_MANY = 0xFFFFFFFF  # the number stands in the extra field


def starts_zip(file: MappedFile) -> bool:
    """Returns whether a file starts as a zip file with at least one member.

    Args:
        file: MappedFile.
    """
    return file.memory[:4] == b"PK\3\4"


def members(file: MappedFile) -> dict[str, tuple[int, int]]:
    """Returns start and size in bytes of each member by name.

    Args:
        file: MappedFile. The zip file.

    Raises:
        ValueError: the file is damaged, or contains what torch.save never writes.
    """
    count, position, end = _directory(file)
    if count > MAX_MEMBERS:
        raise ValueError(f"it has {count} members, the limit is {MAX_MEMBERS}")
    found: dict[str, tuple[int, int]] = {}
    checksums = []
    spans = []  # header and data of each member
    for _ in range(count):
        fields = _CENTRAL.unpack(file.read(position, _CENTRAL.size))
        signature, _, _, flags, method, _, _, checksum, packed, size = fields[:10]
        name_length, extra_length, comment_length, _, _, _, header = fields[10:]
        if signature != b"PK\1\2":
            raise ValueError(f"the entry at byte {position} of its directory is damaged")
        position += _CENTRAL.size
        raw_name = file.read(position, name_length)
        extra = file.read(position + name_length, extra_length)
        position += name_length + extra_length + comment_length
        name = raw_name.decode("utf-8")
        size, packed, header = _wide_numbers(extra, [size, packed, header])
        if name in found:
            raise ValueError(f"the member {shorten(name)} is there twice")
        if method or flags & _ENCRYPTED or packed != size:
            raise ValueError(f"{shorten(name)} is compressed, which torch.save never does")
        start = _start(file, header, (flags, method, checksum, size, raw_name))
        found[name] = (start, size)
        checksums.append(checksum)
        spans.append((header, start + size))
    if position != end:
        raise ValueError(f"its directory ends at byte {position}, expected {end}")
    # Only members that lie apart are read: others can have any sum of sizes.
    _check_apart(spans, end)
    for (name, (start, size)), checksum in zip(found.items(), checksums, strict=True):
        if _checksum(file, start, size) != checksum:
            raise ValueError(f"the checksum of {shorten(name)} is wrong")
    return found


def _checksum(file, start, size):
    """Returns the checksum of some bytes, and frees the memory that reading them took."""
    with memoryview(file.memory)[start : start + size] as data:
        found = zlib.crc32(data)
    release(file.bytes[start : start + size])
    return found


def _directory(file):
    """Returns the number of members, and where their directory starts and ends."""
    end = len(file) - _END.size
    record = _END.unpack(file.read(end, _END.size))
    signature, disk, first_disk, here, count, size, start, comment = record
    if signature != b"PK\5\6" or disk or first_disk or here != count or comment:
        raise ValueError("it does not end with the directory of a zip file")
    locator = end - _LOCATOR_64.size
    if locator >= 0 and file.read(locator, 4) == b"PK\6\7":
        end = _LOCATOR_64.unpack(file.read(locator, _LOCATOR_64.size))[2]
        wide = _END_64.unpack(file.read(end, _END_64.size))
        if wide[0] != b"PK\6\6" or end + _END_64.size != locator or wide[6] != wide[7]:
            raise ValueError("its directory of more than 4 GB is damaged")
        narrow, most = (count, size, start), (0xFFFF, _MANY, _MANY)
        if any(n not in pair for n, *pair in zip(narrow, wide[7:], most, strict=True)):
            raise ValueError("its two directories differ")
        count, size, start = wide[7:]
    if start + size != end:
        raise ValueError(f"its directory ends at byte {start + size}, expected {end}")
    return count, start, end


def _wide_numbers(extra, numbers):
    """Replaces each number that is too large for its field by that of the extra field."""
    position = 0
    while _MANY in numbers and position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:  # zip64
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return [next(wide, number) if number == _MANY else number for number in numbers]
        position += 4 + length
    return numbers


def _start(file, header, expected):
    """Returns where the data of a member starts, after the header that must say the same."""
    fields = _LOCAL.unpack(file.read(header, _LOCAL.size))
    signature, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = fields
    name = file.read(header + _LOCAL.size, name_length)
    extra = file.read(header + _LOCAL.size + name_length, extra_length)
    if flags & _SIZES_FOLLOW and (checksum, packed, size) == (0, 0, 0):
        checksum, packed, size = expected[2], expected[3], expected[3]  # they follow the data
    size, packed = _wide_numbers(extra, [size, packed])
    if signature != b"PK\3\4" or (flags, method, checksum, size, name) != expected:
        raise ValueError(f"the two headers of {shorten(expected[4])} differ")
    return header + _LOCAL.size + name_length + extra_length


def _check_apart(spans, end):
    """Raises an error if members overlap each other or the directory."""
    reached = 0
    for start, stop in sorted(spans):
        if stop > end:
            raise ValueError(f"the end of its member at byte {start} is missing")
        if start < reached:
            raise ValueError(f"its members overlap at byte {start}")
        reached = stop
