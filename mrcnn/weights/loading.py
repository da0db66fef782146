"""Loads weights into layers: matched by name, checked by shape, all or none, with a report."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from mrcnn.errors import shorten
from mrcnn.network.layers.basic import layer_weights
from mrcnn.network.layers.plan import is_head
from mrcnn.weights.files.reading import NESTED, LayerWeights, finite
from mrcnn.weights.source import Source, open_source

logger = logging.getLogger("mrcnn")

# Layers whose last axis depends on the number of classes C: it is C, 4C and C.
CLASS_LAYERS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}


@dataclass
class LoadReport:
    """What happened to each layer when weights were loaded.

    Attributes:
        path: str. The file.
        loaded: list of str. Layers whose weights were loaded.
        missing: list of str. Layers of the model that the file lacks. They keep their values.
        unexpected: list of str. Layers or tensors of the file that the model lacks.
        mismatched: list of str. Layers with other shapes. All of them are excluded too, since other
            shapes are an error otherwise.
        excluded: list of str. Layers that were excluded on request.
        ignored: list of str. Tensors of the file that are not learned, such as counters.
    """

    path: str = ""
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Returns the report as text, with one line per attribute."""
        lines = [f"{self.path}: loaded {len(self.loaded)} layers"]
        for kind in ("missing", "unexpected", "mismatched", "excluded", "ignored"):
            names = getattr(self, kind)
            if names:
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                shown = ", ".join(map(_plain, names[:8]))
                lines.append(f"  {kind}: {len(names)} ({shown}{more})")
        return "\n".join(lines)


def load_weights(
    path: str | os.PathLike,
    layers: Sequence[keras.layers.Layer],
    exclude: str | Iterable[str] | None = None,
) -> LoadReport:
    """Loads the weights of layers from a file of any origin.

    Args:
        path: str or path. The file.
        layers: sequence of keras.layers.Layer.
        exclude: str, iterable of str or None. See `load`. Defaults to None.

    Returns:
        LoadReport.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weight file, or as `load`.
    """
    with open_source(path) as source:
        return load(source, layers, exclude)


def load(
    source: Source,
    layers: Sequence[keras.layers.Layer],
    exclude: str | Iterable[str] | None = None,
    complete: bool = False,
) -> LoadReport:
    """Loads the weights of layers from an open file, matched by the name of the layer.

    Within a layer, weights are matched by the last part of their names (kernel, bias, gamma ...).
    If these names differ, they are matched by order. No layer changes unless everything fits.

    Args:
        source: Source. See `source.open_source`. Layers are removed from it once they are loaded.
        layers: sequence of keras.layers.Layer.
        exclude: str, iterable of str or None. Names of layers that keep their weights. Defaults to
            None.
        complete: bool. Whether the file must have every layer that is not excluded. Otherwise a
            layer that it lacks keeps its values, with a warning. Defaults to False.

    Returns:
        LoadReport.

    Raises:
        ValueError: a missing layer if `complete`, a layer with another shape, no common layer,
            weights for less than half of the backbone, values that are not finite, or an excluded
            name that neither file nor model has.
    """
    path, file = source.path, source.layers
    report = LoadReport(path=path, ignored=source.ignored)
    model = {layer.name: layer for layer in layers if layer_weights(layer)}
    excluded = _excluded_names(exclude, {layer.name for layer in layers} | set(file))
    report.unexpected = source.unexpected + [name for name in file if name not in model]
    report.missing = [name for name in model if name not in file]
    matches = _match_layers(source, model, excluded, report)
    if not matches:
        raise ValueError(
            f"{path} has no layer in common with the model. The file has {_some(file)}; the model "
            f"has {_some(model)}. Set BACKBONE and the other settings of the network to what the "
            "file was trained with."
        )
    _raise_without_backbone(path, report, matches, excluded, model)
    if complete:
        _raise_if_incomplete(path, [name for name in report.missing if name not in excluded])
    # Everything is checked before the first weight changes.
    for name, pairs in matches.items():
        for key, _ in pairs:
            finite(path, name, file[name][key])
        file[name].release()
    for name, pairs in matches.items():
        layer = file.pop(name)  # frees its memory after this round
        for key, weight in pairs:
            weight.assign(_adapted(layer[key], weight, name, source.bgr))
        report.loaded.append(name)
    logger.log(logging.WARNING if report.missing else logging.INFO, "%s", report.summary())
    return report


def _excluded_names(exclude: str | Iterable[str] | None, known: set[str]) -> set[str]:
    """Returns the excluded layers; the name of a nested group stands for all its layers."""
    excluded = {exclude} if isinstance(exclude, str) else set(exclude or ())
    excluded |= {layer for layer, group in NESTED.items() if group in excluded}
    unknown = sorted(excluded - known - set(NESTED.values()))
    if unknown:
        raise ValueError(f"exclude names layers that do not exist: {', '.join(unknown)}.")
    return excluded


def _match_layers(
    source: Source, model: dict[str, Any], excluded: set[str], report: LoadReport
) -> dict[str, list[tuple[str, Any]]]:
    """Returns the pairs of `_match` for all layers to load; other shapes raise a ValueError."""
    file = source.layers
    matches, mismatched = {}, {}
    for name in (name for name in model if name in file):
        pairs = _match(model[name], file[name])
        fits = pairs is not None and all(
            _fits(name, file[name].shape(key), tuple(weight.shape)) for key, weight in pairs
        )
        if name in excluded:
            report.excluded.append(name)
            report.mismatched += [] if fits else [name]
        elif pairs is not None and fits:
            matches[name] = pairs
        else:
            mismatched[name] = _shapes_text(model[name], file[name])
    _raise_on_mismatch(source.path, mismatched, model, file)
    return matches


def _match(layer, file: LayerWeights) -> list[tuple[str, Any]] | None:
    """Returns pairs of name in the file and variable, or None if their numbers differ."""
    weights = layer_weights(layer)
    if len(file) != len(weights):
        return None
    # "conv1/conv1/kernel:0" -> "kernel"
    by_suffix = {key.split("/")[-1].split(":")[0]: key for key in file}
    names = [weight.name for weight in weights]
    if len(by_suffix) == len(file) and set(names) == set(by_suffix):
        return [(by_suffix[name], weight) for name, weight in zip(names, weights, strict=True)]
    return list(zip(file, weights, strict=True))


def _fits(layer, theirs, ours) -> bool:
    """Whether an array of this shape fits a weight. In conv1, the number of channels may differ."""
    return theirs == ours or (layer == "conv1" and theirs[:2] + theirs[3:] == ours[:2] + ours[3:])


def _adapted(value, weight, layer, bgr):
    """Returns the kernel of conv1 for the channels of the model; other arrays unchanged.

    A gray image uses the sum over the channels, as if it were an RGB image with equal channels.
    Channels beyond the third use the mean, and all are scaled to keep the size of the response.
    """
    if layer != "conv1" or value.ndim != 4:
        return value
    value = value[:, :, ::-1] if bgr else value  # [h, w, channels, out]
    have, want = value.shape[2], weight.shape[2]
    if have == want:
        return value
    if want == 1:
        return value.sum(axis=2, keepdims=True)
    mean = value.mean(axis=2, keepdims=True)
    more = np.repeat(mean, max(want - have, 0), axis=2)
    return np.concatenate([value[:, :, :want], more], axis=2) * (have / want)


def _raise_without_backbone(path, report, matches, excluded, model):
    """Refuses a file that would leave most of the backbone at its random initial values."""
    backbone = [name for name in model if not is_head(name) and name not in excluded]
    missing = [name for name in backbone if name not in matches]
    if len(missing) > len(backbone) / 2:
        instead = f" Instead, it has {_some(report.unexpected)}." if report.unexpected else ""
        raise ValueError(
            f"{path} has weights for only {len(backbone) - len(missing)} of the {len(backbone)} "
            f"layers of the backbone; most of it would stay random. Missing are {_some(missing)}."
            f"{instead} Set BACKBONE to what the file was trained with, or exclude the layers that "
            "should be trained from scratch."
        )


def _raise_if_incomplete(path, lost):
    """Refuses a file that has nothing for some layers."""
    if lost:
        raise ValueError(
            f"{path} is incomplete: it has nothing for {_some(lost)}, which would stay random. "
            "Copy or download it again."
        )


def _shapes_text(layer, file) -> str:
    theirs = ", ".join(str(file.shape(key)) for key in file)
    ours = ", ".join(str(tuple(weight.shape)) for weight in layer_weights(layer))
    return f"{layer.name}: file {theirs}; model {ours}"


def _raise_on_mismatch(
    path: str,
    mismatched: dict[str, str],
    model: Mapping[str, Any],
    file: Mapping[str, LayerWeights],
) -> None:
    """Raises an error if layers have other shapes; it says so if only the classes differ."""
    if not mismatched:
        return
    counts = []  # number of classes in the file and in the model, per layer
    for name in mismatched:
        theirs = _classes(name, [file[name].shape(key) for key in file[name]])
        ours = _classes(name, [tuple(weight.shape) for weight in layer_weights(model[name])])
        counts.append((theirs, ours))
    details = "; ".join(list(mismatched.values())[:4])
    if all(theirs and ours and theirs != ours for theirs, ours in counts):
        theirs, ours = counts[0]
        raise ValueError(
            f"{path} was trained with {theirs} classes (including the background), the model has "
            f"NUM_CLASSES = {ours}. Set NUM_CLASSES = {theirs}, or keep the other layers and train "
            f"new heads: load_weights(..., exclude={list(mismatched)}). ({details})"
        )
    more = f" and {len(mismatched) - 4} more layers" if len(mismatched) > 4 else ""
    raise ValueError(
        f"{path} does not fit the model: {details}{more}. Set BACKBONE and the other settings of "
        "the network to what the file was trained with, or exclude these layers: "
        f"exclude={list(mismatched)}."
    )


def _classes(name, shapes) -> int | None:
    """Returns the number of classes of a layer with these shapes, if it depends on the classes."""
    if name not in CLASS_LAYERS or not shapes or not shapes[0]:
        return None
    return shapes[0][-1] // CLASS_LAYERS[name]


def _some(names) -> str:
    names = list(names)
    return ", ".join(map(_plain, names[:4])) + (" ..." if len(names) > 4 else "") or "none"


def _plain(name: str) -> str:
    """Returns a name as it may be printed: short, and without control characters."""
    return shorten(name)[1:-1]
