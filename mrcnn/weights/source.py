"""Opens weight files of any origin, with layers under our names and in our layouts.

HDF5 files are ours or Matterport's. Files that end in .pth, .pt, .pkl or .safetensors are
torchvision's (including its ResNets for ImageNet) or Detectron2's. Nothing in a file is executed;
see `reading.py`, `tensors.py` and `pickles.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mrcnn import dialects
from mrcnn.config import Config
from mrcnn.errors import reading, shorten
from mrcnn.network.layers.plan import is_head
from mrcnn.weights.coco import CLASS_NAMES, NAMES_BY_CATEGORY
from mrcnn.weights.files import mapping, pickles, tensors, zips
from mrcnn.weights.files.reading import LayerWeights, open_weights, read_metadata
from mrcnn.weights.layouts import Entry
from mrcnn.weights.maps import families, matterport, torchvision
from mrcnn.weights.shapes import Shapes

# Keys under which training scripts save the state dict.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state")
# Ends of names of tensors that are not learned: counters, and constants that our Config holds.
_NOT_LEARNED = ("num_batches_tracked", "pixel_mean", "pixel_std")


@dataclass
class Source:
    """An open weight file.

    Attributes:
        path: str. The file.
        layers: dict of LayerWeights by name of our layer. They are read when they are accessed.
        dialect: str or None. The `NUMERICS` that the weights were trained with. None: unknown.
        settings: dict. Values of Config that the file implies. The weights do not fit a network
            with other values.
        class_names: list of str or None. Names by class id, background first. None: unknown.
        unexpected: list of str. Tensors that none of our layers has.
        ignored: list of str. Tensors that are not learned.
        bgr: bool. Whether the network was trained on BGR images.
    """

    path: str
    layers: dict[str, LayerWeights]
    dialect: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] | None = None
    unexpected: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    bgr: bool = False


@contextmanager
def open_source(path: str | os.PathLike) -> Iterator[Source]:
    """Opens a weight file of any origin.

    Args:
        path: str or path.

    Yields:
        Source.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of unknown origin, or with anything but weights.
    """
    path = Path(path)
    if path.is_file() and not h5py.is_hdf5(path) and path.suffix not in (".h5", ".hdf5"):
        with reading(path, "weights of torchvision or Detectron2"):
            source = _checked(_of_pytorch(path))
        yield source
        return
    with open_weights(path) as layers:
        with reading(path, "an HDF5 file of weights"):
            source = _checked(_of_hdf5(path, layers))
        yield source


def _checked(source):
    """Returns a source whose settings are values that `Config` takes, such as no width of 0.

    Those of a backbone alone are checked when a network adopts them.
    """
    if set(source.settings) - {"BACKBONE", "BACKBONE_WIDTH", "IMAGE_CHANNEL_COUNT"}:
        checks = Config._collect("CHECKS")
        for name, value in source.settings.items():
            if name in checks and not checks[name].accepts(value):
                raise ValueError(
                    f"it has {name} = {shorten(value)}, expected {checks[name].expected}"
                )
    return source


# --- Ours and Matterport's -----------------------------------------------------------------------
def _of_hdf5(path, layers) -> Source:
    metadata = read_metadata(path)
    source = Source(str(path), layers)
    classes = metadata.get("classes")
    if isinstance(classes, list) and all(isinstance(name, str) for name in classes):
        source.class_names = classes
    dialect = metadata.get("numerics")
    if isinstance(dialect, str) and dialect != "standard" and dialect in dialects.names():
        source.dialect = dialect
        source.settings = {"BATCH_NORM_EPSILON": metadata.get("batch_norm_epsilon")}
    head = layers.get("mrcnn_class_conv1", {})
    # Matterport's box head consists of convolutions, ours of Dense layers.
    is_matterport = any(len(head.shape(name)) == 4 for name in head)
    # Keras' first ResNet-50 for ImageNet, from which Matterport's training started, has no heads.
    # Its convolutions have biases, and it was trained on BGR images.
    has_heads = any(is_head(name) for name in layers)
    source.bgr = not has_heads and len(layers.get("res2a_branch2a", ())) == 2
    if is_matterport or source.bgr:
        source.dialect = "matterport"
    if is_matterport:
        source.settings = matterport.settings(path, layers)
        source.class_names = source.class_names or _coco_names(source.settings.get("NUM_CLASSES"))
    return source


# --- torchvision's and Detectron2's --------------------------------------------------------------
def _of_pytorch(path) -> Source:
    arrays = _state_dict(_read(path), path)
    family = next((f for f in families() if any(f.PREFIX in name for name in arrays)), None)
    if family is None:
        return _of_backbone(path, arrays)
    # A wrapper may have added a prefix to all names, such as "module.".
    some = next(name for name in arrays if family.PREFIX in name)
    prefix = some.partition(family.PREFIX)[0]
    modern = {family.modern(name.removeprefix(prefix)): name for name in arrays}
    shapes = Shapes(path, {name: arrays[theirs].shape for name, theirs in modern.items()})
    settings = family.settings(shapes) | {"NUMERICS": family.dialect_of(shapes), "POOL_SIZE": 7}
    source = _of_entries(path, arrays, modern, family.entries(settings))
    source.dialect, source.settings = settings.pop("NUMERICS"), settings
    source.class_names = _coco_names(settings["NUM_CLASSES"])
    return source


def _of_backbone(path, arrays) -> Source:
    """Reads a ResNet of torchvision for ImageNet. Networks of any dialect can start from it."""
    modern = {torchvision.PREFIX + name.removeprefix("module."): name for name in arrays}
    shapes = Shapes(path, {name: arrays[theirs].shape for name, theirs in modern.items()})
    if f"{torchvision.PREFIX}layer1.0.conv1.weight" not in shapes:
        raise ValueError(
            f"{path} is neither a Mask R-CNN of torchvision or Detectron2 with a ResNet and FPN, "
            "nor a ResNet of torchvision. Its first tensors are "
            f"{', '.join(map(shorten, list(arrays)[:4])) or 'none'}."
        )
    settings = torchvision.backbone_settings(shapes)
    source = _of_entries(path, arrays, modern, torchvision.backbone_entries(settings))
    source.settings = settings
    return source


def _of_entries(path, arrays, modern, entries) -> Source:
    """Assigns the tensors of a file to our layers.

    Args:
        path: Path. The file.
        arrays: dict of arrays by name.
        modern: dict. Name in the file by current name.
        entries: list of layouts.Entry.
    """
    layers: dict[str, dict] = {}
    used = set()
    for entry in entries:
        if entry.theirs in modern:
            theirs = modern[entry.theirs]
            converted = _Converted(path, theirs, arrays[theirs], entry)
            layers.setdefault(entry.layer, {})[entry.weight] = converted
            used.add(theirs)
    source = Source(str(path), {name: LayerWeights(found, path) for name, found in layers.items()})
    for name in arrays:
        if name not in used:
            ignored = name.endswith(_NOT_LEARNED) or "cell_anchors" in name
            (source.ignored if ignored else source.unexpected).append(name)
    return source


def _read(path):
    """Returns the content of a file in any format of PyTorch, with arrays instead of tensors."""
    file = mapping.MappedFile(path)
    if path.suffix == ".safetensors" or file.memory[8:9] == b"{":
        return tensors.read_safetensors(path)
    if zips.starts_zip(file) or path.suffix in (".pth", ".pt"):
        return tensors.read_torch(path)
    return pickles.load(file.memory, path)


def _state_dict(content, path) -> dict:
    """Returns the tensors by name, without what a training script saved beside them."""
    for _ in range(3):  # wrappers may be nested
        if not isinstance(content, dict) or any(
            isinstance(v, np.ndarray) for v in content.values()
        ):
            break
        content = next((content[key] for key in _WRAPPERS if key in content), None)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} has no dict of tensors, neither at the top nor under "
            f"{', '.join(map(repr, _WRAPPERS))}. Save model.state_dict()."
        )
    return {str(name): value for name, value in content.items() if isinstance(value, np.ndarray)}


class _Converted:
    """An array of a file that is converted to our layout when it is read.

    Args:
        path: Path. The file, named in errors.
        name: str. The tensor, named in errors.
        array: array, as in the file.
        entry: layouts.Entry.
    """

    def __init__(self, path, name, array, entry: Entry):
        if array.dtype.kind != "f":
            raise ValueError(
                f"{path}: {shorten(name)} has dtype {array.dtype}, expected floating-point numbers."
            )
        self._array, self._layout = array, entry.layout
        try:
            # Computes the shape without reading the array.
            self.shape = entry.layout.to_ours(np.broadcast_to(np.int8(0), array.shape)).shape
        except (ValueError, IndexError, TypeError) as error:
            raise ValueError(
                f"{path}: {shorten(name)} has shape {array.shape}, which is not possible for the "
                f"{entry.weight} of {entry.layer}."
            ) from error

    def __getitem__(self, _):
        return self._layout.to_ours(self._array)

    def release(self):
        """Frees the memory that reading took."""
        mapping.release(self._array)


def _coco_names(classes) -> list[str] | None:
    return {91: NAMES_BY_CATEGORY, 81: CLASS_NAMES}.get(classes)
