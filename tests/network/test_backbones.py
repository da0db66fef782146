import keras
import numpy as np
import pytest
from keras import layers, ops

from mrcnn.network import backbones
from mrcnn.network.backbones.applications import STRIDES
from mrcnn.network.layers.basic import Normalize
from mrcnn.network.layers.fpn import feature_pyramid
from mrcnn.network.layers.normalization import is_normalization


def numpy(value):
    return ops.convert_to_numpy(value)


def build(backbone, norm="batch", channels=3, width=8):
    """Returns the maps of a backbone, after the layer that precedes it in the network."""
    image = keras.Input((None, None, channels))
    pixels = Normalize((1,) * channels, (2,) * channels)(image)
    return keras.Model(image, backbones.build(pixels, backbone, norm=norm, width=width))


def sides(model, height, width):
    specs = model.compute_output_spec(keras.KerasTensor((1, height, width, 3)))
    return [spec.shape[1:3] for spec in specs]


@pytest.fixture(scope="module")
def mobile():
    return build("MobileNetV2")


EXPECTED = [(128 // s, 192 // s) for s in STRIDES]


def test_network_of_keras_applications(mobile):
    assert sides(mobile, 128, 192) == EXPECTED
    # The last map of each stride, not an earlier one.
    names = [output._keras_history.operation.name for output in mobile.outputs]
    assert names == [
        "block_3_expand_relu",
        "block_6_expand_relu",
        "block_13_expand_relu",
        "out_relu",
    ]


@pytest.mark.parametrize("name", ["mobilenetv3small", "EfficientNetB0", "VGG16"])
def test_other_networks(name):
    model = build(name)
    assert sides(model, 128, 192) == EXPECTED
    for output in model.outputs:  # after the activation or the pooling
        assert not is_normalization(output._keras_history.operation)


def test_maps_are_finite(mobile):
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    maps = [numpy(m) for m in mobile(image)]
    assert [m.shape[1] for m in maps] == [16, 8, 4, 2]
    assert all(np.isfinite(m).all() and m.std() > 0 for m in maps)


def test_frozen_normalization_of_an_application():
    model = build("MobileNetV2", norm="frozen")
    norms = [layer for layer in model.layers if is_normalization(layer)]
    assert norms and not any(layer.trainable_weights for layer in norms)
    assert model.trainable_weights


def test_group_norm_is_for_our_networks_only():
    with pytest.raises(ValueError, match="BACKBONE_NORM='group'.*'batch' or 'frozen'"):
        build("MobileNetV2", norm="group")
    with pytest.raises(ValueError, match="did you mean|Did you mean 'resnet50'"):
        build("resnet5O")


@pytest.mark.parametrize(
    "wrong, near",
    [
        ("MobilNetV2", "mobilenetv2"),
        ("resnet_18", "resnet18"),
        ("efficientnet-b0", "efficientnetb0"),
    ],
)
def test_unknown_name_names_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"BACKBONE.*{wrong}.*Did you mean '{near}'"):
        build(wrong)


def test_nothing_near_gives_no_hint():
    with pytest.raises(ValueError, match="got 'zzzz'.$"):
        build("zzzz")


def test_our_resnet_by_name():
    assert sides(build("resnet18"), 128, 192) == EXPECTED


@pytest.mark.parametrize("first", [0, 1])
def test_callable_backbone(first):
    """A backbone returns four maps, or five as in Matterport's package. The first is not used."""

    def tiny(image):
        maps, x = [], image
        for stage in range(1, 6):
            x = layers.Conv2D(4 * stage, 3, strides=2, padding="same", name=f"c{stage}")(x)
            maps.append(x)
        return maps if first == 0 else tuple(maps[1:])

    model = build(tiny)
    assert sides(model, 128, 192) == EXPECTED
    assert [output.shape[-1] for output in model.outputs] == [8, 12, 16, 20]


def test_other_channel_counts():
    model = build("resnet18", channels=1)
    assert numpy(model(np.zeros((1, 64, 64, 1), "float32"))[0]).shape == (1, 16, 16, 8)


# --- Feature pyramid ---------------------------------------------------------------------------


def pyramid_model(norm=None, channels=16):
    inputs = [keras.Input((None, None, c)) for c in (8, 16, 32, 64)]
    return keras.Model(inputs, feature_pyramid(inputs, channels=channels, norm=norm))


@pytest.fixture(scope="module")
def fpn():
    return pyramid_model()


def maps_of(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(1, height // s, width // s, c)).astype("float32")
        for s, c in zip(STRIDES, (8, 16, 32, 64), strict=True)
    ]


@pytest.mark.parametrize("size", [(64, 64), (192, 320), (128, 64), (832, 64)])
def test_shapes_of_the_pyramid(fpn, size):
    pyramid = fpn(maps_of(*size))
    expected = [(1, size[0] // s, size[1] // s, 16) for s in (4, 8, 16, 32, 64)]
    assert [tuple(level.shape) for level in pyramid] == expected


def test_p6_is_every_second_cell_of_p5(fpn):
    *_, p5, p6 = map(numpy, fpn(maps_of(192, 320)))
    np.testing.assert_array_equal(p6, p5[:, ::2, ::2])


def test_pyramid_equals_numpy(fpn):
    """1x1 convolutions, each added to the level above upsampled by nearest; then 3x3."""
    maps = maps_of(64, 128)
    pyramid = [numpy(level) for level in fpn(maps)]
    top = None
    for level, c in zip((5, 4, 3, 2), reversed(maps), strict=True):
        kernel, bias = fpn.get_layer(f"fpn_c{level}p{level}").get_weights()
        merged = c @ kernel[0, 0] + bias
        if top is not None:
            merged = merged + top.repeat(2, axis=1).repeat(2, axis=2)
        top = merged
        expected = numpy(fpn.get_layer(f"fpn_p{level}")(merged))
        np.testing.assert_allclose(pyramid[level - 2], expected, atol=1e-4)


def test_pyramid_with_group_norm():
    model = pyramid_model("group")
    assert sum(is_normalization(layer) for layer in model.layers) == 4
    p2 = numpy(model(maps_of(64, 64))[0])
    np.testing.assert_allclose(p2.mean(), 0, atol=1e-4)
