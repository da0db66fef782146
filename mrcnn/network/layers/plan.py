"""What layers a network has, as plain data: weights are read without Keras.

`network.backbones.resnet` builds the ResNets of `BLOCKS`.
"""

from __future__ import annotations

# Residual blocks of each stage C2..C5, He et al. 2016, table 1.
BLOCKS = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
BOTTLENECK = ("resnet50", "resnet101")  # their blocks have three convolutions, the others' two

# What the names of all layers of pyramid and heads begin with. Every other layer is the backbone's.
HEAD_PREFIXES = ("mrcnn_", "rpn_", "fpn_")


def is_head(name: str) -> bool:
    """Returns whether a layer name is that of the pyramid or a head."""
    return name.startswith(HEAD_PREFIXES)
