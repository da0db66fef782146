"""Makes small weight files of torchvision and Detectron2 for tests."""

import re

import numpy as np
from tiny import TinyConfig

from mrcnn import MaskRCNN
from mrcnn.weights.files.tensors import read_safetensors


class TinyForeign(TinyConfig):
    """A tiny network with the mask head of these packages."""

    NUM_CLASSES = 5
    MASK_CONV_LAYERS = 4


def torchvision_arrays(folder, numerics="torchvision", backbone="resnet18", **settings):
    """Returns the state dict of a tiny network by torchvision's current names; seeded."""
    config = TinyForeign(NUMERICS=numerics, BACKBONE=backbone, **settings)
    path = folder / "made.safetensors"
    MaskRCNN("inference", config).save_torchvision(path)
    rng = np.random.default_rng(0)
    arrays = {}
    for name, array in read_safetensors(path).items():
        arrays[name] = np.array(array)
        if name.endswith(("running_mean", "running_var", "bias")):
            arrays[name] = np.abs(rng.normal(size=array.shape)).astype("float32") + 0.1
    return arrays


def old_names(arrays):
    """Renames the arrays as before torchvision 0.13, as in the published file."""
    renamed = {}
    for name, array in arrays.items():
        name = re.sub(r"(_blocks\.\d)\.0\.", r"\1.", name)
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        mask = re.match(r"roi_heads\.mask_head\.(\d)\.0\.(.*)", name)
        name = f"roi_heads.mask_head.mask_fcn{int(mask[1]) + 1}.{mask[2]}" if mask else name
        renamed[name] = array
    return renamed


# torchvision's names -> Detectron2's, in order.
_RENAME = [
    (r"^backbone\.body\.(conv1|bn1)", r"backbone.bottom_up.stem.\1"),
    (r"^backbone\.body\.layer(\d)", lambda m: f"backbone.bottom_up.res{int(m[1]) + 1}"),
    (r"downsample\.0", "shortcut"),
    (r"downsample\.1", "shortcut.norm"),
    (r"bn(\d)\.", r"conv\1.norm."),
    (r"inner_blocks\.(\d)\.0", lambda m: f"_lateral{int(m[1]) + 2}"),
    (r"layer_blocks\.(\d)\.0", lambda m: f"_output{int(m[1]) + 2}"),
    (r"fpn\._", "fpn_"),
    (r"^rpn\.head\.conv\.0\.0", "proposal_generator.rpn_head.conv"),
    (r"^rpn\.head\.cls_logits", "proposal_generator.rpn_head.objectness_logits"),
    (r"^rpn\.head\.bbox_pred", "proposal_generator.rpn_head.anchor_deltas"),
    ("fc6", "fc1"),
    ("fc7", "fc2"),
    (r"mask_head\.(\d)\.0", lambda m: f"mask_head.mask_fcn{int(m[1]) + 1}"),
    (r"mask_predictor\.conv5_mask", "mask_head.deconv"),
    (r"mask_predictor\.mask_fcn_logits", "mask_head.predictor"),
]


def detectron2_arrays(folder):
    """Returns a tiny network as Detectron2 saves it: background last or missing, BGR stem."""
    arrays = {}
    for name, array in torchvision_arrays(folder).items():
        if "bbox_pred" in name and "roi_heads" in name:
            array = array[4:]
        elif "mask_fcn_logits" in name:
            array = array[1:]
        elif "cls_score" in name:
            array = np.roll(array, -1, axis=0)
        elif name == "backbone.body.conv1.weight":
            array = array[:, ::-1]
        for pattern, replacement in _RENAME:
            name = re.sub(pattern, replacement, name)
        arrays[name] = array
    return arrays
