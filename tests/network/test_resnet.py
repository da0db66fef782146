import keras
import numpy as np
import pytest
from keras import layers, ops

from mrcnn.network.backbones import resnet
from mrcnn.network.layers import normalization

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101")


def build(architecture, norm="batch", width=8, **choices):
    image = keras.Input((None, None, 3))
    return keras.Model(
        image, resnet.resnet(image, architecture, norm=norm, width=width, **choices)[1:]
    )


@pytest.fixture(scope="module")
def bodies():
    return {name: build(name) for name in ARCHITECTURES}


def numpy(value):
    return ops.convert_to_numpy(value)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_strides_and_channels(bodies, name):
    shapes = [
        output.shape
        for output in bodies[name].compute_output_spec(keras.KerasTensor((1, 96, 160, 3)))
    ]
    times = 4 if name in resnet.BOTTLENECK else 1
    assert shapes == [
        (1, 96 // s, 160 // s, 8 * times * 2**i) for i, s in enumerate((4, 8, 16, 32))
    ]


def test_maps_of_odd_multiples_of_32(bodies):
    maps = bodies["resnet18"](np.zeros((1, 32, 96, 3), "float32"))
    assert [tuple(m.shape) for m in maps] == [
        (1, 8, 24, 8),
        (1, 4, 12, 16),
        (1, 2, 6, 32),
        (1, 1, 3, 64),
    ]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_strides_sit_in_the_3x3(bodies, name):
    strided = {
        layer.name: layer.kernel_size
        for layer in bodies[name].layers
        if isinstance(layer, layers.Conv2D) and layer.strides != (1, 1)
    }
    branch = "2b" if name in resnet.BOTTLENECK else "2a"
    expected = {"conv1": (7, 7)}
    for stage in (3, 4, 5):
        expected[f"res{stage}a_branch{branch}"] = (3, 3)
        assert bodies[name].get_layer(f"skip{stage}a_branch1").strides == (2, 2)
    assert strided == expected  # 1x1 convolutions have no stride, see conv_norm


@pytest.mark.parametrize("name, parameters", [("resnet50", 23_508_032), ("resnet18", 11_176_512)])
def test_parameters_are_those_of_torchvision_without_its_classifier(name, parameters):
    trainable = build(name, width=64).trainable_weights  # without moving means and variances
    assert sum(int(np.prod(weight.shape)) for weight in trainable) == parameters


def test_number_of_blocks(bodies):
    for name, blocks in resnet.BLOCKS.items():
        outputs = [layer.name for layer in bodies[name].layers if layer.name.endswith("_out")]
        for stage, count in enumerate(blocks, start=2):
            assert sum(output.startswith(f"res{stage}") for output in outputs) == count


def test_max_pool_against_torchvision(bodies):
    """Values of a 4 x 4 ramp, padded on all sides. With 'same' they would be 10, 11, 14, 15."""
    ramp = np.arange(16, dtype="float32").reshape(1, 4, 4, 1)
    pad, pool = (bodies["resnet18"].get_layer(name) for name in ("pool1_pad", "pool1"))
    assert numpy(pool(pad(ramp)))[0, :, :, 0].tolist() == [[5, 7], [13, 15]]


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_strided_convolutions_are_centered(kernel):
    """Sample (i, j) is centered on pixel (2 i, 2 j), unlike with 'same' padding."""
    image = keras.Input((12, 12, 1))
    if kernel == 7:
        model = keras.Model(image, resnet.resnet(image, "resnet18", width=8)[1:])
        model = keras.Model(image, model.get_layer("conv1").output)
        layer = model.get_layer("conv1")
    else:
        x = resnet.Blocks().conv_norm(image, 8, kernel, "{}x", strides=2)
        model = keras.Model(image, x)
        layer = model.get_layer("resx")
        model = keras.Model(image, layer.output)
    weights = np.zeros((kernel, kernel, 1, 8), "float32")
    weights[kernel // 2, kernel // 2] = 1
    layer.set_weights([weights])
    pixels = np.random.default_rng(0).normal(size=(1, 12, 12, 1)).astype("float32")
    result = numpy(model(pixels))
    np.testing.assert_allclose(result[..., 0], pixels[:, ::2, ::2, 0], atol=1e-6)


# --- Normalization -----------------------------------------------------------------------------


def normalizer(norm, channels=16, epsilon=1e-5):
    x = keras.Input((None, None, channels))
    return keras.Model(x, normalization.normalize(x, "norm", norm, epsilon))


@pytest.fixture
def pixels():
    return np.random.default_rng(0).normal(3, 2, (4, 9, 9, 16)).astype("float32")


def test_batch_norm_learns_and_follows_the_batch(pixels):
    model = normalizer("batch")
    assert len(model.trainable_weights) == 2
    trained = numpy(model(pixels, training=True))
    np.testing.assert_allclose(trained.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    mean = numpy(model.get_layer("norm").moving_mean)
    np.testing.assert_allclose(mean, 0.1 * pixels.mean(axis=(0, 1, 2)), rtol=1e-3)


def test_frozen_norm_never_moves(pixels):
    model = normalizer("frozen")
    assert model.trainable_weights == []
    layer = model.get_layer("norm")
    rng = np.random.default_rng(1)
    gamma, beta, mean = rng.normal(size=(3, 16)).astype("float32")
    variance = rng.uniform(1, 2, 16).astype("float32")
    layer.set_weights([gamma, beta, mean, variance])
    for training in (True, False):
        expected = (pixels - mean) / np.sqrt(variance + 1e-5) * gamma + beta
        result = numpy(model(pixels, training=training))
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-4)
    for before, after in zip([gamma, beta, mean, variance], layer.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_fixed_statistics_stay_while_scale_and_offset_learn(pixels):
    model = normalizer("statistics")
    layer = model.get_layer("norm")
    gamma, beta = (np.random.default_rng(i).normal(1, 1, 16).astype("float32") for i in range(2))
    mean, variance = np.full(16, 2, "float32"), np.full(16, 4, "float32")
    layer.set_weights([gamma, beta, mean, variance])
    expected = (pixels - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(numpy(model(pixels, training=True)), expected, atol=1e-4)
    np.testing.assert_array_equal(layer.get_weights()[2:], [mean, variance])
    assert [weight.name for weight in layer.trainable_weights] == ["gamma", "beta"]


@pytest.mark.parametrize("channels, groups", [(4, 1), (8, 2), (16, 4), (128, 32), (512, 32)])
def test_group_norm_groups(channels, groups):
    model = normalizer("group", channels)
    assert model.get_layer("norm").groups == groups


def test_group_norm_looks_at_each_image_alone(pixels):
    model = normalizer("group")
    together, alone = numpy(model(pixels, training=True)), numpy(model(pixels[:1]))
    np.testing.assert_allclose(together[:1], alone, atol=1e-5)
    x = pixels.reshape(4, 9, 9, 4, 4).astype("float64")
    mean, variance = x.mean(axis=(1, 2, 4), keepdims=True), x.var(axis=(1, 2, 4), keepdims=True)
    expected = ((x - mean) / np.sqrt(variance + 1e-5)).reshape(pixels.shape)
    np.testing.assert_allclose(together, expected, atol=1e-4)


def test_a_whole_body_of_each_norm():
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    for norm in ("frozen", "group"):
        body = build("resnet18", norm)
        kinds = {type(n).__name__ for n in body.layers if normalization.is_normalization(n)}
        assert kinds == {"GroupNormalization" if norm == "group" else "BatchNormalization"}
        first, second = body(image, training=True), body(image, training=False)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-4, atol=1e-4)


def test_epsilon_is_as_requested():
    body = build("resnet18", epsilon=0.25)
    assert {n.epsilon for n in body.layers if normalization.is_normalization(n)} == {0.25}
