"""What an HDF5 file of Matterport's package says about its network. Its layer names are ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mrcnn.weights.shapes import MAX_CLASSES, Shapes

_MAX_CHANNELS = 1024  # of an image; hyperspectral cameras have some hundred


def settings(path: str | os.PathLike, layers: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the Config values implied by the shapes of the weights.

    Args:
        path: str or path. The file, named in errors.
        layers: mapping of str to LayerWeights. The layers of the file by name.

    Raises:
        ValueError: the shapes contradict each other.
    """
    # Height, width, inputs and outputs; a fully connected layer has only the last two.
    kernels = Shapes(
        path,
        {
            layer: weights.shape(name)
            for layer, weights in layers.items()
            for name in weights
            if "kernel" in name
        },
    )
    outputs = {layer: shape[-1] for layer, shape in kernels.items() if shape}
    found = {
        "NUM_CLASSES": outputs.get("mrcnn_class_logits"),
        "TOP_DOWN_PYRAMID_SIZE": outputs.get("fpn_p2"),
        "FPN_CLASSIF_FC_LAYERS_SIZE": outputs.get("mrcnn_class_conv1"),
        "POOL_SIZE": kernels["mrcnn_class_conv1"][0],
        "IMAGE_CHANNEL_COUNT": kernels["conv1"][2] if len(kernels.get("conv1", ())) == 4 else None,
        "USE_MASKS": "mrcnn_mask" in layers,
    }
    if "res4f_branch2a" in layers:
        found["BACKBONE"] = "resnet101" if "res4w_branch2a" in layers else "resnet50"
    found = {name: value for name, value in found.items() if value is not None}
    _check(kernels, found)
    return found


def _check(kernels, found):
    """Checks that kernels have the shapes that the settings imply."""
    units, size = found["FPN_CLASSIF_FC_LAYERS_SIZE"], found["POOL_SIZE"]
    pyramid = found.get("TOP_DOWN_PYRAMID_SIZE", kernels["mrcnn_class_conv1"][2])
    channels = min(found.get("IMAGE_CHANNEL_COUNT", 3), _MAX_CHANNELS)
    expected = {
        "conv1": (7, 7, channels, kernels.get("conv1", (0,))[-1]),
        "fpn_p2": (3, 3, pyramid, pyramid),
        "mrcnn_class_conv1": (size, size, pyramid, units),
        "mrcnn_class_conv2": (1, 1, units, units),
    }
    kernels.expect({name: shape for name, shape in expected.items() if name in kernels})
    if "NUM_CLASSES" in found:
        classes = min(found["NUM_CLASSES"], MAX_CLASSES)
        heads: dict[str, tuple[int, ...]] = {
            "mrcnn_class_logits": (units, classes),
            "mrcnn_bbox_fc": (units, 4 * classes),
        }
        if found["USE_MASKS"]:
            heads["mrcnn_mask"] = (1, 1, kernels["mrcnn_mask"][-2], classes)
        kernels.expect(heads)
