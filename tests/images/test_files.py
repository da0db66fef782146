import io
import logging
import os
import subprocess
import sys
import unicodedata
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, features
from pngs import chunk, ihdr, png

import mrcnn
from mrcnn.images import files as image_files
from mrcnn.images import headers
from mrcnn.images.tiff import tags


def random_image(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def exif_jpeg(image, orientation):
    """Returns JPEG bytes with an EXIF orientation, built without a library."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    tiff = b"MM\x00\x2a\x00\x00\x00\x08\x00\x01" + entry + b"\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    return data[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_read_image_rgb(tmp_path, suffix):
    path = tmp_path / f"grün 圖{suffix}"
    image = random_image(7, 9)
    path.write_bytes(cv2.imencode(suffix, image[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(image_files.read_image(path), image)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_read_image_16_bit_gray(tmp_path, suffix):
    gray = (np.arange(63).reshape(7, 9) * 1000).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), gray)
    image = image_files.read_image(path)
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, np.repeat(gray[..., None], 3, 2))
    np.testing.assert_array_equal(image_files.read_label_image(path), gray)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_read_image_drops_alpha(tmp_path, dtype):
    rgba = random_image(7, 9, 4).astype(dtype)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), rgba[..., [2, 1, 0, 3]])
    image = image_files.read_image(path)
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, rgba[..., :3])


def test_read_image_palette(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    indexed = pillow.fromarray((np.arange(20, dtype=np.uint8) % 3).reshape(4, 5), mode="P")
    indexed.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    for suffix in ("png", "gif"):
        indexed.save(tmp_path / f"a.{suffix}")
        image = image_files.read_image(tmp_path / f"a.{suffix}")
        assert image[0, :3].tolist() == [[10, 20, 30], [200, 0, 0], [0, 0, 250]]


def test_read_image_applies_exif_rotation(tmp_path):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:, :16] = (250, 0, 0)
    path = tmp_path / "a.jpg"
    path.write_bytes(exif_jpeg(image, 6))  # to be rotated clockwise by 90 degrees
    upright = image_files.read_image(path)
    assert upright.shape == (32, 16, 3)
    assert upright[4, 8, 0] > 200 and upright[28, 8, 0] < 50  # the left side is now on top


def test_read_image_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.png"):
        image_files.read_image(tmp_path / "nothing.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.97])
def test_read_image_truncated(tmp_path, suffix, share):
    data = cv2.imencode(suffix, random_image(64, 64))[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match=f"cut{suffix}"):
        image_files.read_image(path)


def test_read_image_truncated_behind_a_thumbnail(tmp_path):
    data = exif_jpeg(random_image(64, 64), 1)
    thumbnail = b"\xff\xd8 small image \xff\xd9"
    segment = b"\xff\xe2" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path = tmp_path / "cut.jpg"
    path.write_bytes((data[:2] + segment + data[2:])[: len(data) // 2])
    for read in (image_files.read_image, image_files.check_image_file):
        with pytest.raises(ValueError, match="too early"):
            read(path)


def test_read_image_damaged_png_and_text(tmp_path):
    data = bytearray(cv2.imencode(".png", random_image(64, 64))[1].tobytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="checksum"):
        image_files.read_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"b\.png: not an image.*Expected PNG"):
        image_files.read_image(tmp_path / "b.png")


def test_read_label_image_refuses_colors(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), random_image(4, 4))
    with pytest.raises(ValueError, match="colors"):
        image_files.read_label_image(tmp_path / "a.png")


# --- Sound files ----------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("behind", [b"", b"\0" * 10, b"\xff\xd8\xff video" * 20_000])
def test_bytes_behind_the_end_are_no_damage(tmp_path, suffix, behind):
    """A motion photo has its video there."""
    data = cv2.imencode(suffix, random_image(64, 64))[1].tobytes()
    (tmp_path / f"a{suffix}").write_bytes(data)
    (tmp_path / f"b{suffix}").write_bytes(data + behind)
    image_files.check_image_file(tmp_path / f"b{suffix}")
    image = image_files.read_image(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(image, image_files.read_image(tmp_path / f"a{suffix}"))


@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_truncated_progressive_jpeg_is_refused(tmp_path, share):
    data = cv2.imencode(".jpg", random_image(64, 64), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    (tmp_path / "a.jpg").write_bytes(data.tobytes()[: int(len(data) * share)])
    for read in (image_files.read_image, image_files.check_image_file):
        with pytest.raises(ValueError, match=r"a\.jpg.*too early"):
            read(tmp_path / "a.jpg")


FORMATS = {
    "jpe": "JPEG",
    "jfif": "JPEG",
    "mpo": "MPO",
    "bmp": "BMP",
    "dib": "BMP",
    "gif": "GIF",
    "webp": "WEBP",
    "jp2": "JPEG2000",
    "ppm": "PPM",
    "pnm": "PPM",
    "avif": "AVIF",
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_format(tmp_path, suffix, mode):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    pixels = np.full((32, 51, 3), (30, 90, 200), np.uint8)
    pixels[16:32, 16:32] = (220, 40, 70)  # whole blocks of JPEG
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / f"a.{suffix}", FORMATS[suffix])
    (path,) = image_files.find_images([tmp_path])
    read = image_files.read_image(path)
    assert read.shape == (32, 51, 3) and read.dtype == np.uint8
    difference = np.abs(read.astype(int) - np.array(image.convert("RGB")))
    assert difference.mean() < (0.01 if suffix in ("bmp", "dib", "gif", "ppm", "pnm") else 4)
    image_files.check_image_file(path)


@pytest.mark.parametrize("suffix", ["gif", "bmp", "webp", "jp2", "avif", "ppm"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_every_format_truncated(tmp_path, suffix, share):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.fromarray(random_image(64, 64)).save(tmp_path / "whole", FORMATS[suffix])
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / f"a.{suffix}").write_bytes(data[: int(len(data) * share)])
    for read in (image_files.read_image, image_files.check_image_file):
        with pytest.raises(ValueError, match=rf"a\.{suffix}"):
            read(tmp_path / f"a.{suffix}")


def test_cmyk_becomes_rgb_and_an_animation_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (9, 8), color) for color in ("red", "blue")]
    frames[0].convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    assert np.abs(mrcnn.read_image(tmp_path / "a.jpg").astype(int) - [255, 0, 0]).max() < 6
    for suffix in ("gif", "png", "webp"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
        image = image_files.read_image(tmp_path / f"a.{suffix}")
        assert image.shape == (8, 9, 3) and np.abs(image.astype(int) - [255, 0, 0]).max() < 6


def test_read_image_is_offered_at_the_top():
    assert mrcnn.read_image is image_files.read_image and "read_image" in mrcnn.__all__


# --- Sizes ----------------------------------------------------------------------------------------
SIZES = [suffix for suffix in FORMATS if suffix != "avif" or features.check("avif")]


@pytest.mark.parametrize("suffix", [*SIZES, "png", "jpg", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_read_size_of_every_format(tmp_path, suffix, mode):
    image = Image.fromarray(random_image(32, 51)).convert(mode)
    image.save(tmp_path / f"a.{suffix}", FORMATS.get(suffix))
    assert image_files.read_size(tmp_path / f"a.{suffix}") == (32, 51)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_read_size_follows_read_image(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(random_image(8, 9)).save(tmp_path / f"a.{suffix}", exif=exif)
    for upright in (True, False):
        image = image_files.read_image(tmp_path / f"a.{suffix}", upright)
        assert image_files.read_size(tmp_path / f"a.{suffix}", upright) == image.shape[:2]


def test_exif_data_behind_the_pixels_of_a_png_count(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = chunk(b"IDAT", zlib.compress(bytes(4 * 16)))  # 5x4
    (tmp_path / "a.png").write_bytes(png(ihdr(5, 4), pixels, chunk(b"eXIf", exif.tobytes()[6:])))
    assert image_files.read_image(tmp_path / "a.png").shape == (5, 4, 3)
    assert image_files.read_size(tmp_path / "a.png") == (5, 4)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_the_size_is_read_without_the_pixels(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), random_image(600, 800))
    assert path.stat().st_size > 400_000
    read = []

    class Counted(io.FileIO):
        def read(self, size=-1):
            data = super().read(size)
            read.append(len(data))
            return data

    with Counted(path) as file:
        data = headers.FileBytes(file)
        header = (tags.read_page if suffix == "tif" else headers.read_header)(data)
    assert (header.height, header.width) == (600, 800)
    assert sum(read) < 5000


# --- Finding files --------------------------------------------------------------------------------
def test_files_that_are_left_out_are_named(tmp_path, caplog):
    for name in ("a.png", "b.JFIF", "c.avif", "notes.txt", "raw.nef", ".hidden.png", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        found = image_files.find_images([tmp_path])
    assert [path.name for path in found] == ["a.png", "b.JFIF", "c.avif"]
    assert "2 of 5 files" in caplog.text
    assert "notes.txt, raw.nef" in caplog.text and "hidden" not in caplog.text


NAMES = [
    ("Grün.png", unicodedata.normalize("NFD", "Grün.png")),
    ("my cell.png", "my%20cell.png"),
    ("IMG_1.JPG", "img_1.jpg"),
    ("100%.png", "100%25.png"),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("one, other", NAMES)
def test_names_that_are_spelled_otherwise_are_found(tmp_path, one, other, turned):
    stored, asked = (other, one) if turned else (one, other)
    (tmp_path / "Übung 1").mkdir()
    path = tmp_path / "Übung 1" / stored
    path.touch()
    index = image_files.NameIndex()
    assert index.find(tmp_path, ["%C3%9Cbung%201", asked]) == [str(path)]
    assert index.find(tmp_path, ["Übung 1", "another.png"]) == []
    assert index.find(tmp_path, ["%2e%2e", tmp_path.name, "Übung 1", asked]) == []
    (tmp_path / "Übung 1" / asked).touch()
    assert len(index.find(tmp_path, ["Übung 1", asked])) == 1  # a folder is listed once
    assert len(image_files.NameIndex().find(tmp_path, ["Übung 1", asked])) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_can_be_printed(tmp_path):
    code = """
import sys
from mrcnn.images import files
for read in (files.read_image, files.read_label_image, files.check_image_file):
    for path in (*files.find_images([sys.argv[1]]), sys.argv[1] + "/\\udcff.png"):
        try:
            read(path)
        except (ValueError, OSError) as error:
            print(error)
try:
    files.find_images([sys.argv[1] + "/\\udcff"])
except FileNotFoundError as error:
    print(error)
"""
    for name, data in (
        (b"\xe9.png", b"x"),
        (b"\xe9.jpg", b""),
        (b"\xe9.tif", b"II*\0"),
        (b"\xe9.x", b""),
    ):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(data)
    child = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("\\udce9") == 9 and child.stdout.count("\\udcff") == 4
    assert child.stderr.count("\\udce9.x") == 3  # the file that was left out


def test_a_damaged_size_is_found_by_its_checksum(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(random_image(64, 64)).save(path)
    data = bytearray(path.read_bytes())
    data[19] ^= 1  # the width
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: .*checksum"):
        image_files.read_size(path)
