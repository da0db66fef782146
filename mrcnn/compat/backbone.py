"""Matterport's functions that build a ResNet, with their signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from mrcnn.dialects.matterport import DIALECTS
from mrcnn.network.backbones import resnet

(MATTERPORT,) = DIALECTS
EPSILON = MATTERPORT.resnet.epsilon


class BatchNorm(layers.BatchNormalization):
    """Batch normalization. Called with `training=False` it uses its moving statistics."""

    def call(self, inputs, training=None):
        """Normalizes as `keras.layers.BatchNormalization`."""
        return super().call(inputs, training=training)


def identity_block(
    input_tensor: Any,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    use_bias: bool = True,
    train_bn: bool | None = True,
) -> Any:
    """Adds a bottleneck block of a ResNet whose shortcut is its input.

    Args:
        input_tensor: tensor `[batch, height, width, channels]`.
        kernel_size: int. Of the middle convolution.
        filters: three ints. Output channels of the three convolutions.
        stage: int. Number of the stage, 2 to 5, for the names of the layers.
        block: str. Letter of the block, for the names of the layers.
        use_bias: bool. Whether the convolutions have biases. Defaults to True.
        train_bn: bool or None. False normalizes by the moving statistics. Defaults to True.

    Returns:
        Tensor of the same shape.
    """
    return _bottleneck(input_tensor, kernel_size, filters, stage, block, 0, use_bias, train_bn)


def conv_block(
    input_tensor: Any,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: tuple[int, int] = (2, 2),
    use_bias: bool = True,
    train_bn: bool | None = True,
) -> Any:
    """Adds a bottleneck block of a ResNet with a convolution in its shortcut.

    Args:
        input_tensor: tensor `[batch, height, width, channels]`. Like all arguments but `strides`,
            as in `identity_block`.
        kernel_size: int.
        filters: three ints.
        stage: int.
        block: str.
        strides: two equal ints. Of the first convolution and the shortcut. Defaults to (2, 2).
        use_bias: bool. Defaults to True.
        train_bn: bool or None. Defaults to True.

    Returns:
        Tensor `[batch, height / strides, width / strides, filters[2]]`.
    """
    return _bottleneck(
        input_tensor, kernel_size, filters, stage, block, strides[0], use_bias, train_bn
    )


def _bottleneck(x, kernel_size, filters, stage, block, strides, use_bias, train_bn):
    """Adds a bottleneck block. With `strides` 0 the shortcut has no convolution."""
    blocks = resnet.Blocks(norm_name(train_bn), use_bias, epsilon=EPSILON)
    name = f"{{}}{stage}{block}_branch"
    y = blocks.conv_norm(x, filters[0], 1, name + "2a", strides or 1)
    y = blocks.conv_norm(y, filters[1], kernel_size, name + "2b")
    y = blocks.conv_norm(y, filters[2], 1, name + "2c", activation=False)
    if strides:
        x = blocks.conv_norm(x, filters[2], 1, name + "1", strides, activation=False)
    y = layers.Add(name=f"res{stage}{block}_add")([y, x])
    return layers.ReLU(name=f"res{stage}{block}_out")(y)


def norm_name(train_bn: bool | None) -> str:
    """Returns the name by which `network.backbones.resnet` knows a normalization.

    Args:
        train_bn: bool or None. False normalizes by the moving statistics.
    """
    return "statistics" if train_bn is False else "batch"


def resnet_graph(
    input_image: Any, architecture: str, stage5: bool = False, train_bn: bool | None = True
) -> list:
    """Adds a ResNet.

    Args:
        input_image: tensor `[batch, height, width, channels]`.
        architecture: str. "resnet50" or "resnet101".
        stage5: bool. Whether C5 is returned. Defaults to False.
        train_bn: bool or None. False normalizes by the moving statistics. Defaults to True.

    Returns:
        The maps [C1, C2, C3, C4, C5]; C5 is None without `stage5`.
    """
    maps = resnet.resnet(
        input_image, architecture, norm=norm_name(train_bn), **vars(MATTERPORT.resnet)
    )
    return [*maps[:4], maps[4] if stage5 else None]
