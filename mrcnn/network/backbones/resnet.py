"""ResNet-18, -34, -50 and -101 (He et al. 2015, table 1), cut after each stage.

The stride of a bottleneck sits in its 3x3 convolution, as in today's trainings, unless a dialect
says otherwise. Strided layers pad explicitly by half a kernel and are 'valid': Keras' 'same' pads
only below and right at even sizes, which shifts every stage against the anchors and against weights
trained elsewhere.

Layer names are Matterport's, so that training stages can be chosen by name: `res2a_branch2a` is the
first convolution of block a of stage 2, `bn2a_branch2a` its normalisation, `res2a_out` the output.
"""

from __future__ import annotations

from keras import layers

from mrcnn.dialects import STANDARD
from mrcnn.network.layers.normalization import normalise

BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
BOTTLENECK = ("resnet50", "resnet101")


def conv_norm(x, filters, kernel, name, norm, numerics=STANDARD, strides=1, activation=True):
    """Convolution, normalisation and ReLU; `name` has one `{}` for "res" or "bn"."""
    if strides > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=name.format("pad"))(x)
    elif strides > 1:
        # Every other pixel, then an unstrided convolution: the same values. The gradient of a
        # strided 1x1 convolution writes outside its memory on CPU (TensorFlow 2.21, oneDNN; for
        # example 8 to 16 channels, 16x16 pixels, a batch of 1).
        x, strides = layers.MaxPooling2D(1, strides=strides, name=name.format("skip"))(x), 1
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        use_bias=numerics.backbone_bias,
        kernel_initializer="he_normal",
        name=name.format("res"),
    )(x)
    x = normalise(x, name.format("bn"), norm, numerics.batch_norm_epsilon)
    return layers.ReLU(name=name.format("relu"))(x) if activation else x


def block(x, filters, stage, letter, strides, bottleneck, norm, numerics=STANDARD):
    """One residual block: two 3x3 convolutions, or 1x1, 3x3, and 1x1 to 4x the filters."""
    name = f"{{}}{stage}{letter}_branch"
    if bottleneck:
        first, second = (strides, 1) if numerics.stride_in_first_conv else (1, strides)
        y = conv_norm(x, filters, 1, name + "2a", norm, numerics, first)
        y = conv_norm(y, filters, 3, name + "2b", norm, numerics, second)
        y = conv_norm(y, 4 * filters, 1, name + "2c", norm, numerics, activation=False)
    else:
        y = conv_norm(x, filters, 3, name + "2a", norm, numerics, strides)
        y = conv_norm(y, filters, 3, name + "2b", norm, numerics, activation=False)
    if strides > 1 or x.shape[-1] != y.shape[-1]:
        x = conv_norm(x, y.shape[-1], 1, name + "1", norm, numerics, strides, activation=False)
    y = layers.Add(name=f"res{stage}{letter}_add")([y, x])
    return layers.ReLU(name=f"res{stage}{letter}_out")(y)


def resnet(image, architecture: str, norm: str = "batch", numerics=STANDARD, width=64) -> list:
    """The stem C1 and the stages C2..C5 of a ResNet.

    Args:
        image: normalised pixels [batch, height, width, channels], sides multiples of 32.
        architecture: a key of `BLOCKS`.
        norm: see `normalisation`.
        numerics: the `Numerics` of the dialect.
        width: channels of the stem; the paper has 64.

    Returns:
        Five feature maps of strides 4, 4, 8, 16, 32: the pooled stem of `width` channels, and the
        stages with 1, 2, 4, 8 times as many (four times these for ResNet-50 and -101).
    """
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = layers.Conv2D(
        width, 7, strides=2, use_bias=numerics.backbone_bias, kernel_initializer="he_normal",
        name="conv1",
    )(x)  # fmt: skip
    x = normalise(x, "bn_conv1", norm, numerics.batch_norm_epsilon)
    x = layers.ReLU(name="conv1_relu")(x)
    if numerics.same_padded_pool:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    else:  # zeros are fine: after ReLU nothing is below
        x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
        x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    outputs = [x]
    for stage, blocks in enumerate(BLOCKS[architecture], start=2):
        for index in range(blocks):
            strides = 2 if stage > 2 and index == 0 else 1
            letter = chr(ord("a") + index)
            filters = width * 2 ** (stage - 2)
            x = block(
                x, filters, stage, letter, strides, architecture in BOTTLENECK, norm, numerics
            )
        outputs.append(x)
    return outputs
