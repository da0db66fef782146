"""Visualization of instances: Matterport's matplotlib functions, and fast drawing into arrays.

The functions named display_* and plot_* use pyplot with its current backend, with or without a
screen. `draw_instances` and `save_instances` need no figure: use them for many images, and in
threads.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mrcnn.images.captions import class_name
from mrcnn.images.drawing import (
    apply_mask,
    check_counts,
    draw_box,
    draw_instances,
    instance_colors,
    palette,
    random_colors,
    save_instances,
    to_display,
)
from mrcnn.images.figures import (
    add_box,
    add_outline,
    add_refined,
    figure_captions,
    matched_parts,
    plot_overlaps,
    plot_precision_recall,
    prepare_axes,
    show,
)
from mrcnn.images.masks import paste_mask

__all__ = [
    "apply_mask",
    "display_differences",
    "display_images",
    "display_instances",
    "display_table",
    "display_top_masks",
    "display_weight_stats",
    "draw_box",
    "draw_boxes",
    "draw_instances",
    "draw_rois",
    "instance_colors",
    "palette",
    "plot_overlaps",
    "plot_precision_recall",
    "random_colors",
    "save_instances",
    "to_display",
]

ROOT_DIR = os.path.abspath("../")  # a name of Matterport's module, not used here

# Names that Matterport's module imported, and that old scripts reach through it.
_OLD_NAMES = {
    "plt": ("matplotlib.pyplot", None),
    "patches": ("matplotlib.patches", None),
    "lines": ("matplotlib.lines", None),
    "Polygon": ("matplotlib.patches", "Polygon"),
    "find_contours": ("skimage.measure", "find_contours"),
    "utils": ("mrcnn.utils", None),
}


def __getattr__(name):
    if name not in _OLD_NAMES:
        raise AttributeError(f"module 'mrcnn.visualize' has no attribute {name!r}")
    module, attribute = _OLD_NAMES[name]
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


# --- Figures -------------------------------------------------------------------------------------
def display_images(
    images: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    cols: int = 4,
    cmap: Any = None,
    norm: Any = None,
    interpolation: str | None = None,
) -> None:
    """Shows images in rows.

    Args:
        images: list of arrays [H, W] (drawn with `cmap`) or [H, W, C].
        titles: list of str, one per image, or None. Defaults to None.
        cols: int. Images per row. Defaults to 4.
        cmap: matplotlib colormap of images [H, W]. Defaults to None, matplotlib's own.
        norm: matplotlib `Normalize` of images [H, W]. Defaults to None.
        interpolation: str. As in matplotlib's `imshow`. Defaults to None.
    """
    import matplotlib.pyplot as plt

    titles = [""] * len(images) if titles is None else titles
    rows = len(images) // cols + 1
    plt.figure(figsize=(14, 14 * rows // cols))
    for index, (image, title) in enumerate(zip(images, titles, strict=False), 1):
        image = np.asarray(image)
        flat = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        shown = flat if flat.ndim == 2 else to_display(flat)
        plt.subplot(rows, cols, index)
        plt.title(title, fontsize=9)
        plt.axis("off")
        plt.imshow(shown, cmap=cmap, norm=norm, interpolation=interpolation)
    show()


def display_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: np.ndarray | None,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    title: str = "",
    figsize: tuple[float, float] = (16, 16),
    ax: Any = None,
    show_mask: bool = True,
    show_bbox: bool = True,
    colors: Sequence | None = None,
    captions: Sequence[str] | None = None,
) -> None:
    """Shows an image with its instances.

    Args:
        image: array [H, W, 3]. Images of 16 bits are stretched to a visible range.
        boxes: array [N, 4], y1, x1, y2, x2 in pixels. Boxes of zeros are left out.
        masks: array [H, W, N], bool or 0 and 1, or None.
        class_ids: array [N].
        class_names: list of str, indexed by class id.
        scores: array [N] or None. Defaults to None.
        title: str. Text above the image. Defaults to "".
        figsize: (width, height) in inches of a new figure. Defaults to (16, 16).
        ax: matplotlib `Axes` to draw on. Defaults to None, a new figure, which is shown.
        show_mask: bool. Whether to draw masks and their outlines. Defaults to True.
        show_bbox: bool. Whether to draw boxes. Defaults to True.
        colors: list of N RGB tuples in 0..1. Defaults to None, random colors.
        captions: list of N texts instead of name and score. Defaults to None.

    Raises:
        ValueError: if the numbers of boxes, masks and class ids differ.
    """
    import matplotlib.pyplot as plt

    count = check_counts(boxes, masks, class_ids, scores=scores, captions=captions)
    if not count:
        print("\n*** No instances to display *** \n")
    if own_figure := ax is None:
        _, ax = plt.subplots(1, figsize=figsize)
    colors = random_colors(count) if colors is None else colors
    texts = figure_captions(class_ids, class_names, scores) if captions is None else captions
    canvas = to_display(image)
    prepare_axes(ax, canvas.shape, title, margin=10)
    for index in range(count):
        y1, x1 = boxes[index][:2]
        if not np.any(boxes[index]):
            continue
        color = colors[index]
        if show_bbox:
            add_box(ax, boxes[index], color, linestyle="dashed", alpha=0.7)
        ax.text(x1, y1 + 8, texts[index], color="w", size=11, backgroundcolor="none")
        if show_mask and masks is not None:
            apply_mask(canvas, masks[:, :, index], color)
            add_outline(ax, masks[:, :, index], color)
    ax.imshow(canvas)
    if own_figure:
        show()


def display_differences(
    image: np.ndarray,
    gt_box: np.ndarray,
    gt_class_id: np.ndarray,
    gt_mask: np.ndarray,
    pred_box: np.ndarray,
    pred_class_id: np.ndarray,
    pred_score: np.ndarray,
    pred_mask: np.ndarray,
    class_names: Sequence[str],
    title: str = "",
    ax: Any = None,
    show_mask: bool = True,
    show_box: bool = True,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.5,
) -> None:
    """Shows ground truth in green and detections in red, with captions "score / IoU".

    Args:
        image: array [H, W, 3].
        gt_box: array [G, 4], pixels.
        gt_class_id: array [G].
        gt_mask: array [H, W, G], bool.
        pred_box: array [P, 4], pixels.
        pred_class_id: array [P].
        pred_score: array [P].
        pred_mask: array [H, W, P], bool.
        class_names: list of str, indexed by class id.
        title: str. Text above the image. Defaults to "", a legend.
        ax: matplotlib `Axes` to draw on. Defaults to None, a new figure, which is shown.
        show_mask: bool. Whether to draw masks and their outlines. Defaults to True.
        show_box: bool. Whether to draw boxes. Defaults to True.
        iou_threshold: float. See `compute_matches`. Defaults to 0.5.
        score_threshold: float. See `compute_matches`. Defaults to 0.5.
    """
    truth = (gt_box, gt_class_id, gt_mask)
    found = (pred_box, pred_class_id, pred_score, pred_mask)
    thresholds = {"iou_threshold": iou_threshold, "score_threshold": score_threshold}
    parts, captions, objects = matched_parts(truth, found, thresholds)
    display_instances(
        image,
        parts["boxes"],
        parts["masks"],
        parts["class_ids"],
        class_names,
        parts["scores"],
        title=title or "Ground Truth and Detections\n GT=green, pred=red, captions: score/IoU",
        ax=ax,
        show_mask=show_mask,
        show_bbox=show_box,
        colors=[(0, 1, 0, 0.8)] * objects + [(1, 0, 0, 1)] * (len(captions) - objects),
        captions=captions,
    )


def draw_rois(
    image: np.ndarray,
    rois: np.ndarray,
    refined_rois: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 10,
) -> None:
    """Shows RoIs (dashed) and their refined boxes (solid).

    Args:
        image: array [H, W, 3].
        rois: array [N, 4], pixels.
        refined_rois: array [N, 4], pixels.
        mask: array [N, h, w], 0..1, inside the RoIs.
        class_ids: array [N]; 0 is background, drawn in gray.
        class_names: list of str, indexed by class id.
        limit: int. Maximum number of RoIs to draw, chosen at random. Defaults to 10.
    """
    import matplotlib.pyplot as plt

    rng = np.random.default_rng()  # the global generator is the user's
    class_ids = np.asarray(class_ids)
    ids = np.arange(len(rois))
    title = f"{len(ids)} ROIs"
    if len(ids) > limit:
        title = f"Showing {limit} random ROIs out of {len(ids)}"
        ids = rng.choice(ids, limit, replace=False)
    _, ax = plt.subplots(1, figsize=(12, 12))
    canvas = to_display(image)
    prepare_axes(ax, canvas.shape, title, margin=20)
    for index in ids:
        color = rng.random(3)
        add_box(ax, rois[index], color if class_ids[index] else "gray", linestyle="dashed")
        if class_ids[index]:
            add_refined(ax, rois[index], refined_rois[index], color)
            x, y = refined_rois[index][1], refined_rois[index][0] + 8
            ax.text(x, y, class_name(class_names, class_ids[index]), color="w", size=11)
            crop, (top, left, bottom, right) = paste_mask(
                mask[index], rois[index], canvas.shape[:2]
            )
            apply_mask(canvas[top:bottom, left:right], crop, color)
    ax.imshow(canvas)
    positive = int((class_ids > 0).sum())
    print("Positive ROIs: ", positive)
    print("Negative ROIs: ", int((class_ids == 0).sum()))
    print(f"Positive Ratio: {positive / max(len(class_ids), 1):.2f}")


def display_top_masks(
    image: np.ndarray,
    mask: np.ndarray,
    class_ids: np.ndarray,
    class_names: Sequence[str],
    limit: int = 4,
) -> None:
    """Shows an image and the masks of the classes that cover most of it.

    Args:
        image: array [H, W, 3].
        mask: array [H, W, N].
        class_ids: array [N].
        class_names: list of str, indexed by class id.
        limit: int. Number of classes. Defaults to 4.
    """
    mask = np.asarray(mask)
    class_ids = np.asarray(class_ids)
    areas = {i: int(mask[..., class_ids == i].sum()) for i in np.unique(class_ids)}
    top = sorted((i for i in areas if areas[i] > 0), key=lambda i: -areas[i])[:limit]
    images = [to_display(image)]
    titles = [f"H x W={image.shape[0]}x{image.shape[1]}"]
    for index in range(limit):
        if index < len(top):
            own = mask[..., class_ids == top[index]]
            # Each instance gets its own shade: [H, W], 0 for background, then 1, 2, ...
            images.append((own * np.arange(1, own.shape[-1] + 1)).sum(axis=-1))
            titles.append(class_name(class_names, top[index]))
        else:
            images.append(np.zeros(image.shape[:2], int))
            titles.append("-")
    display_images(images, titles=titles, cols=limit + 1, cmap="Blues_r")


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray | None = None,
    refined_boxes: np.ndarray | None = None,
    masks: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    visibilities: Sequence[int] | None = None,
    title: str = "",
    ax: Any = None,
) -> None:
    """Draws boxes before and after refinement, with masks and captions.

    The figure is not shown until you call `plt.show()`.

    Args:
        image: array [H, W, 3].
        boxes: array [N, 4] in pixels, or None. Defaults to None.
        refined_boxes: array [N, 4] in pixels, drawn with solid lines and joined to `boxes` by a
            line between the corners, or None. Defaults to None.
        masks: array [H, W, N] or None. Defaults to None.
        captions: list of N texts or None. Defaults to None.
        visibilities: N ints: 0 gray and dotted, 1 colored and dotted, 2 solid. Defaults to None,
            all 1.
        title: str. Text above the image. Defaults to "".
        ax: matplotlib `Axes` to draw on. Defaults to None, a new figure.

    Raises:
        ValueError: if neither `boxes` nor `refined_boxes` is given.
    """
    import matplotlib.pyplot as plt

    starts = refined_boxes if boxes is None else boxes
    if starts is None:
        raise ValueError("draw_boxes needs boxes, refined_boxes or both, got neither.")
    if ax is None:
        _, ax = plt.subplots(1, figsize=(12, 12))
    canvas = to_display(image)
    prepare_axes(ax, canvas.shape, title, margin=10)
    for index, color in enumerate(random_colors(len(starts))):
        edge, style, alpha = _box_style(1 if visibilities is None else visibilities[index], color)
        place = None
        if boxes is not None and np.any(boxes[index]):
            place = boxes[index][1], boxes[index][0]
            add_box(ax, boxes[index], edge, linestyle=style, alpha=alpha)
        if refined_boxes is not None and (visibilities is None or visibilities[index] > 0):
            add_refined(ax, starts[index], np.asarray(refined_boxes[index], np.int32), edge)
            place = refined_boxes[index][1], refined_boxes[index][0]
        if captions is not None and place is not None:
            background = {"facecolor": edge, "alpha": 0.5, "pad": 2, "edgecolor": "none"}
            ax.text(*place, captions[index], size=11, va="top", color="w", bbox=background)
        if masks is not None:
            apply_mask(canvas, masks[:, :, index], edge if edge != "gray" else (0.5, 0.5, 0.5))
            add_outline(ax, masks[:, :, index], edge)
    ax.imshow(canvas)


# --- Tables --------------------------------------------------------------------------------------
def display_table(table: Sequence[Sequence[Any]]) -> None:
    """Shows a table, as HTML where IPython is installed and otherwise as text.

    Args:
        table: list of rows, each a list of cells. Cells are converted to str.
    """
    rows = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in table]
    try:
        import IPython.display
    except ImportError:
        print("\n".join("\t".join(str(cell) for cell in row) for row in table))
        return
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    IPython.display.display(IPython.display.HTML(f"<table>{body}</table>"))


def display_weight_stats(model: Any) -> None:
    """Shows name, shape, minimum, maximum and standard deviation of each trainable weight.

    Weights whose values are all equal are marked "dead?" (except biases of convolutions), those
    with a value beyond 1000 or -1000 "Overflow?".

    Args:
        model: `MaskRCNN`. The model to inspect.
    """
    table = [["WEIGHT NAME", "SHAPE", "MIN", "MAX", "STD"]]
    for layer in _trainable_layers(model):
        pairs = zip(layer.weights, layer.get_weights(), strict=True)
        for index, (weight, values) in enumerate(pairs):
            name = getattr(weight, "path", None) or weight.name
            if not values.size:
                continue
            low, high = values.min(), values.max()
            if low == high and not (type(layer).__name__ == "Conv2D" and index == 1):
                name += " *** dead?"
            if np.abs([low, high]).max() > 1000:
                name += " *** Overflow?"
            numbers = [f"{low:+10.4f}", f"{high:+10.4f}", f"{values.std():+9.4f}"]
            table.append([name, str(values.shape), *numbers])
    display_table(table)


def _trainable_layers(model):
    if hasattr(model, "get_trainable_layers"):
        return model.get_trainable_layers()
    return [layer for layer in model.keras_model.layers if layer.get_weights()]


def _box_style(visibility, color):
    if visibility == 0:
        return "gray", "dotted", 0.5
    return color, "dotted" if visibility == 1 else "solid", 1
