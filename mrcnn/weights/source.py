"""A weight file of any family, opened: its layers in our names and layouts, and what it tells.

HDF5 files are ours or Matterport's; .pth, .pt, .pkl and .safetensors files torchvision's (its
ResNets for ImageNet, too) or Detectron2's. Nothing in a file is executed, see `reading.py`,
`tensors.py` and `pickles.py`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from mrcnn import dialects
from mrcnn.network.layers.basic import is_head
from mrcnn.weights.coco import CLASS_NAMES, NAMES_BY_CATEGORY
from mrcnn.weights.files import pickles, tensors
from mrcnn.weights.files.reading import LayerWeights, open_weights, read_metadata
from mrcnn.weights.layouts import Entry
from mrcnn.weights.maps import families, matterport, torchvision
from mrcnn.weights.shapes import Shapes

_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state")
# Tensors that hold nothing learned: counters, and what a network of ours makes by itself.
_IDLE = ("num_batches_tracked", "pixel_mean", "pixel_std")


@dataclass
class Source:
    """An open weight file.

    Attributes:
        path: of the file.
        layers: name of a layer of ours -> its weights, read when they are asked for.
        dialect: NUMERICS that the weights were trained with; None: unknown.
        settings: settings of Config that the file tells; those of another network than the
            Config's cannot take the weights.
        class_names: background first; None: unknown.
        unexpected: names of tensors that no layer of ours takes.
        ignored: names of tensors that hold nothing learned.
        bgr: the network was trained on BGR images.
    """

    path: str
    layers: Mapping[str, LayerWeights]
    dialect: str | None = None
    settings: dict = field(default_factory=dict)
    class_names: list | None = None
    unexpected: list = field(default_factory=list)
    ignored: list = field(default_factory=list)
    bgr: bool = False


@contextmanager
def open_source(path):
    """Opens a weight file of any family.

    Yields:
        Source.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of an unknown family, or asking for anything but weights.
    """
    path = Path(path)
    if path.is_file() and not h5py.is_hdf5(path) and path.suffix not in (".h5", ".hdf5"):
        yield _of_pytorch(path)
        return
    with open_weights(path) as layers:
        yield _of_hdf5(path, layers)


# --- Ours and Matterport's -----------------------------------------------------------------------
def _of_hdf5(path, layers) -> Source:
    metadata, source = read_metadata(path), Source(str(path), layers)
    classes = metadata.get("classes")
    if isinstance(classes, list) and all(isinstance(name, str) for name in classes):
        source.class_names = classes
    dialect = metadata.get("numerics")
    if isinstance(dialect, str) and dialect != "standard" and dialect in dialects.names():
        source.dialect = dialect
        source.settings = {"BATCH_NORM_EPSILON": metadata.get("batch_norm_epsilon")}
    head = layers.get("mrcnn_class_conv1", {})
    convolutions = any(len(head.shape(name)) == 4 for name in head)  # ours are Dense
    # Keras' first ResNet-50, which Matterport's weights were trained from: biases, and no head.
    heads = any(is_head(name) for name in layers)
    source.bgr = not heads and len(layers.get("res2a_branch2a", ())) == 2
    if convolutions or source.bgr:
        source.dialect = "matterport"
    if convolutions:
        source.settings = matterport.settings(layers)
        source.class_names = source.class_names or _coco_names(source.settings.get("NUM_CLASSES"))
    return source


# --- torchvision's and Detectron2's --------------------------------------------------------------
def _of_pytorch(path) -> Source:
    arrays = _state_dict(_read(path), path)
    family = next((f for f in families() if any(f.PREFIX in name for name in arrays)), None)
    if family is None:
        return _of_backbone(path, arrays)
    # A wrapper may have put a word in front of all names, such as "module.".
    some = next(name for name in arrays if family.PREFIX in name)
    lead = some.partition(family.PREFIX)[0]
    modern = {family.modern(name.removeprefix(lead)): name for name in arrays}
    shapes = Shapes(path, {name: arrays[theirs].shape for name, theirs in modern.items()})
    settings = family.settings(shapes) | {"NUMERICS": family.dialect_of(shapes), "POOL_SIZE": 7}
    source = _of_entries(path, arrays, modern, family.entries(settings))
    source.dialect, source.settings = settings.pop("NUMERICS"), settings
    source.class_names = _coco_names(settings["NUM_CLASSES"])
    return source


def _of_backbone(path, arrays) -> Source:
    """A ResNet of torchvision, as for ImageNet: any training may start from it."""
    modern = {torchvision.PREFIX + name.removeprefix("module."): name for name in arrays}
    shapes = Shapes(path, {name: arrays[theirs].shape for name, theirs in modern.items()})
    if f"{torchvision.PREFIX}layer1.0.conv1.weight" not in shapes:
        raise ValueError(
            f"{path} holds no Mask R-CNN of torchvision or Detectron2 with a ResNet and FPN, nor a "
            f"ResNet of torchvision: its tensors are {', '.join(list(arrays)[:4]) or 'none'}."
        )
    settings = torchvision.backbone_settings(shapes)
    source = _of_entries(path, arrays, modern, torchvision.backbone_entries(settings))
    source.settings = settings
    return source


def _of_entries(path, arrays, modern, entries) -> Source:
    """The tensors of a file as layers of ours.

    Args:
        path: of the file.
        arrays: by name.
        modern: today's name -> name in the file.
        entries: see `layouts.Entry`.
    """
    layers, used = {}, set()
    for entry in entries:
        if entry.theirs in modern:
            theirs = modern[entry.theirs]
            turned = _Turned(path, theirs, arrays[theirs], entry)
            layers.setdefault(entry.layer, {})[entry.weight] = turned
            used.add(theirs)
    source = Source(str(path), {name: LayerWeights(found) for name, found in layers.items()})
    for name in arrays:
        if name not in used:
            idle = name.endswith(_IDLE) or "cell_anchors" in name
            (source.ignored if idle else source.unexpected).append(name)
    return source


def _read(path):
    """Whatever the file holds, arrays in place of tensors."""
    with open(path, "rb") as file:
        begin = file.read(16)
    if path.suffix == ".safetensors" or begin[8:9] == b"{":
        return tensors.read_safetensors(path)
    if zipfile.is_zipfile(path) or path.suffix in (".pth", ".pt"):
        return tensors.read_torch(path)
    with open(path, "rb") as file:
        return pickles.load(file, path)


def _state_dict(content, path) -> dict:
    """The tensors by name, out of what a training script saved beside them."""
    for _ in range(3):
        if not isinstance(content, dict) or any(
            isinstance(v, np.ndarray) for v in content.values()
        ):
            break
        content = next((content[key] for key in _WRAPPERS if key in content), None)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds no dict of tensors, neither by itself nor under "
            f"{', '.join(map(repr, _WRAPPERS))}. Save model.state_dict()."
        )
    return {str(name): value for name, value in content.items() if isinstance(value, np.ndarray)}


class _Turned:
    """An array of a file in our layout, turned when it is read."""

    def __init__(self, path, name, array, entry: Entry):
        if array.dtype.kind != "f":
            raise ValueError(
                f"{path}: {name} holds {array.dtype} numbers, expected floating point."
            )
        self._array, self._layout = array, entry.layout
        try:
            self.shape = entry.layout.to_ours(np.broadcast_to(np.int8(0), array.shape)).shape
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{path}: {name} has shape {array.shape}, which is not that of a {entry.weight} of "
                f"{entry.layer}."
            ) from error

    def __getitem__(self, _):
        return self._layout.to_ours(self._array)

    def release(self):
        """See `LayerWeights.release`."""
        tensors.release(self._array)


def _coco_names(classes) -> list | None:
    return {91: NAMES_BY_CATEGORY, 81: CLASS_NAMES}.get(classes)
