import numpy as np
import pytest
from PIL import Image

from mrcnn.images import fit as images
from mrcnn.images import values

FIT = {"min_dim": 64, "max_dim": 128}


def random_image(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def fit_image(image, pad_value=0.0, **options):
    """Plans and applies the resizing in one call."""
    return images.apply_plan(image, images.plan_fit(image.shape, **options), pad_value)


# --- fit_image -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "shape, mode, scale, window, canvas",
    [
        ((100, 50), "square", 1.28, (0, 0, 128, 64), (128, 128)),
        ((300, 100), "square", 128 / 300, (0, 0, 128, 43), (128, 128)),  # limited by max_dim
        ((100, 100), "square", 1.0, (0, 0, 100, 100), (128, 128)),  # never scaled down to min_dim
        ((32, 100), "pad64", 2.0, (0, 0, 64, 200), (64, 256)),
        ((100, 131), "none", 1.0, (0, 0, 100, 131), (128, 192)),
        ((32, 100), "crop", 2.0, (0, 0, 64, 200), (64, 256)),  # detection: as pad64
        ((1, 1), "square", 64.0, (0, 0, 64, 64), (128, 128)),
    ],
)
def test_fit_image(shape, mode, scale, window, canvas):
    fitted = fit_image(random_image(*shape), mode=mode, pad_value=(1, 2, 3), **FIT)
    assert fitted.scale == pytest.approx(scale)
    assert fitted.window == window and fitted.offset == (0, 0)
    assert fitted.image.shape == (*canvas, 3) and fitted.image.dtype == np.float32
    padding = np.ones(canvas, bool)
    padding[: window[2], : window[3]] = False
    assert (fitted.image[padding] == (1, 2, 3)).all()


def test_fit_image_unscaled_is_exact():
    image = random_image(60, 70)
    fitted = fit_image(image, mode="none", pad_value=0, **FIT)
    np.testing.assert_array_equal(fitted.image[:60, :70], image)


def test_crop_is_random_and_a_part_of_the_image():
    image = random_image(200, 300)
    offsets = set()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        fitted = fit_image(image, mode="crop", crop_rng=rng, **FIT)
        y, x = fitted.offset
        np.testing.assert_array_equal(fitted.image, image[y : y + 64, x : x + 64])
        offsets.add(fitted.offset)
    assert len(offsets) > 1


def test_min_scale_and_scale_factor():
    plan = images.plan_fit((50, 50), mode="pad64", min_dim=0, max_dim=128, min_scale=2)
    assert plan.scaled_shape == (100, 100)
    rng = np.random.default_rng(0)
    plan = images.plan_fit((128, 128), mode="square", **FIT, scale_factor=2, crop_rng=rng)
    assert plan.scaled_shape == (256, 256) and plan.valid_shape == (128, 128)
    assert max(plan.offset) > 0


def test_fit_image_refuses_unknown_mode_and_no_pixels():
    with pytest.raises(ValueError, match="IMAGE_RESIZE_MODE.*'stretch'"):
        fit_image(random_image(8, 8), mode="stretch", **FIT)
    with pytest.raises(ValueError, match="at least one pixel"):
        fit_image(np.zeros((0, 8, 3), np.uint8), mode="square", **FIT)


def test_resize_keeps_mean_and_axes():
    image = random_image(96, 64, 1).astype(np.float32)
    small = images.resize(image, (24, 128))  # shrinks one axis, grows the other
    assert small.shape == (24, 128, 1)
    assert small.mean() == pytest.approx(image.mean(), abs=0.5)
    flipped = images.resize(image[:, ::-1], (24, 128))
    np.testing.assert_allclose(flipped, small[:, ::-1], atol=1e-3)


# --- value range and channels --------------------------------------------------------------------
def test_to_uint8_range():
    image = random_image(5, 5)
    assert values.to_uint8_range(image) is image
    np.testing.assert_allclose(values.to_uint8_range(image.astype(np.uint16) * 257), image)
    np.testing.assert_array_equal(values.to_uint8_range(image > 9), (image > 9) * 255)
    assert values.to_uint8_range(image.astype(np.float64)).dtype == np.float32
    assert values.to_uint8_range(np.zeros((4, 4))).max() == 0  # a black float image is fine


@pytest.mark.parametrize(
    "image, words",
    [
        (np.full((4, 4), np.nan), "NaN"),
        (np.full((4, 4), np.inf), "infinite"),
        (np.full((4, 4), 0.5), "multiply by 255"),
        (np.full((4, 4), 300.0), "0..255 is expected"),
        (np.full((4, 4), -1), "0..255 is expected"),
        (np.full((4, 4), "a"), "must hold numbers"),
        (np.zeros((0, 4)), "at least one pixel"),
    ],
)
def test_to_uint8_range_refuses(image, words):
    with pytest.raises(ValueError, match=words):
        values.to_uint8_range(image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_stretch_is_numpy_percentile(dtype):
    image = (np.random.default_rng(0).random((31, 17, 3)) ** 3 * 250).astype(dtype)
    low, high = np.percentile(image, (3, 97.5))
    expected = np.clip((image.astype(float) - low) / (high - low) * 255, 0, 255)
    np.testing.assert_allclose(values.to_uint8_range(image, (3, 97.5)), expected, atol=1e-2)


def test_to_network_range():
    """A mean pixel outside of 0..255 leaves the pixels as they are."""
    counts = np.array([[0, 3000]], np.uint16)
    assert values.to_network_range(counts, (123.0,)).max() == pytest.approx(3000 * 255 / 4095)
    for mean, image in (((2000.0, 90.0), counts), ((0.0,), counts / 3000), ((0.5,), counts - 2.5)):
        np.testing.assert_array_equal(values.to_network_range(image, mean), np.float32(image))
    assert values.to_network_range(counts, (2000.0,), (0, 100)).max() == 255
    bright = random_image(5, 5)
    assert values.to_network_range(bright, (0.0, 0.0, 0.0)) is bright
    with pytest.raises(ValueError, match="NaN"):
        values.to_network_range(counts * np.nan, (0.0,))


def test_stretch_of_a_constant_image_is_finite():
    assert np.isfinite(values.to_uint8_range(np.full((4, 4), 7, np.uint8), (1, 99))).all()


def test_to_channels():
    gray = random_image(4, 5, 1)
    assert values.to_channels(gray[..., 0], 3).shape == (4, 5, 3)
    rgba = random_image(4, 5, 4)
    np.testing.assert_array_equal(values.to_channels(rgba, 3), rgba[..., :3])
    la = random_image(4, 5, 2)
    np.testing.assert_array_equal(values.to_channels(la, 3), np.repeat(la[..., :1], 3, 2))
    np.testing.assert_array_equal(values.to_channels(np.repeat(gray, 3, 2), 1), gray)
    np.testing.assert_array_equal(values.to_channels(np.repeat(gray, 4, 2), 1), gray)
    with pytest.raises(ValueError, match="5 channels.*IMAGE_CHANNEL_COUNT = 3"):
        values.to_channels(random_image(4, 5, 5), 3)
    with pytest.raises(ValueError, match=r"\(5,\)"):
        values.to_channels(np.zeros(5), 3)


# Height, width -> sides on COCO's 800/1333, of torchvision and of Detectron2 (both run).
SHORTEST_EDGE = {
    (480, 640): ((800, 1066), (800, 1067)),
    (640, 480): ((1066, 800), (1067, 800)),
    (427, 640): ((800, 1199), (800, 1199)),
    (426, 640): ((800, 1201), (800, 1202)),
    (612, 612): ((800, 800), (800, 800)),
    (500, 333): ((1201, 800), (1201, 800)),
    (1080, 1920): ((749, 1333), (750, 1333)),
    (97, 150): ((799, 1237), (800, 1237)),
    (161, 200): ((799, 993), (800, 994)),
    (2143, 1000): ((1332, 622), (1333, 622)),
}


@pytest.mark.parametrize("shape", SHORTEST_EDGE)
def test_shortest_edge(shape):
    options = {"mode": "shortest_edge", "min_dim": 800, "max_dim": 1333}
    for rounding, sides in zip(("floor", "half_up"), SHORTEST_EDGE[shape], strict=True):
        plan = images.plan_fit(shape, **options, rounding=rounding)
        assert plan.scaled_shape == sides
        assert plan.canvas_shape == tuple(-(-side // 32) * 32 for side in sides)
        training = images.plan_fit(
            shape, **options, rounding=rounding, crop_rng=np.random.default_rng(0)
        )
        assert training.scaled_shape == sides and training.canvas_shape == (1344, 1344)


@pytest.mark.parametrize("shape", [(5, 9), (13, 4), (5, 4), (31, 17), (1, 1)])
def test_bilinear_is_of_the_four_nearest(shape):
    """Compared with the definition per pixel in float64. Shrinking does not widen the filter."""
    image = random_image(13, 9)
    expected = np.zeros((*shape, 3))
    for y in range(shape[0]):
        for x in range(shape[1]):
            at = [
                max((index + 0.5) * size / count - 0.5, 0)
                for index, size, count in zip((y, x), image.shape, shape, strict=False)
            ]
            (t, v), (l, u) = ((int(p), p - int(p)) for p in at)  # noqa: E741
            b, r = min(t + 1, 12), min(l + 1, 8)
            rows = [image[row, l] * (1 - u) + image[row, r] * u for row in (t, b)]
            expected[y, x] = rows[0] * (1 - v) + rows[1] * v
    out = images.resize(image, shape, "bilinear")
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_triangle_equals_pillow():
    image = random_image(40, 60)
    out = images.resize(image, (17, 90), "triangle")
    expected = Image.fromarray(image).resize((90, 17), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(out, np.asarray(expected))
    soft = images.resize(image[..., 0].astype("float32") / 2, (17, 90), "triangle")
    assert soft.dtype == np.float32 and soft.shape == (17, 90)
    np.testing.assert_allclose(soft, np.asarray(expected)[..., 0] / 2, atol=0.5)
    gray = images.resize(image[..., :1], (17, 90), "triangle")
    assert gray.shape == (17, 90, 1) and gray.dtype == np.uint8
