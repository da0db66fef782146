"""What an HDF5 file of Matterport's package says about its network. Its layer names are ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def settings(layers: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the Config values implied by the shapes of the weights.

    Args:
        layers: mapping of str to LayerWeights. The layers of the file by name.
    """
    kernels = {
        layer: weights.shape(name)[::-1]  # outputs first
        for layer, weights in layers.items()
        for name in weights
        if "kernel" in name
    }
    outputs = {layer: shape[0] for layer, shape in kernels.items()}
    found = {
        "NUM_CLASSES": outputs.get("mrcnn_class_logits"),
        "TOP_DOWN_PYRAMID_SIZE": outputs.get("fpn_p2"),
        "FPN_CLASSIF_FC_LAYERS_SIZE": outputs.get("mrcnn_class_conv1"),
        "POOL_SIZE": kernels.get("mrcnn_class_conv1", (None,))[-1],
        "IMAGE_CHANNEL_COUNT": kernels.get("conv1", (None, None))[1],
        "USE_MASKS": "mrcnn_mask" in layers,
    }
    if "res4f_branch2a" in layers:
        found["BACKBONE"] = "resnet101" if "res4w_branch2a" in layers else "resnet50"
    return {name: value for name, value in found.items() if value is not None}
