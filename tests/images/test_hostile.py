"""Small files that claim much: each is refused in a sentence, at once, in little memory.

All are read by one child process, which reports what each cost.
"""

import io
import json
import lzma
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, features
from pngs import chunk, ihdr, png

from mrcnn.images import files

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of /proc")
SECONDS = 10.0  # of one file
MIB = 150  # of one file, above what the process held before

CHILD = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from mrcnn.images import files

def peak():
    status = open("/proc/self/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

def current():
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts over
    return peak()

result = {}
for path in sys.argv[1:]:
    for name in ("read_image", "read_label_image", "read_size", "check_image_file"):
        before, start = current(), time.monotonic()
        try:
            getattr(files, name)(path)
            text = None
        except (ValueError, OSError) as error:
            text = str(error)
        cost = time.monotonic() - start, peak() - before
        result.setdefault(path, {})[name] = [text, *cost]
print(json.dumps(result))
"""


# --- PNG ------------------------------------------------------------------------------------------
def zeros(size):
    """Returns deflated zeros, a thousandth of their size."""
    packer = zlib.compressobj(1)
    parts = [packer.compress(bytes(2**20)) for _ in range(size // 2**20)]
    return b"".join([*parts, packer.compress(bytes(size % 2**20)), packer.flush()])


SMALL = chunk(b"IDAT", zlib.compress(bytes(4 * 13)))  # the pixels of 4x4


def png_files():
    bomb = zeros(64 * 2**20)
    wide = zeros(31000 * (31000 // 8 + 1))
    text = chunk(b"zTXt", b"a\0\0" + bomb)
    profile = chunk(b"iCCP", b"a\0\0" + bomb)
    words = chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)
    animation = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 30000, 30000, 0, 0, 1, 1, 0, 0))
    tail = chunk(b"fdAT", struct.pack(">I", 1) + bomb)
    return {
        "bits": (png(ihdr(31000, 31000, 1, 0), chunk(b"IDAT", wide)), "MiB"),
        "16-bit": (png(ihdr(20000, 20000, 16, 6), SMALL), "Cut the image into tiles"),
        "huge": (png(ihdr(2**31 - 1, 2**31 - 1), SMALL), "MiB"),
        "no-pixels": (png(ihdr(0, 4), SMALL), "4x0"),
        "no-header": (png(SMALL), "header is missing"),
        "short-header": (png(chunk(b"IHDR", b"\0\0\0\4"), SMALL), ""),
        "two-headers": (png(ihdr(4, 4), ihdr(9000, 9000), SMALL), None),
        "chunk-length": (png(ihdr(4, 4), b"\xff\xff\xff\xffIDAT"), "too early"),
        "no-palette": (png(ihdr(4, 4, 8, 3), SMALL), "palette is missing"),
        "texts": (png(ihdr(4, 4), *[text] * 20, SMALL), None),
        "words": (png(ihdr(4, 4), *[words] * 20, SMALL), None),
        "profile": (png(ihdr(4, 4), profile, SMALL), None),
        "animation": (png(ihdr(4, 4), animation, frame, SMALL, frame, tail), None),
        "too-many-pixels": (png(ihdr(4, 4), chunk(b"IDAT", bomb)), None),
        "chunks": (png(ihdr(4, 4), chunk(b"aaAa", b"") * 300000, SMALL), "too early"),
    }


# --- JPEG -----------------------------------------------------------------------------------------
def jpeg_files():
    plain = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    progressive = cv2.imencode(
        ".jpg", np.zeros((16, 16, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    )[1].tobytes()
    frame = plain.index(b"\xff\xc0")
    many = progressive.index(b"\xff\xc2")

    def resized(data, at, height, width):
        return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]

    scan = progressive.rindex(b"\xff\xda")
    scans = progressive[:scan] + progressive[scan:-2] * 1000 + b"\xff\xd9"
    return {
        "size": (resized(plain, frame, 65500, 65500), "MiB"),
        "progressive-size": (resized(progressive, many, 11000, 11000), "MiB"),
        "no-size": (resized(plain, frame, 0, 16), "0x16"),
        "scans": (resized(scans, many, 8000, 8000), "scans"),
        "segments": (b"\xff\xd8" + b"\xff\xe3\0\2" * 10**6 + plain[2:], "incomplete"),
        "fill": (b"\xff\xd8" + b"\xff" * 10**7, "incomplete"),
        "lengths": (b"\xff\xd8" + b"\xff\xe0\0\0" * 1000, "incomplete"),
    }


# --- TIFF -----------------------------------------------------------------------------------------
def tiff(strip, *, order="<", repeat=1, **tags):
    """Returns a TIFF file with one directory at byte 8; all tags are LONG."""
    names = {"width": 256, "height": 257, "bits": 258, "codec": 259, "photo": 262, "at": 273}
    names |= {"samples": 277, "rows": 278, "size": 279, "planar": 284, "tile_w": 322, "tile_h": 323}
    names |= {"tiles": 324, "tile_sizes": 325, "predictor": 317}
    tags = {"width": 7, "height": 5, "bits": 8, "codec": 1, "photo": 1, **tags}
    start = 8 + 2 + 12 * (len(tags) + 2 * ("at" not in tags)) * repeat + 4
    if "at" not in tags:
        tags |= {"at": start, "size": len(strip)}
    entries = b""
    for name, value in sorted(tags.items(), key=lambda item: names[item[0]]):
        count, value = value if isinstance(value, tuple) else (1, value)
        entries += struct.pack(f"{order}HHII", names[name], 4, count, value)
    head = struct.pack(f"{order}H", len(entries) // 12 * repeat) + entries * repeat
    return b"II*\0" + struct.pack(f"{order}I", 8) + head + bytes(4) + strip


def tiff_files():
    bomb = zeros(128 * 2**20)
    packed = lzma.compress(bytes(64 * 2**20), preset=1)
    pages = b"".join(struct.pack("<HI", 0, 8 + 6 * (n + 1)) for n in range(10**5))
    offsets = np.full(2**20, 200, "<u4").tobytes()
    lists = {"at": (2**17, 202), "size": (2**17, 202)}
    return {
        "size": (tiff(bytes(35), width=2**31, height=2**31), "MiB"),
        "strip": (tiff(bomb, codec=8), None),
        "lzma": (tiff(packed, codec=34925), None),
        "lzma-short": (tiff(packed, codec=34925, width=9000, height=9000), "too early"),
        "narrow": (tiff(zeros(10**7), codec=8, bits=1, width=1, height=10**7), None),
        "many-rows": (tiff(offsets, width=1, height=2**17, rows=1, **lists), None),
        "short": (tiff(zeros(2**20), codec=8, width=6000, height=6000), "too early"),
        "tile": (tiff(bomb, codec=8, tile_w=2**16, tile_h=2**16, tiles=8, tile_sizes=99), "tiles"),
        "rows": (tiff(offsets, width=1, height=2**20, rows=1, at=(2**20, 110), size=1), "strips"),
        "count": (tiff(bytes(35), at=(2**32 - 1, 8), size=35), "behind the end"),
        "pages": (b"II*\0\x08\0\0\0" + pages, ""),
        "entries": (tiff(bytes(35), repeat=8000), None),
        "lists": (tiff(bytes(2**22), at=(2**20, 8), size=(2**20, 8), repeat=5000), None),
        "lzw": (tiff(bytes(10**6), codec=5, width=8000, height=8000), ""),
        "palette": (tiff(bytes(35), photo=3, bits=32), "palette"),
        "many-samples": (tiff(bytes(35), samples=2**31), "MiB"),
        "jpeg": (tiff(bytes(1000), codec=7, width=7000, height=7000), ""),
    }


# --- Other formats --------------------------------------------------------------------------------
def encoded(suffix, **options):
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, suffix, **options)
    return bytearray(file.getvalue())


def patched(data, old, new):
    assert old in data
    return bytes(data.replace(old, new))


def other_files():
    gif = encoded("GIF")
    bmp = encoded("BMP")
    bmp[18:26] = struct.pack("<ii", 60000, 60000)
    upside_down = bytearray(bmp)
    upside_down[22:26] = struct.pack("<i", -(2**31))
    webp = io.BytesIO()
    Image.new("RGB", (12000, 6000)).save(webp, "WEBP", lossless=True, method=0, quality=0)
    found = {
        "gif-screen": (bytes(gif[:6]) + b"\xff\xff\xff\xff" + bytes(gif[10:]), "MiB"),
        "bmp-size": (bytes(bmp), "MiB"),
        "bmp-height": (bytes(upside_down), ""),
        "webp-size": (webp.getvalue(), "MiB"),
        "pnm-bits": (b"P4\n99999 99999\n" + bytes(100), "MiB"),
        "pnm-text": (b"P1\n9000 9000\n" + b"1 " * 100, "too early"),
        "pnm-comment": (b"P4\n#\r30000 30000\n8 8\n" + bytes(100), "MiB"),
        "pnm-digits": (b"P5\n" + b"9" * 100 + b" 1\n255\n", "incomplete"),
        "pnm-comments": (b"P5\n" + b"#\n" * 10**6 + b"4 4 255\n" + bytes(16), "incomplete"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an"),
        "text": (b"hello", "not an image"),
        "nothing": (b"", "empty"),
        "zeros": (bytes(10**6), "not an image"),
    }
    if features.check("jpg_2000"):
        jp2 = encoded("JPEG2000")
        size = struct.pack(">II", 16, 16)
        found["jp2-size"] = (patched(jp2, size, struct.pack(">II", 60000, 60000)), "")
    if features.check("avif"):
        avif = encoded("AVIF")
        size = b"ispe\0\0\0\0" + struct.pack(">II", 16, 16)
        huge = b"ispe\0\0\0\0" + struct.pack(">II", 30000, 30000)
        found["avif-size"] = (patched(avif, size, huge), "")
    return found


FILES = {
    f"{kind}-{name}": content
    for kind, make in (
        ("png", png_files),
        ("jpeg", jpeg_files),
        ("tiff", tiff_files),
        ("other", other_files),
    )
    for name, content in make().items()
}


@pytest.fixture(scope="session")  # the tests of a module are shared out, then it would run again
def cost(tmp_path_factory):
    """Reads all files in a child process: {name: {function: [error or None, seconds, MiB]}}."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, (data, _) in FILES.items():
        (folder / name).write_bytes(data)
    paths = [str(folder / name) for name in FILES]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *paths], capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return {path.rsplit("/", 1)[1]: found for path, found in json.loads(child.stdout).items()}


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_costs_little(name, cost):
    words = FILES[name][1]
    for function, (error, seconds, mib) in cost[name].items():
        assert seconds < SECONDS and mib < MIB, (function, seconds, mib)
        if error is not None:
            assert name in error and len(error) < 1500, error
    if words is not None:  # else the file may be read as well
        assert cost[name]["read_image"][0] is not None and words in cost[name]["read_image"][0]
        assert cost[name]["read_label_image"][0] is not None


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    with (tmp_path / "stack.tif").open("wb") as file:
        file.write(b"II*\0")
        file.truncate(files.MAX_FILE_BYTES + 1)  # a hole: nothing is on the disk
    with pytest.raises(ValueError, match=r"stack\.tif: the file has .* MiB"):
        files.read_image(tmp_path / "stack.tif")
