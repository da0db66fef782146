"""Every picture of instances: Matterport's matplotlib functions, and fast drawing into arrays.

The functions named display_* and plot_* use pyplot with whatever backend is set, a screen or none.
`draw_instances` and `save_instances` need no figure; use them for many pictures, and in threads.
"""

from __future__ import annotations

import importlib
import os
import warnings
from html import escape

import numpy as np

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
from mrcnn.images.masks import paste_mask
from mrcnn.images.overlaps import compute_matches

__all__ = [
    "apply_mask", "display_differences", "display_images", "display_instances", "display_table",
    "display_top_masks", "display_weight_stats", "draw_box", "draw_boxes", "draw_instances",
    "draw_rois", "instance_colors", "palette", "plot_overlaps", "plot_precision_recall",
    "random_colors", "save_instances", "to_display",
]  # fmt: skip

ROOT_DIR = os.path.abspath("../")  # of Matterport's samples; not used here

# What the old module had imported, and old scripts take from it.
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
    module = importlib.import_module(module)
    return getattr(module, attribute) if attribute else module


# --- Figures -------------------------------------------------------------------------------------
def display_images(images, titles=None, cols=4, cmap=None, norm=None, interpolation=None):
    """Shows images in rows.

    Args:
        images: list of [H, W] (drawn with `cmap`) or [H, W, C].
        titles: one a picture.
        cols: pictures in a row.
        cmap: colour map of images [H, W].
        norm: matplotlib's Normalize for these.
        interpolation: as in matplotlib's imshow.
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
    _show()


def display_instances(
    image, boxes, masks, class_ids, class_names, scores=None, title="", figsize=(16, 16), ax=None,
    show_mask=True, show_bbox=True, colors=None, captions=None,
):  # fmt: skip
    """Shows an image with its instances.

    Args:
        image: [H, W, 3]; 16-bit images are stretched to be seen.
        boxes: [N, 4], y1, x1, y2, x2 in pixels; boxes of zeros are left out.
        masks: [H, W, N], bool or 0 and 1, or None.
        class_ids: [N].
        class_names: names by class id.
        scores: [N] or None.
        title: text above the picture.
        figsize: inches, when a figure is made.
        ax: matplotlib Axes to draw on; None makes a figure and shows it.
        show_mask: whether to draw masks and their outlines.
        show_bbox: whether to draw boxes.
        colors: one a instance, RGB 0..1; None: random.
        captions: one a instance, instead of name and score.

    Raises:
        ValueError: numbers of boxes, masks and class ids differ.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    count = check_counts(boxes, masks, class_ids, scores=scores, captions=captions)
    if not count:
        print("\n*** No instances to display *** \n")
    own_figure = ax is None
    if own_figure:
        _, ax = plt.subplots(1, figsize=figsize)
    colors = random_colors(count) if colors is None else colors
    canvas = to_display(image)
    _prepare_axes(ax, canvas.shape, title, margin=10)
    for index in range(count):
        y1, x1, y2, x2 = boxes[index]
        if not np.any(boxes[index]):
            continue
        color = colors[index]
        if show_bbox:
            ax.add_patch(
                Rectangle(
                    (x1, y1),
                    x2 - x1,
                    y2 - y1,
                    linewidth=2,
                    alpha=0.7,
                    linestyle="dashed",
                    edgecolor=color,
                    facecolor="none",
                )  # fmt: skip
            )
        caption = captions[index] if captions is not None else None
        if captions is None:
            caption = _caption(class_names[class_ids[index]], scores, index)
        ax.text(x1, y1 + 8, caption, color="w", size=11, backgroundcolor="none")
        if show_mask and masks is not None:
            apply_mask(canvas, masks[:, :, index], color)
            _add_outline(ax, masks[:, :, index], color)
    ax.imshow(canvas)
    if own_figure:
        _show()


def display_differences(
    image, gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask,
    class_names, title="", ax=None, show_mask=True, show_box=True, iou_threshold=0.5,
    score_threshold=0.5,
):  # fmt: skip
    """Shows ground truth in green and predictions in red, captions "score / IoU".

    Args: as `display_instances` and `compute_matches`.
    """
    order = np.argsort(pred_score)[::-1]  # as compute_matches numbers them
    parts = (pred_box, pred_class_id, pred_score)
    pred_box, pred_class_id, pred_score = (np.asarray(part)[order] for part in parts)
    pred_mask = np.asarray(pred_mask)[..., order]
    gt_match, pred_match, overlaps = compute_matches(
        gt_box, gt_class_id, gt_mask, pred_box, pred_class_id, pred_score, pred_mask,
        iou_threshold=iou_threshold, score_threshold=score_threshold,
    )  # fmt: skip
    captions = [""] * len(gt_match)
    for row, match in enumerate(pred_match):
        iou = overlaps[row, int(match)] if match > -1 else overlaps[row].max(initial=0)
        captions.append(f"{pred_score[row]:.2f} / {iou:.2f}")
    found, objects = len(pred_match), len(gt_match)
    display_instances(
        image,
        np.concatenate([np.reshape(gt_box, (-1, 4))[:objects], pred_box.reshape(-1, 4)[:found]]),
        np.concatenate([np.asarray(gt_mask)[..., :objects], pred_mask[..., :found]], axis=-1),
        np.concatenate([np.asarray(gt_class_id)[:objects], pred_class_id[:found]]).astype(int),
        class_names,
        np.concatenate([np.zeros(objects), pred_score[:found]]),
        title=title or "Ground Truth and Detections\n GT=green, pred=red, captions: score/IoU",
        ax=ax, show_mask=show_mask, show_bbox=show_box,
        colors=[(0, 1, 0, 0.8)] * objects + [(1, 0, 0, 1)] * found, captions=captions,
    )  # fmt: skip


def draw_rois(image, rois, refined_rois, mask, class_ids, class_names, limit=10):
    """Shows proposals (dashed) and what they became (solid), up to `limit` of them by chance.

    Args:
        image: [H, W, 3].
        rois: [N, 4], pixels.
        refined_rois: [N, 4], pixels.
        mask: [N, h, w], 0..1, inside the proposals.
        class_ids: [N]; 0 is background, drawn grey.
        class_names: names by class id.
        limit: most proposals to draw.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    class_ids = np.asarray(class_ids)
    ids = np.arange(len(rois))
    chosen = np.random.choice(ids, limit, replace=False) if len(ids) > limit else ids
    _, ax = plt.subplots(1, figsize=(12, 12))
    some = (
        f"Showing {limit} random ROIs out of {len(ids)}" if len(ids) > limit else f"{len(ids)} ROIs"
    )
    canvas = to_display(image)
    _prepare_axes(ax, canvas.shape, some, margin=20)
    for index in chosen:
        color = np.random.rand(3)
        y1, x1, y2, x2 = rois[index]
        edge = color if class_ids[index] else "gray"
        ax.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, linewidth=2, edgecolor=edge, facecolor="none",
                      linestyle="dashed")
        )  # fmt: skip
        if class_ids[index]:
            _add_refined(ax, rois[index], refined_rois[index], color)
            x, y = refined_rois[index][1], refined_rois[index][0] + 8
            ax.text(x, y, class_names[class_ids[index]], color="w", size=11)
            crop, (top, left, bottom, right) = paste_mask(
                mask[index], rois[index], canvas.shape[:2]
            )
            apply_mask(canvas[top:bottom, left:right], crop, color)
    ax.imshow(canvas)
    positive = int((class_ids > 0).sum())
    print("Positive ROIs: ", positive)
    print("Negative ROIs: ", int((class_ids == 0).sum()))
    print(f"Positive Ratio: {positive / max(len(class_ids), 1):.2f}")


def display_top_masks(image, mask, class_ids, class_names, limit=4):
    """Shows an image and the masks of the classes that cover most of it.

    Args:
        image: [H, W, 3].
        mask: [H, W, N].
        class_ids: [N].
        class_names: names by class id.
        limit: number of classes.
    """
    mask, class_ids = np.asarray(mask), np.asarray(class_ids)
    areas = {i: int(mask[..., class_ids == i].sum()) for i in np.unique(class_ids)}
    top = sorted((i for i in areas if areas[i] > 0), key=lambda i: -areas[i])[:limit]
    images, titles = [to_display(image)], [f"H x W={image.shape[0]}x{image.shape[1]}"]
    for index in range(limit):
        if index < len(top):
            own = mask[..., class_ids == top[index]]
            images.append((own * np.arange(1, own.shape[-1] + 1)).sum(axis=-1))
            titles.append(class_names[top[index]])
        else:
            images.append(np.zeros(image.shape[:2], int))
            titles.append("-")
    display_images(images, titles=titles, cols=limit + 1, cmap="Blues_r")


def plot_precision_recall(AP, precisions, recalls):
    """Draws a precision-recall curve on a new figure.

    Args:
        AP: float, for the title.
        precisions: list.
        recalls: list of the same length.
    """
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(1)
    ax.set_title(f"Precision-Recall Curve. AP@50 = {AP:.3f}")
    ax.set(ylim=(0, 1.1), xlim=(0, 1.1))
    ax.plot(recalls, precisions)


def plot_overlaps(gt_class_ids, pred_class_ids, pred_scores, overlaps, class_names, threshold=0.5):
    """Draws a grid of how predictions (rows) overlap objects (columns) on a new figure.

    Args:
        gt_class_ids: [G]; zeros are padding.
        pred_class_ids: [P]; zeros are padding.
        pred_scores: [P].
        overlaps: [P, G].
        class_names: names by class id.
        threshold: least IoU of a "match", or of a "wrong" where the classes differ.
    """
    import matplotlib.pyplot as plt

    gt = [int(i) for i in gt_class_ids if i != 0]
    found = [int(i) for i in pred_class_ids if i != 0]
    plt.figure(figsize=(12, 10))
    if np.size(overlaps):
        plt.imshow(overlaps, interpolation="nearest", cmap="Blues")
    names = [f"{class_names[i]} ({pred_scores[n]:.2f})" for n, i in enumerate(found)]
    plt.yticks(np.arange(len(found)), names)
    plt.xticks(np.arange(len(gt)), [class_names[i] for i in gt], rotation=90)
    dark = np.max(overlaps, initial=0) / 2
    for row, row_class in enumerate(found):
        for column, column_class in enumerate(gt):
            iou, text = overlaps[row, column], ""
            if iou > threshold:
                text = "match" if row_class == column_class else "wrong"
            color = "white" if iou > dark else "black" if iou > 0 else "grey"
            plt.text(column, row, f"{iou:.3f}\n{text}", color=color, fontsize=9, ha="center",
                     va="center")  # fmt: skip
    plt.xlabel("Ground Truth")
    plt.ylabel("Predictions")
    plt.tight_layout()


def draw_boxes(
    image, boxes=None, refined_boxes=None, masks=None, captions=None, visibilities=None, title="",
    ax=None,
):  # fmt: skip
    """Draws boxes before and after refinement, with masks and captions.

    Args:
        image: [H, W, 3].
        boxes: [N, 4] pixels, or None.
        refined_boxes: [N, 4], drawn solid and joined to the first by their corners, or None.
        masks: [H, W, N] or None.
        captions: [N] texts or None.
        visibilities: [N]: 0 grey and dotted, 1 coloured and dotted, 2 solid; None: all 1.
        title: text above the picture.
        ax: matplotlib Axes; None makes a figure. Nothing is shown before `plt.show()`.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    if boxes is None and refined_boxes is None:
        raise ValueError("draw_boxes needs boxes, refined_boxes or both; got neither.")
    count = len(boxes if boxes is not None else refined_boxes)
    if ax is None:
        _, ax = plt.subplots(1, figsize=(12, 12))
    canvas = to_display(image)
    _prepare_axes(ax, canvas.shape, title, margin=10)
    for index, color in enumerate(random_colors(count)):
        edge, style, alpha = _box_style(1 if visibilities is None else visibilities[index], color)
        place = None
        if boxes is not None and np.any(boxes[index]):
            y1, x1, y2, x2 = boxes[index]
            place = (x1, y1)
            ax.add_patch(
                Rectangle(place, x2 - x1, y2 - y1, linewidth=2, alpha=alpha, linestyle=style,
                          edgecolor=edge, facecolor="none")
            )  # fmt: skip
        if refined_boxes is not None and (visibilities is None or visibilities[index] > 0):
            start = refined_boxes[index] if boxes is None else boxes[index]
            _add_refined(ax, start, np.asarray(refined_boxes[index], np.int32), edge)
            place = refined_boxes[index][1], refined_boxes[index][0]
        if captions is not None and place is not None:
            back = {"facecolor": edge, "alpha": 0.5, "pad": 2, "edgecolor": "none"}
            ax.text(*place, captions[index], size=11, va="top", color="w", bbox=back)
        if masks is not None:
            apply_mask(canvas, masks[:, :, index], edge if edge != "gray" else (0.5, 0.5, 0.5))
            _add_outline(ax, masks[:, :, index], edge)
    ax.imshow(canvas)


# --- Tables --------------------------------------------------------------------------------------
def display_table(table):
    """Shows rows of cells as an HTML table in a notebook, and as text where there is none."""
    rows = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in table]
    try:
        import IPython.display
    except ImportError:
        print("\n".join("\t".join(str(cell) for cell in row) for row in table))
        return
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    IPython.display.display(IPython.display.HTML(f"<table>{body}</table>"))


def display_weight_stats(model):
    """Shows name, shape, least, greatest value and deviation of each trainable weight.

    Weights that are all alike are marked "dead?" (but for biases of convolutions), those above 1000
    in absolute value "Overflow?".

    Args:
        model: a `MaskRCNN`.
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
            table.append([name, str(values.shape), f"{low:+10.4f}", f"{high:+10.4f}",
                          f"{values.std():+9.4f}"])  # fmt: skip
    display_table(table)


def _trainable_layers(model):
    if hasattr(model, "get_trainable_layers"):
        return model.get_trainable_layers()
    return [layer for layer in model.keras_model.layers if layer.get_weights()]


# --- Parts ---------------------------------------------------------------------------------------
def _show():
    """plt.show(), which has nothing to do, and nothing to warn of, without a screen."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        plt.show()


def _prepare_axes(ax, shape, title, margin):
    ax.set_ylim(shape[0] + margin, -margin)
    ax.set_xlim(-margin, shape[1] + margin)
    ax.axis("off")
    ax.set_title(title)


def _caption(name, scores, index):
    score = scores[index] if scores is not None else None
    return f"{name} {score:.3f}" if score else name


def _add_outline(ax, mask, color):
    from matplotlib.patches import Polygon
    from skimage.measure import find_contours

    for outline in find_contours(np.pad(np.asarray(mask), 1).astype(float), 0.5):
        ax.add_patch(Polygon(outline[:, ::-1] - 1, facecolor="none", edgecolor=color))


def _add_refined(ax, box, refined, color):
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    y1, x1, y2, x2 = refined
    ax.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, linewidth=2, edgecolor=color, facecolor="none")
    )
    ax.add_line(Line2D([box[1], x1], [box[0], y1], color=color))


def _box_style(visibility, color):
    if visibility == 0:
        return "gray", "dotted", 0.5
    return color, "dotted" if visibility == 1 else "solid", 1
