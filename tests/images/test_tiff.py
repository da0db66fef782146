"""TIFF of every kind is read as tifffile reads it, or refused in a sentence; nothing in between."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from mrcnn.images import files as image_files
from mrcnn.images.tiff import pixels as tiff_pixels
from mrcnn.images.tiff import tags as tiff_tags

DTYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")


def values(dtype, shape, seed=0):
    """Returns an array that uses the whole range of a dtype."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) > 0.5
    if np.dtype(dtype).kind == "f":
        return rng.normal(100, 50, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def shown(pixels, inverted=False):
    """What read_image is to return for stored values [H, W] or [H, W, C]."""
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if inverted and pixels.dtype.kind in "ui":
        pixels = np.invert(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return np.repeat(pixels[..., :1], 3, 2) if pixels.shape[2] < 3 else pixels[..., :3]


def check(path, pixels, inverted=False):
    """Compares what is read with what was written, and what tifffile reads."""
    np.testing.assert_array_equal(
        np.squeeze(tifffile.imread(path)), np.squeeze(channels_last(path))
    )
    image = image_files.read_image(path)
    expected = shown(pixels, inverted)
    assert image.dtype == expected.dtype and image.dtype.isnative and image.flags.c_contiguous
    np.testing.assert_array_equal(image, expected)
    if pixels.ndim == 2:
        label = image_files.read_label_image(path)
        assert label.dtype == pixels.dtype
        np.testing.assert_array_equal(label, pixels)


def channels_last(path):
    """What `tiff` reads, in the axes of tifffile."""
    data = path.read_bytes()
    page = tiff_tags.read_page(data)
    pixels = tiff_pixels.read_pixels(data, page)
    return np.moveaxis(pixels, -1, 0) if page.planes > 1 else pixels


def write(path, pixels, *, planar=False, **options):
    if pixels.ndim == 2:
        options.setdefault("photometric", "minisblack")
    elif planar:
        pixels, options["planarconfig"] = np.moveaxis(pixels, -1, 0), "separate"
        options.setdefault("photometric", "rgb" if len(pixels) == 3 else "minisblack")
    else:
        options["planarconfig"] = "contig"
        options.setdefault("photometric", "rgb" if pixels.shape[-1] == 3 else "minisblack")
    tifffile.imwrite(path, pixels, metadata=None, **options)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_and_number_of_channels(tmp_path, dtype, channels, planar, byteorder):
    shape = (37, 53) if channels == 1 else (37, 53, channels)
    pixels = values(dtype, shape)
    write(tmp_path / "a.tif", pixels, planar=planar, byteorder=byteorder)
    check(tmp_path / "a.tif", pixels)


LAYOUTS = {
    "strip": {},
    "rows": {"rowsperstrip": 1},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (16, 32)},
    "one tile": {"tile": (64, 64)},
}


@pytest.mark.parametrize("bigtiff", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_strips_and_tiles(tmp_path, dtype, planar, layout, bigtiff):
    pixels = values(dtype, (37, 53, 3))
    write(tmp_path / "a.tif", pixels, planar=planar, bigtiff=bigtiff, **LAYOUTS[layout])
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_bits(tmp_path, compression, layout, byteorder):
    pixels = values("bool", (37, 53))
    options = {"compression": compression, "byteorder": byteorder, **LAYOUTS[layout]}
    write(tmp_path / "a.tif", pixels, **options)
    check(tmp_path / "a.tif", pixels)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("predictor", [False, True], ids=["plain", "predictor"])
@pytest.mark.parametrize("compression", ["deflate", "lzma"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_compression(tmp_path, dtype, compression, predictor, layout):
    pixels = values(dtype, (37, 53, 3))
    if predictor and np.dtype(dtype).kind == "f":
        write_by_hand(tmp_path / "a.tif", pixels, predictor=3)
        image = image_files.read_image(tmp_path / "a.tif")
        np.testing.assert_array_equal(image, pixels)
        return
    options = {"compression": compression, "predictor": predictor, **LAYOUTS[layout]}
    write(tmp_path / "a.tif", pixels, **options)
    check(tmp_path / "a.tif", pixels)


def tiff_bytes(segments, tags, order="<"):
    """Returns a TIFF file of strips; tags are {code: values}, written as LONG."""
    count = len(segments)
    sizes = [len(segment) for segment in segments]
    body_at = 8
    offsets = [body_at + sum(sizes[:n]) for n in range(count)]
    body = b"".join(segments)
    lists_at = body_at + len(body)
    tags = {273: offsets, 279: sizes, 277: [1], 278: [2**31], **tags}
    lists, entries = b"", []
    for code, numbers in sorted(tags.items()):
        if len(numbers) == 1:
            value = struct.pack(f"{order}I", numbers[0])
        else:
            value = struct.pack(f"{order}I", lists_at + len(lists))
            lists += struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries.append(struct.pack(f"{order}HHI", code, 4, len(numbers)) + value)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", lists_at + len(lists))
    ifd = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return start + body + lists + ifd


def write_by_hand(path, pixels, predictor=1, order="<"):
    """Writes one deflated strip with a floating-point predictor, by the text of Adobe's note."""
    rows, width, samples = pixels.shape
    size = pixels.dtype.itemsize
    raw = pixels.astype(f">f{size}").view(np.uint8).reshape(rows, width * samples, size)
    raw = raw.transpose(0, 2, 1).reshape(rows, width * size, samples)  # high bytes first
    raw = np.diff(raw, axis=1, prepend=np.zeros((rows, 1, samples), np.uint8))
    strip = zlib.compress(raw.tobytes())
    tags = {256: [width], 257: [rows], 258: [8 * size] * samples, 259: [8], 262: [2]}
    tags |= {277: [samples], 317: [predictor], 339: [3] * samples}
    path.write_bytes(tiff_bytes([strip], tags, order))


@pytest.mark.parametrize("codec", ["tiff_lzw", "packbits", "zstd", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_compression_of_other_programs(tmp_path, mode, codec):
    shape = (300, 211, 3) if mode == "RGB" else (300, 211)
    pixels = values("u2" if mode == "I;16" else "u1", shape)
    pixels[40:80] = 7  # something to compress
    try:
        Image.fromarray(pixels).save(tmp_path / "a.tif", compression=codec)
    except OSError:
        assert codec == "zstd"
        pytest.skip("this Pillow has no Zstandard")
    assert tiff_tags.read_page((tmp_path / "a.tif").read_bytes()).compression in (
        5,
        32773,
        50000,
        8,
    )
    image = image_files.read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, shown(pixels))


@pytest.mark.parametrize("planar", [False, True], ids=["contiguous", "planar"])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("layout", ["strip", "rows", "strips", "tiles"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_lzw_of_every_layout(tmp_path, dtype, layout, predictor, planar):
    """tifffile writes no LZW by itself, so its file is compressed here, segment by segment."""
    pixels = values(dtype, (37, 53, 3))
    if predictor == 2 and dtype == "f4":
        pixels = np.round(pixels)
    write(tmp_path / "raw.tif", pixels, planar=planar, **LAYOUTS[layout])
    data = (tmp_path / "raw.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "raw.tif") as file:
        page = file.pages[0]
        codes = (256, 257, 258, 262, 277, 278, 284, 322, 323, 339)
        tags = {code: listed(page.tags[code].value) for code in codes if code in page.tags}
        chunks = [
            data[start : start + size]
            for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        shapes = [shape for _, _, shape in page.segments()]
    chunks = [
        lzw(differences(chunk, dtype, shape) if predictor == 2 else chunk)
        for chunk, shape in zip(chunks, shapes, strict=True)
    ]
    tags |= {259: [5], 317: [predictor]}
    file = tiff_bytes(chunks, tags)
    if 322 in tags:
        file = tiff_bytes(
            chunks,
            {
                **tags,
                324: [8 + sum(map(len, chunks[:n])) for n in range(len(chunks))],
                325: list(map(len, chunks)),
            },
        )
    (tmp_path / "a.tif").write_bytes(file)
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.tif"), pixels)


def listed(value):
    return list(value) if isinstance(value, tuple) else [int(value)]


def differences(chunk, dtype, shape):
    whole = np.frombuffer(chunk, f"u{np.dtype(dtype).itemsize}").reshape(shape[1:])
    return np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1])).astype(whole.dtype).tobytes()


def lzw(data):
    """The simplest LZW that is valid: every byte is a code of 9 bits, cleared every 200 bytes."""
    codes = []
    for start in range(0, len(data), 200):
        codes += [256, *data[start : start + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


# --- Photometric interpretation -------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["bool", "u1", "u2", "u4", "i2", "f4"])
def test_inverted_images_are_shown_as_they_look_but_labels_are_as_stored(tmp_path, dtype):
    pixels = values(dtype, (21, 34))
    write(tmp_path / "a.tif", pixels, photometric="miniswhite")
    expected = ~pixels if dtype == "bool" else pixels
    check_label = image_files.read_label_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(check_label, pixels)
    image = image_files.read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image, shown(expected, inverted=dtype != "bool"))


def packed(pixels, bits):
    """Returns the bytes of big-endian samples of any number of bits; each row starts at a byte."""
    size = -(-pixels.shape[1] * bits // 8)
    rows = ["".join(f"{value:0{bits}b}" for value in row).ljust(8 * size, "0") for row in pixels]
    return b"".join(int(row, 2).to_bytes(size, "big") for row in rows)


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_palette(tmp_path, bits):
    pixels = np.random.default_rng(0).integers(0, 2**bits, (21, 34))
    colors = np.random.default_rng(1).integers(0, 256, (2**bits, 3), np.uint8)
    colors[: 2**bits // 2] = colors[0]  # equal colors are different labels
    tags = {256: [34], 257: [21], 258: [bits], 259: [1], 262: [3]}
    tags[320] = (colors.T.astype(int) * 257).ravel().tolist()
    (tmp_path / "a.tif").write_bytes(tiff_bytes([packed(pixels, bits)], tags, ">"))
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.tif"), colors[pixels])
    label = image_files.read_label_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(label, pixels)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 10, 12, 14])
def test_packed_bits(tmp_path, bits, inverted, order):
    pixels = np.random.default_rng(0).integers(0, 2**bits, (11, 13))
    pixels[0, :2] = 0, 2**bits - 1
    tags = {256: [13], 257: [11], 258: [bits], 259: [1], 262: [0 if inverted else 1]}
    (tmp_path / "a.tif").write_bytes(tiff_bytes([packed(pixels, bits)], tags, order))
    np.testing.assert_array_equal(image_files.read_label_image(tmp_path / "a.tif"), pixels)
    image = image_files.read_image(tmp_path / "a.tif")[..., 0]
    top = np.iinfo(image.dtype).max
    assert top == (255 if bits < 8 else 65535)
    expected = np.rint((2**bits - 1 - pixels if inverted else pixels) * (top / (2**bits - 1)))
    np.testing.assert_array_equal(image, expected)


def test_bits_in_reverse_order(tmp_path):
    pixels = values("u2", (5, 7))
    raw = np.frombuffer(pixels.astype("<u2").tobytes(), np.uint8)
    raw = np.packbits(np.unpackbits(raw).reshape(-1, 8)[:, ::-1]).tobytes()
    tags = {256: [7], 257: [5], 258: [16], 259: [1], 262: [1], 266: [2]}
    (tmp_path / "a.tif").write_bytes(tiff_bytes([raw], tags))
    np.testing.assert_array_equal(image_files.read_label_image(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("codec", ["jpeg", "group3", "group4", "tiff_ccitt"])
def test_photographic_and_fax_compression(tmp_path, codec):
    pixels = np.zeros((64, 80, 3) if codec == "jpeg" else (64, 80), np.uint8)
    pixels[20:40, 30:60] = 255
    if codec == "jpeg":
        Image.fromarray(pixels).save(tmp_path / "a.tif", compression=codec, quality=95)
        image = image_files.read_image(tmp_path / "a.tif")
        assert image.shape == (64, 80, 3) and np.abs(image.astype(int) - pixels).mean() < 3
        with pytest.raises(ValueError, match=r"a\.tif.*losses"):
            image_files.read_label_image(tmp_path / "a.tif")
        return
    Image.fromarray(pixels > 0).save(tmp_path / "a.tif", compression=codec)
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.tif"), shown(pixels))
    label = image_files.read_label_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(label > 0, pixels > 0)


def test_cmyk_becomes_rgb(tmp_path):
    pixels = np.zeros((8, 9, 4), np.uint8)
    pixels[..., 0] = 255  # cyan
    Image.fromarray(pixels, "CMYK").save(tmp_path / "a.tif")
    assert (image_files.read_image(tmp_path / "a.tif") == [0, 255, 255]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path, orientation):
    pixels = values("u2", (5, 7))
    tags = {256: [7], 257: [5], 258: [16], 259: [1], 262: [1], 274: [orientation]}
    (tmp_path / "a.tif").write_bytes(tiff_bytes([pixels.astype("<u2").tobytes()], tags))
    turned = np.array(turn_with_pillow(pixels, orientation))
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.tif"), shown(turned))
    np.testing.assert_array_equal(image_files.read_label_image(tmp_path / "a.tif"), turned)
    stored = image_files.read_image(tmp_path / "a.tif", upright=False)
    np.testing.assert_array_equal(stored, shown(pixels))


def turn_with_pillow(pixels, orientation):
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(image)


# --- Pages ----------------------------------------------------------------------------------------
def test_several_pages_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", values("u2", (5, 20, 30)), photometric="minisblack")
    with pytest.raises(ValueError, match=r"a\.tif: .*several images.*one image per file"):
        image_files.read_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="several images"):
        image_files.read_label_image(tmp_path / "a.tif")


def test_a_smaller_copy_is_no_page(tmp_path):
    pixels = values("u2", (20, 30))
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels[::2, ::2].copy(), photometric="minisblack", subfiletype=1)
        file.write(pixels, photometric="minisblack")
        file.write(pixels[::4, ::4].copy(), photometric="minisblack", subfiletype=1)
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.tif"), shown(pixels))


def test_pages_that_form_a_ring_end(tmp_path):
    data = bytearray(tiff_bytes([bytes(35)], {256: [7], 257: [5], 258: [8], 259: [1], 262: [1]}))
    data[-4:] = data[4:8]  # the next page is this one
    (tmp_path / "a.tif").write_bytes(bytes(data))
    assert image_files.read_image(tmp_path / "a.tif").shape == (5, 7, 3)


def test_five_channels_are_no_color_image(tmp_path):
    write(tmp_path / "a.tif", values("u2", (9, 8, 5)))
    with pytest.raises(ValueError, match=r"a\.tif: it has 5 channels.*load_image"):
        image_files.read_image(tmp_path / "a.tif")


# --- What is refused ------------------------------------------------------------------------------
PLAIN = {256: [7], 257: [5], 258: [8], 259: [1], 262: [1]}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({256: [0]}, "0 pixels|5x0"),
        ({256: [2**31], 257: [2**31]}, "MiB"),
        ({256: [8]}, "fewer pixels"),
        ({273: [0]}, "behind the end"),
        ({273: [2**32 - 1]}, "behind the end"),
        ({258: [33]}, "33 bits"),
        ({258: [0]}, "0 bits"),
        ({277: [0]}, "volumes"),
        ({277: [60000]}, "fewer pixels"),
        ({278: [0]}, "no pixels"),
        ({339: [6], 258: [64]}, "format 6"),
        ({259: [12345]}, "compression 12345"),
        ({259: [34712]}, "compression 34712"),
        ({262: [32803]}, "32803"),
        ({317: [3]}, "predictor 3"),
        ({322: [2**20], 323: [2**20], 324: [8], 325: [35]}, "more than are read"),
        ({322: [0], 323: [16], 324: [8], 325: [35]}, "no pixels"),
        ({262: [3]}, "palette"),
        ({32997: [5]}, "volumes"),
    ],
)
def test_tags_that_make_no_sense_are_refused(tmp_path, changes, words):
    file = tiff_bytes([bytes(35)], {**PLAIN, **changes})
    (tmp_path / "a.tif").write_bytes(file)
    for read in (image_files.read_image, image_files.read_label_image):
        with pytest.raises(ValueError, match=rf"a\.tif.*({words}|losses)"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["none", "deflate", "lzma", "lzw", "packbits", "group4"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path, compression, share, capfd):
    if compression in ("none", "deflate", "lzma"):
        codec = None if compression == "none" else compression
        pixels = values("u2", (64, 64))
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression=codec, photometric="minisblack")
    else:
        codec = {"lzw": "tiff_lzw"}.get(compression, compression)
        pixels = values("bool" if compression == "group4" else "u1", (64, 64))
        Image.fromarray(pixels).save(tmp_path / "a.tif", compression=codec)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=r"a\.tif"):
        image_files.read_image(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif"):
        image_files.check_image_file(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")
