"""Weights for torchvision."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from mrcnn import dialects
from mrcnn.network.backbones.resnet import BLOCKS
from mrcnn.network.layers.basic import layer_weights
from mrcnn.weights.files.tensors import write_safetensors
from mrcnn.weights.maps import torchvision

SUFFIX = ".safetensors"


def write(model: Any, path: str | os.PathLike) -> None:
    """Writes weights under torchvision's names, for `maskrcnn_resnet50_fpn` or its second version.

    In Python with PyTorch: ``model.load_state_dict(safetensors.torch.load_file(path))``, into a
    model with the same number of classes. If the epsilon is 0, as in the published first version,
    set it there too: ``torchvision.models.detection._utils.overwrite_eps(model, 0.0)``. Weights
    that were read from torchvision and not trained are written back bit by bit.

    Args:
        model: MaskRCNN. Its NUMERICS is a dialect of torchvision.
        path: str or path. The .safetensors file.

    Raises:
        ValueError: a network that torchvision does not have.
        OSError: the file cannot be written.
    """
    config, layers = model.config, model.network.layers
    if config.NUMERICS not in ("torchvision", "torchvision_v2"):
        raise ValueError(
            f"Only a model with NUMERICS 'torchvision' or 'torchvision_v2' runs there, this one "
            f"has {config.NUMERICS!r}: start training from weights of torchvision, "
            "MaskRCNN.from_weights(file)."
        )
    weights = {
        (layer.name, weight.name): weight for layer in layers for weight in layer_weights(layer)
    }
    entries = torchvision.entries(config.to_dict()) if config.BACKBONE in BLOCKS else []
    places = {(entry.layer, entry.weight): entry for entry in entries}
    if set(places) != set(weights):
        other = sorted({layer for layer, _ in set(places) ^ set(weights)})
        raise ValueError(
            f"torchvision has no such network: {', '.join(other[:6])} differ. It has a ResNet, "
            "batch normalization, 4 convolutions in the mask head and a POOL_SIZE of 7."
        )
    arrays = {
        entry.theirs: entry.layout.to_theirs(keras.ops.convert_to_numpy(weights[place].value))
        for place, entry in places.items()
    }
    if dialects.of(config).resnet.epsilon:  # live normalization counts its batches
        means = [name for name in arrays if name.endswith("running_mean")]
        count = np.zeros((), np.int64)
        arrays |= {name.replace("running_mean", "num_batches_tracked"): count for name in means}
    write_safetensors(path, arrays)
