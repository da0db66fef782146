"""Export of weights to torchvision."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from mrcnn import dialects
from mrcnn.network.layers.basic import layer_weights
from mrcnn.network.layers.plan import BLOCKS
from mrcnn.weights.files.tensors import write_safetensors
from mrcnn.weights.maps import torchvision

SUFFIX = ".safetensors"


def write(model: Any, path: str | os.PathLike) -> None:
    """Writes weights under the names that torchvision uses.

    They fit `maskrcnn_resnet50_fpn` or `maskrcnn_resnet50_fpn_v2` of torchvision, or the same
    network with another ResNet. Create it with the same number of classes and load the file:
    `model.load_state_dict(safetensors.torch.load_file(path))`.

    If the epsilon of the batch normalization is 0, as in the published weights of the first
    version, also set it in torchvision:
    `torchvision.models.detection._utils.overwrite_eps(model, 0.0)`.

    Weights that were read from torchvision and not trained are written back bit by bit.

    Args:
        model: MaskRCNN. Its `NUMERICS` is "torchvision" or "torchvision_v2".
        path: str or path. The .safetensors file.

    Raises:
        ValueError: another dialect, or a network that torchvision does not have.
        OSError: the file cannot be written.
    """
    config = model.config
    layers = model.network.layers
    if config.NUMERICS not in ("torchvision", "torchvision_v2"):
        raise ValueError(
            "An export to torchvision needs a model with NUMERICS 'torchvision' or "
            f"'torchvision_v2', this one has {config.NUMERICS!r}. Start the training from weights "
            "of torchvision: MaskRCNN.from_weights(file)."
        )
    weights = {
        (layer.name, weight.name): weight for layer in layers for weight in layer_weights(layer)
    }
    entries = torchvision.entries(config.to_dict()) if config.BACKBONE in BLOCKS else []
    # torchvision's entry for each weight of this network.
    places = {(entry.layer, entry.weight): entry for entry in entries}
    if set(places) != set(weights):
        other = sorted({layer for layer, _ in set(places) ^ set(weights)})
        raise ValueError(
            f"torchvision has no such network: {', '.join(other[:6])} differ. Its networks have a "
            "ResNet, batch normalization, 4 convolutions in the mask head and a POOL_SIZE of 7."
        )
    arrays = {}
    for place, entry in places.items():
        to_theirs: Any = entry.layout.to_theirs  # no layout of torchvision lacks an inverse
        arrays[entry.theirs] = to_theirs(keras.ops.convert_to_numpy(weights[place].value))
    if dialects.of(config).resnet.epsilon:
        # PyTorch counts the batches of a batch normalization that is not frozen.
        means = [name for name in arrays if name.endswith("running_mean")]
        count = np.zeros((), np.int64)
        arrays |= {name.replace("running_mean", "num_batches_tracked"): count for name in means}
    write_safetensors(path, arrays)
