"""Feature pyramid network (Lin et al. 2017): the maps P2..P6 from C2..C5."""

from __future__ import annotations

from typing import Any

from keras import layers

from mrcnn.network.layers.normalization import normalize


def feature_pyramid(
    maps: list,
    *,
    channels: int,
    norm: str | None = None,
    lateral_norm: str | None = None,
    epsilon: float = 1e-5,
) -> list:
    """Builds the pyramid: 1x1 laterals, nearest upsampling and addition, 3x3 outputs.

    Args:
        maps: list of tensors. C2..C5 with strides 4, 8, 16, 32; each side is half of the previous.
        channels: int. Channels of every level.
        norm: str or None. Kind of `normalization` behind the outputs, such as "group" to train from
            scratch. Defaults to None.
        lateral_norm: str or None. The same behind the laterals. If given, no convolution has a
            bias. Defaults to None.
        epsilon: float. Of the normalization. Defaults to 1e-5.

    Returns:
        List of tensors P2..P6, `[batch, height, width, channels]`. P6 is every second cell of P5
        (the paper's max-pooling with kernel 1 and stride 2). Only the RPN uses it.
    """
    use_bias = not lateral_norm
    merged: list[tuple[int, Any]] = []  # from P5 down to P2
    for level, feature_map in zip((5, 4, 3, 2), reversed(maps), strict=True):
        name = f"fpn_c{level}p{level}"
        lateral = layers.Conv2D(
            channels, 1, kernel_initializer="lecun_uniform", use_bias=use_bias, name=name
        )(feature_map)
        if lateral_norm:
            lateral = normalize(lateral, f"{name}_norm", lateral_norm, epsilon)
        if merged:
            _, top = merged[-1]
            up = layers.UpSampling2D(2, name=f"fpn_p{level + 1}upsampled")(top)
            lateral = layers.Add(name=f"fpn_p{level}add")([up, lateral])
        merged.append((level, lateral))
    pyramid = []
    for level, x in reversed(merged):
        x = layers.Conv2D(
            channels,
            3,
            padding="same",
            kernel_initializer="lecun_uniform",
            use_bias=use_bias,
            name=f"fpn_p{level}",
        )(x)
        pyramid.append(normalize(x, f"fpn_p{level}_norm", norm, epsilon) if norm else x)
    pyramid.append(layers.MaxPooling2D(1, strides=2, padding="same", name="fpn_p6")(pyramid[-1]))
    return pyramid
