"""Checkpoints: one HDF5 file in Matterport's (Keras 2) layout.

Root attributes `layer_names`, `backend` and `keras_version`; one group a layer with the attribute
`weight_names`; datasets such as `conv1/conv1/kernel:0`. Old tools read these files by name. Two
things are added, which they ignore: the attribute `mrcnn_metadata` (JSON) and the group
`optimizer_weights`.

Reading (`reading.py`) trusts nothing in a file; a shape is compared with the model's own before a
dataset is read.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field

import h5py
import keras
import numpy as np

from mrcnn.network.assemble import layer_weights
from mrcnn.ops.files import atomic_path
from mrcnn.weights.reading import (
    METADATA,
    NESTED,
    numbers,
    open_file,
    open_weights,
    own,
    read_metadata,
    read_weights,
)

__all__ = [
    "CLASS_LAYERS",
    "LoadReport",
    "load_optimizer",
    "load_weights",
    "open_weights",
    "optimizer_state",
    "read_metadata",
    "read_weights",
    "weight_names",
    "write_weights",
]

logger = logging.getLogger("mrcnn")

# Layers whose last axis counts classes: C, 4C and C channels (Matterport's names).
CLASS_LAYERS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}
_OPTIMIZER = "optimizer_weights"
# HDF5 keeps the attributes of an object in 64 KB; longer lists are split as Keras 2 splits them.
_ATTRIBUTE_BYTES = 64000


@dataclass
class LoadReport:
    """What became of each layer when weights were loaded.

    Attributes:
        path: the file.
        loaded: names of the layers that took their weights from it.
        missing: layers of the model that the file does not have; they keep their values.
        unexpected: layers of the file that the model does not have.
        mismatched: layers whose shapes differ; always excluded ones, since others are an error.
        excluded: layers left out on request.
    """

    path: str = ""
    loaded: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    mismatched: list = field(default_factory=list)
    excluded: list = field(default_factory=list)

    def summary(self) -> str:
        """The report in a line a kind."""
        lines = [f"{self.path}: loaded {len(self.loaded)} layers"]
        for kind in ("missing", "unexpected", "mismatched", "excluded"):
            names = getattr(self, kind)
            if names:
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                lines.append(f"  {kind}: {len(names)} ({', '.join(names[:8])}{more})")
        return "\n".join(lines)


# --- Writing -------------------------------------------------------------------------------------
def write_weights(path, layers, optimizer=None, metadata: dict | None = None):
    """Writes a checkpoint whole or not at all.

    Args:
        path: of the file; its folder is made when missing.
        layers: keras layers; those without weights are named in the file and no more.
        optimizer: a built keras optimizer whose state is kept too; None: none.
        metadata: anything JSON can hold, such as epoch, name and class names.

    Raises:
        OSError: the file cannot be written, as on a full disk; a file of that name stays whole.
        ValueError: two layers with weights of one name.
    """
    layers = list(layers)
    names = [layer.name for layer in layers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"layers must have names of their own, repeated: {', '.join(repeated)}.")
    # Made in memory and written by Python: HDF5 itself crashes the process on a full disk.
    with h5py.File("memory", "w", driver="core", block_size=2**20, backing_store=False) as file:
        _write_layers(file, layers)
        if metadata is not None:
            file.attrs[METADATA] = json.dumps(metadata)
        if optimizer is not None:
            group = file.create_group(_OPTIMIZER)
            for name, variable in optimizer_state(optimizer).items():
                group.create_dataset(name, data=keras.ops.convert_to_numpy(variable.value))
        file.flush()
        image = file.id.get_file_image()
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)


def _write_layers(file, layers):
    groups = {}  # of the file: name -> the layers in it
    for layer in layers:
        groups.setdefault(NESTED.get(layer.name, layer.name), []).append(layer)
    _write_names(file, "layer_names", list(groups))
    file.attrs["backend"] = "tensorflow"
    # Keras 2 takes a file without this, or with 1, for one of Keras 1 and swaps kernel axes.
    file.attrs["keras_version"] = "2.15.0"
    for name, members in groups.items():
        weights = {
            f"{layer.name}/{weight_name}:0": weight
            for layer in members
            for weight_name, weight in zip(weight_names(layer), layer_weights(layer), strict=True)
        }
        group = file.create_group(name)
        _write_names(group, "weight_names", list(weights))
        for key, weight in weights.items():
            group.create_dataset(key, data=keras.ops.convert_to_numpy(weight.value))


def is_matterport(path) -> bool:
    """Whether a file holds weights of Matterport's arithmetic: a box head of convolutions.

    Ours has fully connected layers there, in every other dialect. Keras' first ResNet-50, which
    those were trained from, counts too.
    """
    with open_weights(path) as file:
        head = file.get("mrcnn_class_conv1", ())
        return any(len(head.shape(name)) == 4 for name in head) or _is_imagenet(file)


def _is_imagenet(file):
    """Whether these are the weights of Keras' first ResNet-50: convolutions with biases, no head.

    It was trained on BGR images.
    """
    heads = any(name.startswith(("mrcnn_", "rpn_", "fpn_")) for name in file)
    return not heads and len(file.get("res2a_branch2a", ())) == 2


def weight_names(layer) -> list[str]:
    """Names of a layer's weights, each once: "kernel", or a longer path where that repeats."""
    names = [weight.name for weight in layer_weights(layer)]
    if len(set(names)) < len(names):
        names = [weight.path.removeprefix(f"{layer.name}/") for weight in layer_weights(layer)]
    return names


def _write_names(item, name, values):
    encoded = [value.encode() for value in values]
    width = max(map(len, encoded), default=1)
    if len(encoded) * width <= _ATTRIBUTE_BYTES:
        item.attrs[name] = np.array(encoded, dtype=f"S{max(width, 1)}")
        return
    rows = _ATTRIBUTE_BYTES // width
    for part, start in enumerate(range(0, len(encoded), rows)):
        item.attrs[f"{name}{part}"] = np.array(encoded[start : start + rows], dtype=f"S{width}")


# --- Loading -------------------------------------------------------------------------------------
def load_weights(path, layers, exclude=None) -> LoadReport:
    """Sets the weights of layers from a file, matched by layer name.

    Within a layer, weights are matched by the last part of their names (kernel, bias, gamma ...),
    or by order where the names differ. Nothing is set unless everything fits.

    Args:
        path: a checkpoint, or another file in the same layout.
        layers: keras layers.
        exclude: names of layers to leave as they are; None: none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weight file; a layer of another shape; no layer in common; an excluded
            name that neither file nor model has.
    """
    report = LoadReport(path=str(path))
    exclude = set([exclude] if isinstance(exclude, str) else exclude or ())
    exclude |= {layer for layer, group in NESTED.items() if group in exclude}
    model = {layer.name: layer for layer in layers if layer_weights(layer)}
    with open_weights(path) as file:
        known = {layer.name for layer in layers} | set(file) | set(NESTED.values())
        unknown = sorted(exclude - known)
        if unknown:
            raise ValueError(f"exclude names layers that do not exist: {', '.join(unknown)}.")
        report.unexpected = [name for name in file if name not in model]
        report.missing = [name for name in model if name not in file]
        pairs, mismatched = {}, {}
        for name in (name for name in model if name in file):
            found = _match(model[name], file[name])
            fits = found is not None and all(
                _fits(name, file[name].shape(key), tuple(weight.shape)) for key, weight in found
            )
            if name in exclude:
                report.excluded.append(name)
                report.mismatched += [] if fits else [name]
            elif fits:
                pairs[name] = found
            else:
                mismatched[name] = _shapes_text(model[name], file[name])
        _raise_on_mismatch(path, mismatched, model, file)
        if not pairs:
            raise ValueError(
                f"{path}: no layer of the file has a name of the model's. The file has "
                f"{_some(file)}; the model has {_some(model)}. Set BACKBONE and the other settings "
                "of the network to what the file was trained with."
            )
        _raise_without_backbone(path, report, pairs, exclude, model)
        bgr = _is_imagenet(file)
        values = {
            name: [
                (weight, _adapted(_finite(path, name, file[name][key]), weight, name, bgr))
                for key, weight in found
            ]
            for name, found in pairs.items()
        }
    for name, found in values.items():
        for weight, value in found:
            weight.assign(value)
        report.loaded.append(name)
    logger.log(logging.WARNING if report.missing else logging.INFO, "%s", report.summary())
    return report


def _match(layer, file) -> list | None:
    """Pairs (name in the file, variable) of a layer; None when the counts differ."""
    if len(file) != len(layer_weights(layer)):
        return None
    by_suffix = {key.split("/")[-1].split(":")[0]: key for key in file}
    names = [weight.name for weight in layer_weights(layer)]
    if len(by_suffix) == len(file) and set(names) == set(by_suffix):
        return [
            (by_suffix[name], weight)
            for name, weight in zip(names, layer_weights(layer), strict=True)
        ]
    return list(zip(file, layer_weights(layer), strict=True))


def _fits(layer, theirs, ours) -> bool:
    """Whether an array of this shape can become the weight; conv1 takes other channels too."""
    return theirs == ours or (layer == "conv1" and theirs[:2] + theirs[3:] == ours[:2] + ours[3:])


def _adapted(value, weight, layer, bgr):
    """The array with the channels in our order, RGB, and as many as the model's pictures have.

    Of an RGB network a grey picture sees the sum, as if it were given three times. Channels beyond
    the third see the mean, and all are scaled so that the response keeps its size.
    """
    if layer != "conv1" or value.ndim != 4:
        return value
    value = value[:, :, ::-1] if bgr else value
    have, want = value.shape[2], weight.shape[2]
    if have == want:
        return value
    if want == 1:
        return value.sum(axis=2, keepdims=True)
    mean = value.mean(axis=2, keepdims=True)
    more = np.repeat(mean, max(want - have, 0), axis=2)
    return np.concatenate([value[:, :, :want], more], axis=2) * (have / want)


def _raise_without_backbone(path, report, pairs, exclude, model):
    """Refuses a file that leaves most of the backbone at random."""
    heads = ("mrcnn_", "rpn_", "fpn_", "proposal_")
    backbone = [name for name in model if not name.startswith(heads) and name not in exclude]
    missing = [name for name in backbone if name not in pairs]
    if len(missing) > len(backbone) / 2:
        instead = f" It has {_some(report.unexpected)} instead." if report.unexpected else ""
        raise ValueError(
            f"{path} has weights for {len(backbone) - len(missing)} of the {len(backbone)} layers "
            f"of the backbone, so that most would stay random; missing are {_some(missing)}."
            f"{instead} Set BACKBONE to what it was trained with, or name in `exclude` what is to "
            "start anew."
        )


def _shapes_text(layer, file) -> str:
    theirs = ", ".join(str(file.shape(key)) for key in file)
    ours = ", ".join(str(tuple(weight.shape)) for weight in layer_weights(layer))
    return f"{layer.name}: file {theirs}; model {ours}"


def _raise_on_mismatch(path, mismatched, model, file):
    if not mismatched:
        return
    counts = {
        name: (_classes(name, list(map(file[name].shape, file[name]))),
               _classes(name, [tuple(w.shape) for w in layer_weights(model[name])]))
        for name in mismatched
    }  # fmt: skip
    details = "; ".join(list(mismatched.values())[:4])
    if all(theirs and ours and theirs != ours for theirs, ours in counts.values()):
        theirs, ours = next(iter(counts.values()))
        raise ValueError(
            f"{path} was trained with {theirs} classes (the background included), the model has "
            f"NUM_CLASSES = {ours}. Set NUM_CLASSES = {theirs}, or keep the rest and train new "
            f"heads: load_weights(..., exclude={list(mismatched)}). ({details})"
        )
    more = f" and {len(mismatched) - 4} layers more" if len(mismatched) > 4 else ""
    raise ValueError(
        f"{path} does not fit the model: {details}{more}. Set BACKBONE and the other settings of "
        f"the network to what the file was trained with, or leave these layers out with "
        f"exclude={list(mismatched)}."
    )


def _classes(name, shapes) -> int | None:
    """Number of classes that a class-dependent layer of these weight shapes was built for."""
    if name not in CLASS_LAYERS or not shapes or not shapes[0]:
        return None
    return shapes[0][-1] // CLASS_LAYERS[name]


def _finite(path, name, value):
    if not np.isfinite(value).all():
        raise ValueError(f"{path}: layer {name} holds NaN or infinite weights; use another file.")
    return value


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "") if names else "none"


# --- Optimizer state -----------------------------------------------------------------------------
def optimizer_state(optimizer) -> dict:
    """Variables of an optimizer by a name that no process numbers.

    Keras puts the optimizer's own name first ("sgd_1/..."), counted up in each process: it is
    dropped. Equal names get their count of occurrence.
    """
    state = {}
    for variable in optimizer.variables:
        path = getattr(variable, "path", variable.name)
        name = path.split("/", 1)[-1] or path
        unique, count = name, 1
        while unique in state:
            count += 1
            unique = f"{name}__{count}"
        state[unique] = variable
    return state


def load_optimizer(path, optimizer, learning_rate=False) -> int:
    """Restores the state of a built optimizer from a checkpoint, by name.

    Args:
        path: a checkpoint.
        optimizer: a built keras optimizer.
        learning_rate: also take the rate of the file, as a callback may have left it; otherwise
            the rate that the optimizer was made with holds.

    Returns:
        Number of variables restored; 0 when the file holds no state. Variables that the file does
        not have, or has in another shape, stay as they are, and a warning counts them.

    Raises:
        FileNotFoundError, ValueError: as `open_weights`.
    """
    state, values = optimizer_state(optimizer), {}
    if not learning_rate:
        state.pop("learning_rate", None)
    with open_file(path) as file:
        if _OPTIMIZER not in file:
            logger.warning("%s holds no optimizer state; the optimizer starts anew.", path)
            return 0
        group = own(file, _OPTIMIZER, path)
        for name, variable in state.items():
            if name in group:
                dataset = numbers(group, name, path)
                if dataset.shape == tuple(variable.shape):
                    values[name] = _finite(path, f"{_OPTIMIZER}/{name}", dataset[()])
    for name, value in values.items():
        state[name].assign(value)
    if len(values) < len(state):
        logger.warning("%s: %d of %d optimizer variables restored.", path, len(values), len(state))
    return len(values)
