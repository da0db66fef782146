"""Arrays of every byte order and memory layout, and uint16 of every bit depth."""

import logging

import numpy as np
import pytest

from mrcnn.config import Config
from mrcnn.images import drawing, values
from mrcnn.inference.detect import fit_for_detection

DTYPES = ("u1", "u2", "i2", "u4", "i8", "f2", "f4", "f8")


def strange(image):
    """Returns the same image with other bytes: swapped, mirrored twice, transposed, read-only."""
    swapped = image.astype(image.dtype.newbyteorder("S"))
    read_only = image.copy()
    read_only.flags.writeable = False
    frame = np.zeros((image.shape[0] * 2, image.shape[1] + 3, *image.shape[2:]), image.dtype)
    frame[::2, 2:-1] = image
    return {
        "swapped": swapped,
        "mirrored": np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1],
        "fortran": np.asfortranarray(image),
        "part": frame[::2, 2:-1],
        "read-only": read_only,
        "swapped part": frame.astype(swapped.dtype)[::2, 2:-1],
    }


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3), (9, 7, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bytes_and_layout_make_no_difference(dtype, shape):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    config = Config(IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64)
    stretched = Config(IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64, IMAGE_STRETCH=(1, 99))
    for name, other in strange(image).items():
        np.testing.assert_array_equal(other, image, err_msg=name)  # the test itself is right
        for settings in (config, stretched):
            expected = fit_for_detection(image, settings).image
            np.testing.assert_array_equal(fit_for_detection(other, settings).image, expected, name)
        np.testing.assert_array_equal(drawing.to_display(other), drawing.to_display(image), name)


@pytest.mark.parametrize(
    "most, bits",
    [(1, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16)],
)
def test_uint16_is_scaled_by_its_bit_depth_and_says_so_once(most, bits, caplog, monkeypatch):
    monkeypatch.setattr(values, "_told", set())
    image = np.array([[0, most // 2, most]], np.uint16)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        for other in (image, image.astype(">u2")):
            scaled = values.to_uint8_range(other)
            np.testing.assert_allclose(scaled, image * (255 / (2**bits - 1)), rtol=1e-6)
    assert len(caplog.records) == (bits < 16)
    if bits < 16:
        text = caplog.text
        assert f"{bits} bits" in text and str(most) in text and "IMAGE_STRETCH" in text


def test_16_bits_are_divided_by_257_and_black_says_nothing(caplog):
    image = np.array([[0, 257, 65535]], np.uint16)
    np.testing.assert_array_equal(values.to_uint8_range(image), [[0, 1, 255]])
    assert not values.to_uint8_range(np.zeros((2, 2), np.uint16)).any()
    assert not caplog.records


@pytest.mark.parametrize("mean", [(500.0,), (0.5,)])
def test_counts_are_not_scaled_whatever_their_byte_order(mean):
    counts = np.array([[0, 3000]], ">u2")
    scaled = values.to_network_range(counts, mean)
    assert scaled.dtype == np.float32 and scaled.dtype.isnative and scaled.max() == 3000


@pytest.mark.parametrize("dtype", ["c8", "O", "S3", "M8[s]", "V4"])
def test_what_is_no_number_is_refused(dtype):
    with pytest.raises(ValueError, match="must hold numbers"):
        values.to_uint8_range(np.zeros((2, 2), dtype))
