import cv2
import numpy as np
import pytest

from mrcnn.images import files as image_files


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
    with pytest.raises(ValueError, match="too early"):
        image_files.read_image(path)


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
