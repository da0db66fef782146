"""Weights written for other packages."""

from __future__ import annotations

import keras
import numpy as np

from mrcnn import dialects
from mrcnn.network.backbones.resnet import BLOCKS
from mrcnn.network.layers.basic import layer_weights
from mrcnn.weights.files.tensors import write_safetensors
from mrcnn.weights.maps import torchvision


def write_torchvision(path, layers, config):
    """Writes weights under torchvision's names, as `maskrcnn_resnet50_fpn` takes them.

    In Python with PyTorch: ``model.load_state_dict(safetensors.torch.load_file(path))``, into a
    model of as many classes. Where the epsilon is 0, as in the published first version, say so
    there too: ``torchvision.models.detection._utils.overwrite_eps(model, 0.0)``. What was read from
    such a file is written back the same to the last bit.

    Args:
        path: of the .safetensors file.
        layers: the layers of the network.
        config: its Config, with a NUMERICS of torchvision.

    Raises:
        ValueError: a network that torchvision does not have.
        OSError: the file cannot be written.
    """
    if config.NUMERICS not in ("torchvision", "torchvision_v2"):
        raise ValueError(
            f"Only a model of NUMERICS 'torchvision' or 'torchvision_v2' runs there, this one has "
            f"{config.NUMERICS!r}: start training from weights of torchvision, "
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
            "batch normalisation, 4 convolutions in the mask head and a POOL_SIZE of 7."
        )
    arrays = {
        entry.theirs: entry.layout.to_theirs(keras.ops.convert_to_numpy(weights[place].value))
        for place, entry in places.items()
    }
    if dialects.of(config).resnet.epsilon:  # live normalisation, which counts its batches
        means = [name for name in arrays if name.endswith("running_mean")]
        count = np.zeros((), np.int64)
        arrays |= {name.replace("running_mean", "num_batches_tracked"): count for name in means}
    write_safetensors(path, arrays)
