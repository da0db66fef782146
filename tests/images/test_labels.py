"""The pixel values of label images are read as they are stored, in every format without losses."""

import io
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, features
from pngs import chunk, ihdr, png

from mrcnn.images import files

LABELS = np.zeros((12, 15), np.uint8)
LABELS[1:4, 1:4], LABELS[5:8, 2:9], LABELS[9:11, 9:14] = 1, 2, 9


def save(path, image, **options):
    image.save(path, **options)
    return path


def with_palette(labels, colors):
    image = Image.fromarray(labels, "P")
    image.putpalette(np.asarray(colors, np.uint8).ravel().tolist())
    return image


GRAY = [[0] * 3, [90] * 3, [90] * 3, *[[0] * 3] * 6, [200] * 3]  # labels 1 and 2 look the same
VOC = [[0, 0, 0], [128, 0, 0], [0, 128, 0], *[[128, 128, 0]] * 6, [192, 0, 0]]
INVERTED = [[255 - index] * 3 for index in range(256)]


@pytest.mark.parametrize("colors", [GRAY, VOC, INVERTED], ids=["gray", "voc", "inverted"])
@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif"])
def test_the_numbers_of_a_palette_are_the_labels(tmp_path, suffix, colors):
    options = {"optimize": False} if suffix == "gif" else {}  # or Pillow renumbers them
    path = save(tmp_path / f"a.{suffix}", with_palette(LABELS, colors), **options)
    np.testing.assert_array_equal(files.read_label_image(path), LABELS)
    image = files.read_image(path)  # but an image shows the colors
    np.testing.assert_array_equal(image, np.asarray(colors, np.uint8)[LABELS])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_small_palette(tmp_path, bits):
    labels = LABELS % 2**bits
    path = save(tmp_path / "a.png", with_palette(labels, GRAY[: 2**bits]), bits=bits)
    assert path.read_bytes()[24:26] == bytes([bits, 3])
    np.testing.assert_array_equal(files.read_label_image(path), labels)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_few_bits(tmp_path, bits):
    labels = LABELS % 2**bits
    packed = np.unpackbits(labels[..., None], axis=2)[..., 8 - bits :].reshape(12, -1)
    rows = np.pad(np.packbits(packed, axis=1), [(0, 0), (1, 0)])
    data = png(ihdr(15, 12, bits, 0), chunk(b"IDAT", zlib.compress(rows.tobytes())))
    (tmp_path / "a.png").write_bytes(data)
    np.testing.assert_array_equal(files.read_label_image(tmp_path / "a.png"), labels)
    image = files.read_image(tmp_path / "a.png")[..., 0]
    np.testing.assert_array_equal(image, labels.astype(int) * 255 // (2**bits - 1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_equal_channels_are_one_and_alpha_is_dropped(tmp_path, dtype, channels):
    labels = LABELS.astype(dtype) * (257 if dtype == np.uint16 else 1) + (LABELS > 0)
    image = np.repeat(labels[..., None], 3 if channels > 2 else 1, axis=2)
    if channels in (2, 4):
        image = np.concatenate([image, np.full((12, 15, 1), 77, dtype)], axis=2)
    if channels == 2 and dtype == np.uint8:
        path = save(tmp_path / "a.png", Image.fromarray(image, "LA"))
    elif channels == 2:  # OpenCV and Pillow write no gray with alpha of 16 bits
        path = tmp_path / "a.png"
        rows = np.pad(image.astype(">u2").view(np.uint8).reshape(12, -1), [(0, 0), (1, 0)])
        path.write_bytes(png(ihdr(15, 12, 16, 4), chunk(b"IDAT", zlib.compress(rows.tobytes()))))
    else:
        path = tmp_path / "a.png"
        cv2.imwrite(str(path), image)
    found = files.read_label_image(path)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, labels)


LOSSY = {
    "jpg": ("JPEG", {"quality": 100}),
    "webp": ("WEBP", {"quality": 100}),
    "jp2": ("JPEG2000", {"irreversible": True}),
    "avif": ("AVIF", {"quality": 100}),
}


@pytest.mark.parametrize("suffix", LOSSY)
def test_labels_compressed_with_losses_are_refused(tmp_path, suffix):
    kind, options = LOSSY[suffix]
    if not features.check({"jp2": "jpg_2000", "jpg": "jpg"}.get(suffix, suffix)):
        pytest.skip(f"this Pillow has no {kind}")
    path = save(tmp_path / "a.png", Image.fromarray(LABELS * 20), format=kind, **options)
    with pytest.raises(ValueError, match=r"a\.png: .*losses.*PNG or TIFF"):
        files.read_label_image(path)
    assert files.read_image(path).shape == (12, 15, 3)  # the contents decide, not the suffix


def test_webp_without_losses(tmp_path):
    path = save(tmp_path / "a.webp", Image.fromarray(np.stack([LABELS] * 3, -1)), lossless=True)
    np.testing.assert_array_equal(files.read_label_image(path), LABELS)
    exif = Image.Exif()
    exif[0x0112] = 3
    path = save(
        tmp_path / "b.webp", Image.fromarray(np.stack([LABELS] * 3, -1)), lossless=True, exif=exif
    )
    np.testing.assert_array_equal(files.read_label_image(path), LABELS[::-1, ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_images_and_labels_are_turned_by_one_rule(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    pixels = np.repeat(np.stack([LABELS] * 3, -1) * np.uint8(20), 8, axis=0).repeat(8, axis=1)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels), exif=exif, **options)
    plain = Image.fromarray(pixels)
    plain.getexif()[0x0112] = orientation
    turned = np.array(ImageOps.exif_transpose(plain))
    difference = np.abs(files.read_image(path).astype(int) - turned)
    assert difference.max() <= (6 if suffix == "jpg" else 0)
    if suffix != "jpg":
        np.testing.assert_array_equal(files.read_label_image(path), turned[..., 0])
    stored = files.read_image(path, upright=False)
    assert np.abs(stored.astype(int) - pixels).max() <= (6 if suffix == "jpg" else 0)


def test_damaged_exif_data_turn_nothing(tmp_path):
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(LABELS).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    at = data.index(b"Exif\0\0") + 6
    for damage in (b"XX", b"MM\0*\xff\xff\xff\xff", b"MM\0*\0\0\0\x04"):
        (tmp_path / "a.jpg").write_bytes(data[:at] + damage + data[at + len(damage) :])
        assert files.read_image(tmp_path / "a.jpg").shape == (12, 15, 3)
