"""Training curves and precision-recall curves as PNG files."""

from __future__ import annotations

import contextlib
import csv
import math
import os
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrcnn.images.atomic import atomic_path

KINDS = {"bbox": "boxes", "segm": "masks"}
MOST_CLASSES = 20  # bars whose names can still be read


def plot_precision_recall(evaluation: Any, path: str | os.PathLike) -> None:
    """Writes precision-recall curves at IoU 0.5 to 0.9, averaged over classes, as a PNG file.

    Args:
        evaluation: `Evaluation`. The result of `evaluate`.
        path: str or path. The file to write, atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    kinds = list(evaluation.precision_recall)
    figure, axes = _figure(len(kinds))
    recall = np.linspace(0, 1, 101)
    for axis, kind in zip(axes, kinds, strict=True):
        curves = evaluation.precision_recall[kind]
        defined = ~np.isnan(curves).all(axis=(0, 1))  # classes with instances
        for step, iou in enumerate((0.5, 0.6, 0.7, 0.8, 0.9)):
            if defined.any():
                mean = curves[2 * step][:, defined].mean(axis=1)  # IoUs lie 0.05 apart
                color = matplotlib.colormaps["viridis"](0.9 - step / 4.6)
                axis.plot(recall, mean, color=color, label=f"IoU {iou:g}: {mean.mean():.3f}")
        stats = evaluation.bbox if kind == "bbox" else evaluation.segm
        axis.set(title=f"{KINDS[kind]}, AP {stats['AP']:.3f}", xlabel="recall")
        axis.set(ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        if defined.any():
            axis.legend(loc="lower left", title="average precision")
        else:
            axis.text(0.5, 0.5, "no objects", ha="center", va="center")
    _write(figure, path)


def plot_statistics(statistics: Any, path: str | os.PathLike) -> None:
    """Writes what a data set holds as a PNG file: classes, sizes, shapes and crowding.

    Args:
        statistics: `data.stats.Statistics`.
        path: str or path. The file to write, atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    figure, axes = _figure(4)
    entries = sorted(statistics.classes, key=lambda entry: -entry.objects)[:MOST_CLASSES]
    left_out = len(statistics.classes) - len(entries)
    title = "objects per class" + f", {left_out} smaller classes left out" * (left_out > 0)
    places = np.arange(len(entries))
    axes[0].barh(places, [entry.objects for entry in entries], color="tab:blue")
    axes[0].set(title=title, xlabel="objects", yticks=places)
    axes[0].set_yticklabels([entry.name[:24] for entry in entries], fontsize=8)
    axes[0].invert_yaxis()
    _histogram(axes[1], statistics.per_image, "objects per image", "objects", "images")
    sides = np.sqrt(np.maximum(statistics.areas, 1)) if statistics.areas else []
    _histogram(axes[2], sides, "object size", "root of the area in pixels", "objects")
    heights, widths = np.reshape(statistics.sides, (-1, 2)).T
    axes[3].scatter(widths, heights, s=6, alpha=0.4, linewidths=0)
    axes[3].set(title="boxes", xlabel="width in pixels", ylabel="height in pixels")
    axes[3].set(xlim=(0, None), ylim=(0, None))
    _write(figure, path)


def _histogram(axis, values, title, xlabel, ylabel):
    bins = np.arange(max(values, default=0) + 2) - 0.5 if max(values, default=0) < 20 else 20
    if len(values):
        axis.hist(values, bins=bins, color="tab:blue")
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)


def plot_history(history: Sequence[dict] | str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes the training curves as a PNG file: losses, and AP where it was measured.

    Args:
        history: list of dicts, one per epoch ("epoch", "loss", "val_loss", "val_mask_AP", ...), or
            the path of a CSV file with these columns. Values may be missing.
        path: str or path. The file to write, atomically.

    Raises:
        FileNotFoundError: if `history` is the path of a file that does not exist.
        ValueError: if there are no epochs.
        OSError: if the file cannot be written.
    """
    if isinstance(history, (str, os.PathLike)):
        with open(history, newline="", encoding="utf-8") as file:
            history = list(csv.DictReader(file))
    if not history:
        raise ValueError(
            "history has no epochs, so there is nothing to plot. Train one epoch first."
        )
    scores = sorted(name for name in _columns(history) if "AP" in name)
    losses = [name for name in _columns(history) if name.endswith("loss") and "val_" not in name]
    parts = sorted(set(losses) - {"loss"})
    figure, axes = _figure(2 if scores else 1)
    _draw_column(axes[0], history, "loss", label="training", color="black", linewidth=2)
    _draw_column(axes[0], history, "val_loss", label="validation", color="crimson", linewidth=2)
    for name in parts:
        _draw_column(axes[0], history, name, linewidth=1, alpha=0.6)
    axes[0].set(title="loss", xlabel="epoch", yscale=_loss_scale(history))
    for name in scores:
        kind, measure = name.removeprefix("val_").rsplit("_", 1)
        color = "tab:blue" if kind == "mask" else "tab:orange"
        line = "-" if measure == "AP" else "--"
        label = f"{kind} {measure}"
        _draw_column(axes[1], history, name, label=label, color=color, linestyle=line)
    if scores:
        axes[1].set(title="validation AP", xlabel="epoch", ylim=(0, 1))
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend()
    _write(figure, path)


def _columns(history):
    """Returns the names of all columns, in order of appearance, as the keys of a dict."""
    return dict.fromkeys(name for row in history for name in row if name)


def _points(history, name):
    """Returns epochs and values of the rows with a finite value in a column: [2, n]."""
    points = []
    for index, row in enumerate(history, 1):
        with contextlib.suppress(TypeError, ValueError, KeyError):
            value = float(row[name])
            if math.isfinite(value):
                points.append((float(row.get("epoch") or index), value))
    return np.array(points).reshape(-1, 2).T


def _draw_column(axis, history, name, **style):
    epochs, values = _points(history, name)
    if len(values):
        marker = "o" if len(values) < 30 else None
        axis.plot(epochs, values, **{"label": name, "marker": marker, "markersize": 3} | style)


def _loss_scale(history):
    """Returns "log" if the total loss falls to less than a twentieth, else "linear"."""
    values = np.concatenate([_points(history, name)[1] for name in ("loss", "val_loss")])
    far = values.size and values.min() > 0 and values.max() > 20 * values.min()
    return "log" if far else "linear"


def _figure(panels):
    figure = Figure(figsize=(6 * panels, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # without pyplot, so that it works in threads and without a screen
    axes = [figure.add_subplot(1, panels, index + 1) for index in range(panels)]
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def _write(figure, path):
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")
