"""Weights go into layers: matched by name, checked by shape, all or nothing, with a report."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np

from mrcnn.network.layers.basic import is_head, layer_weights
from mrcnn.weights.files.reading import NESTED, finite
from mrcnn.weights.source import Source, open_source

logger = logging.getLogger("mrcnn")

# Layers whose last axis counts classes: C, 4C and C channels (Matterport's names).
CLASS_LAYERS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}


@dataclass
class LoadReport:
    """What became of each layer when weights were loaded.

    Attributes:
        path: the file.
        loaded: names of the layers that took their weights from it.
        missing: layers of the model that the file does not have; they keep their values.
        unexpected: layers of the file that the model does not have, or tensors that no model has.
        mismatched: layers whose shapes differ; always excluded ones, since others are an error.
        excluded: layers left out on request.
        ignored: tensors of the file that hold nothing learned, such as counters.
    """

    path: str = ""
    loaded: list = field(default_factory=list)
    missing: list = field(default_factory=list)
    unexpected: list = field(default_factory=list)
    mismatched: list = field(default_factory=list)
    excluded: list = field(default_factory=list)
    ignored: list = field(default_factory=list)

    def summary(self) -> str:
        """The report in a line a kind."""
        lines = [f"{self.path}: loaded {len(self.loaded)} layers"]
        for kind in ("missing", "unexpected", "mismatched", "excluded", "ignored"):
            names = getattr(self, kind)
            if names:
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                lines.append(f"  {kind}: {len(names)} ({', '.join(names[:8])}{more})")
        return "\n".join(lines)


def load_weights(path, layers, exclude=None) -> LoadReport:
    """Sets the weights of layers from a file of any family, see `load`."""
    with open_source(path) as source:
        return load(source, layers, exclude)


def load(source: Source, layers, exclude=None) -> LoadReport:
    """Sets the weights of layers from an open file, matched by layer name.

    Within a layer, weights are matched by the last part of their names (kernel, bias, gamma ...),
    or by order where the names differ. Nothing is set unless everything fits.

    Args:
        source: see `source.open_source`; the layers that were loaded leave it.
        layers: keras layers.
        exclude: names of layers to leave as they are; None: none.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weight file; a layer of another shape; no layer in common; an excluded
            name that neither file nor model has.
    """
    path, file = source.path, source.layers
    report = LoadReport(path=path, ignored=source.ignored)
    exclude = set([exclude] if isinstance(exclude, str) else exclude or ())
    exclude |= {layer for layer, group in NESTED.items() if group in exclude}
    model = {layer.name: layer for layer in layers if layer_weights(layer)}
    known = {layer.name for layer in layers} | set(file) | set(NESTED.values())
    unknown = sorted(exclude - known)
    if unknown:
        raise ValueError(f"exclude names layers that do not exist: {', '.join(unknown)}.")
    report.unexpected = source.unexpected + [name for name in file if name not in model]
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
    for name, found in pairs.items():
        for key, _ in found:
            finite(path, name, file[name][key])
        file[name].release()
    for name, found in pairs.items():
        layer = file.pop(name)  # its part of the file is let go
        for key, weight in found:
            weight.assign(_adapted(layer[key], weight, name, source.bgr))
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
    backbone = [name for name in model if not is_head(name) and name not in exclude]
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


def _some(names) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (" ..." if len(names) > 4 else "") if names else "none"
