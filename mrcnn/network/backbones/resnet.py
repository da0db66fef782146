"""ResNet-18, -34, -50 and -101 (He et al. 2015, table 1), cut after each stage.

The stride of a bottleneck is in its 3x3 convolution, as in current implementations, unless a
dialect says otherwise. Strided layers pad explicitly by half a kernel and are "valid": the "same"
padding of Keras pads only below and right at even sizes, which would shift every stage against the
anchors and against weights trained elsewhere.

Layer names are Matterport's: `res2a_branch2a` is the first convolution of block a of stage 2,
`bn2a_branch2a` its normalization, `res2a_out` the output of the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import layers

from mrcnn.network.layers.normalization import normalize
from mrcnn.network.layers.plan import BLOCKS, BOTTLENECK


def names() -> list[str]:
    """Returns the names of the ResNets."""
    return list(BLOCKS)


def build(image: Any, name: str, *, norm: str, width: int, **options: Any) -> list:
    """Returns C2..C5 of a ResNet; see `resnet`."""
    return resnet(image, name, norm=norm, width=width, **options)[-4:]


def resnet(
    image: Any,
    architecture: str,
    *,
    norm: str = "batch",
    width: int = 64,
    bias: bool = False,
    stride_in_first_conv: bool = False,
    same_padded_pool: bool = False,
    epsilon: float = 1e-5,
) -> list:
    """Builds the stem C1 and the stages C2..C5 of a ResNet.

    Args:
        image: tensor `[batch, height, width, channels]`, normalized pixels. Sides are multiples of
            32.
        architecture: str. A key of `BLOCKS`.
        norm: str. See `layers.normalization.normalization`. Defaults to "batch".
        width: int. Channels of the stem. Defaults to 64, as in the paper.
        bias: bool. Whether convolutions have biases beside their normalization. Defaults to False.
        stride_in_first_conv: bool. Whether the stride of a bottleneck is in its first 1x1
            convolution. Defaults to False: in its 3x3 convolution.
        same_padded_pool: bool. Whether the max-pooling of the stem pads below and right alone.
            Defaults to False: on all sides.
        epsilon: float. Of the normalization. Defaults to 1e-5.

    Returns:
        List of five tensors with strides 4, 4, 8, 16, 32: the pooled stem with `width` channels,
        and the stages with 1, 2, 4 and 8 times as many (four times these for ResNet-50 and -101).
    """
    blocks = Blocks(norm, bias, stride_in_first_conv, epsilon)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    x = layers.Conv2D(
        width, 7, strides=2, use_bias=bias, kernel_initializer="he_normal", name="conv1"
    )(x)
    x = normalize(x, "bn_conv1", norm, epsilon)
    x = layers.ReLU(name="conv1_relu")(x)
    if same_padded_pool:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    else:  # zeros are fine: after ReLU nothing is below
        x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
        x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    outputs = [x]
    residual = blocks.bottleneck if architecture in BOTTLENECK else blocks.basic
    for stage, count in enumerate(BLOCKS[architecture], start=2):
        filters = width * 2 ** (stage - 2)
        for index in range(count):
            strides = 2 if stage > 2 and index == 0 else 1
            x = residual(x, filters, f"{stage}{chr(ord('a') + index)}", strides)
        outputs.append(x)
    return outputs


@dataclass(frozen=True)
class Blocks:
    """The blocks of a ResNet.

    Args:
        norm: str. See `layers.normalization.normalization`. Defaults to "batch".
        bias: bool. Whether convolutions have biases. Defaults to False.
        stride_in_first_conv: bool. See `resnet`. Defaults to False.
        epsilon: float. Of the normalization. Defaults to 1e-5.
    """

    norm: str = "batch"
    bias: bool = False
    stride_in_first_conv: bool = False
    epsilon: float = 1e-5

    def basic(self, x: Any, filters: int, name: str, strides: int) -> Any:
        """Two 3x3 convolutions, in ResNet-18 and -34; `name` is such as "2a"."""
        branch = f"{{}}{name}_branch"
        y = self.conv_norm(x, filters, 3, branch + "2a", strides)
        y = self.conv_norm(y, filters, 3, branch + "2b", activation=False)
        return self._add(x, y, name, strides)

    def bottleneck(self, x: Any, filters: int, name: str, strides: int) -> Any:
        """Convolutions of 1x1, 3x3, and 1x1 to 4 times the filters, in ResNet-50 and -101."""
        branch = f"{{}}{name}_branch"
        first, second = (strides, 1) if self.stride_in_first_conv else (1, strides)
        y = self.conv_norm(x, filters, 1, branch + "2a", first)
        y = self.conv_norm(y, filters, 3, branch + "2b", second)
        y = self.conv_norm(y, 4 * filters, 1, branch + "2c", activation=False)
        return self._add(x, y, name, strides)

    def _add(self, x, y, name, strides):
        if strides > 1 or x.shape[-1] != y.shape[-1]:
            shortcut = f"{{}}{name}_branch1"
            x = self.conv_norm(x, y.shape[-1], 1, shortcut, strides, activation=False)
        y = layers.Add(name=f"res{name}_add")([y, x])
        return layers.ReLU(name=f"res{name}_out")(y)

    def conv_norm(
        self,
        x: Any,
        filters: int,
        kernel: int,
        name: str,
        strides: int = 1,
        activation: bool = True,
    ) -> Any:
        """Convolution, normalization and ReLU.

        Args:
            x: tensor `[batch, height, width, channels]`.
            filters: int. Channels of the result.
            kernel: int. Side of the kernel.
            name: str. Name of the layers, with one `{}` for "res", "bn" and so on.
            strides: int. Defaults to 1.
            activation: bool. Whether a ReLU follows. Defaults to True.
        """
        if strides > 1 and kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2, name=name.format("pad"))(x)
        elif strides > 1:
            # Every other pixel, then an unstrided convolution: the same values. The gradient of a
            # strided 1x1 convolution writes outside its memory on CPU (TensorFlow 2.21, oneDNN;
            # for example 8 to 16 channels, 16x16 pixels, a batch of 1).
            x = layers.MaxPooling2D(1, strides=strides, name=name.format("skip"))(x)
            strides = 1
        x = layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="valid" if strides > 1 else "same",
            use_bias=self.bias,
            kernel_initializer="he_normal",
            name=name.format("res"),
        )(x)
        x = normalize(x, name.format("bn"), self.norm, self.epsilon)
        return layers.ReLU(name=name.format("relu"))(x) if activation else x
