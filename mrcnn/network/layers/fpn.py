"""Feature pyramid network (Lin et al. 2017): P2..P6 out of C2..C5."""

from __future__ import annotations

from keras import layers

from mrcnn.network.layers.normalization import normalise


def feature_pyramid(
    maps: list, channels: int, norm: str | None = None, lateral_norm: str | None = None,
    epsilon: float = 1e-5,
) -> list:  # fmt: skip
    """Builds the pyramid: 1x1 laterals, nearest upsampling and addition, 3x3 outputs.

    Args:
        maps: C2..C5, strides 4, 8, 16, 32; each side half of the one before.
        channels: of every level.
        norm: of the outputs: None, or a kind of `resnet.normalisation`: "group" when training from
            scratch.
        lateral_norm: the same of the laterals; no convolution has a bias then.
        epsilon: of the normalisation.

    Returns:
        P2..P6, [batch, height, width, channels]; P6 is every second cell of P5 (the paper's
        max-pool of kernel 1 and stride 2) and serves the RPN only.
    """
    top = None
    merged = []
    for level, c in zip((5, 4, 3, 2), reversed(maps), strict=True):
        lateral = layers.Conv2D(
            channels, 1, kernel_initializer="lecun_uniform", use_bias=not lateral_norm,
            name=f"fpn_c{level}p{level}",
        )(c)  # fmt: skip
        if lateral_norm:
            lateral = normalise(lateral, f"fpn_c{level}p{level}_norm", lateral_norm, epsilon)
        if top is not None:
            up = layers.UpSampling2D(2, name=f"fpn_p{level + 1}upsampled")(top)
            lateral = layers.Add(name=f"fpn_p{level}add")([up, lateral])
        top = lateral
        merged.append((level, lateral))
    pyramid = []
    for level, x in reversed(merged):
        x = layers.Conv2D(
            channels, 3, padding="same", kernel_initializer="lecun_uniform",
            use_bias=not lateral_norm, name=f"fpn_p{level}",
        )(x)  # fmt: skip
        pyramid.append(normalise(x, f"fpn_p{level}_norm", norm, epsilon) if norm else x)
    pyramid.append(layers.MaxPooling2D(1, strides=2, padding="same", name="fpn_p6")(pyramid[-1]))
    return pyramid
