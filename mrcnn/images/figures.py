"""Matplotlib figures: plots of how detections match, and the parts that `visualize` shares."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mrcnn.images.captions import class_name
from mrcnn.images.overlaps import compute_matches


def plot_precision_recall(AP: float, precisions: Sequence[float], recalls: Sequence[float]) -> None:
    """Draws a precision-recall curve on a new figure.

    Args:
        AP: float. Average precision, for the title.
        precisions: list of floats.
        recalls: list of floats of the same length.
    """
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(1)
    ax.set_title(f"Precision-Recall Curve. AP@50 = {AP:.3f}")
    ax.set(ylim=(0, 1.1), xlim=(0, 1.1))
    ax.plot(recalls, precisions)


def plot_overlaps(
    gt_class_ids: Sequence[int],
    pred_class_ids: Sequence[int],
    pred_scores: Sequence[float],
    overlaps: np.ndarray,
    class_names: Sequence[str],
    threshold: float = 0.5,
) -> None:
    """Draws the overlaps of detections (rows) with instances (columns) as a grid on a new figure.

    Args:
        gt_class_ids: array [G]; zeros are padding.
        pred_class_ids: array [P]; zeros are padding.
        pred_scores: array [P].
        overlaps: array [P, G], IoU.
        class_names: list of str, indexed by class id.
        threshold: float. Above this IoU a cell is marked "match", or "wrong" if the classes
            differ. Defaults to 0.5.
    """
    import matplotlib.pyplot as plt

    gt = [int(i) for i in gt_class_ids if i != 0]
    found = [int(i) for i in pred_class_ids if i != 0]
    plt.figure(figsize=(12, 10))
    if np.size(overlaps):
        plt.imshow(overlaps, interpolation="nearest", cmap="Blues")
    names = [f"{class_name(class_names, i)} ({pred_scores[n]:.2f})" for n, i in enumerate(found)]
    plt.yticks(np.arange(len(found)), names)
    plt.xticks(np.arange(len(gt)), [class_name(class_names, i) for i in gt], rotation=90)
    dark = np.max(overlaps, initial=0) / 2
    for row, row_class in enumerate(found):
        for column, column_class in enumerate(gt):
            iou = overlaps[row, column]
            text = ""
            if iou > threshold:
                text = "match" if row_class == column_class else "wrong"
            color = "gray"
            if iou > 0:
                color = "white" if iou > dark else "black"
            style: dict[str, Any] = {"color": color, "fontsize": 9, "ha": "center", "va": "center"}
            plt.text(column, row, f"{iou:.3f}\n{text}", **style)
    plt.xlabel("Ground Truth")
    plt.ylabel("Predictions")
    plt.tight_layout()


# --- Parts of figures ----------------------------------------------------------------------------
def show() -> None:
    """Calls plt.show() without its warning that there is no screen."""
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*non-interactive.*")
        plt.show()


def prepare_axes(ax: Any, shape: tuple[int, ...], title: str, margin: int) -> None:
    """Sets the limits and the title of Axes that show an image.

    Args:
        ax: matplotlib `Axes`.
        shape: (H, W, ...) of the image.
        title: str. Text above the image.
        margin: int. Empty pixels around the image.
    """
    ax.set_ylim(shape[0] + margin, -margin)
    ax.set_xlim(-margin, shape[1] + margin)
    ax.axis("off")
    ax.set_title(title)


def add_box(ax: Any, box: Any, color: Any, **style: Any) -> None:
    """Adds a box to Axes.

    Args:
        ax: matplotlib `Axes`.
        box: y1, x1, y2, x2 in pixels.
        color: matplotlib color of the line.
        **style: further arguments of matplotlib's `Rectangle`.
    """
    from matplotlib.patches import Rectangle

    y1, x1, y2, x2 = box
    style = {"linewidth": 2, "edgecolor": color, "facecolor": "none"} | style
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **style))


def add_outline(ax: Any, mask: np.ndarray, color: Any) -> None:
    """Adds the outlines of a mask to Axes.

    Args:
        ax: matplotlib `Axes`.
        mask: array [H, W], bool or 0 and 1.
        color: matplotlib color of the line.
    """
    from matplotlib.patches import Polygon
    from skimage.measure import find_contours

    # The padding closes outlines at the border of the image; "- 1" takes it off again.
    for outline in find_contours(np.pad(np.asarray(mask), 1).astype(float), 0.5):
        ax.add_patch(Polygon(outline[:, ::-1] - 1, facecolor="none", edgecolor=color))


def add_refined(ax: Any, box: Any, refined: Any, color: Any) -> None:
    """Adds a refined box to Axes, and a line to its corner from the corner of the original box.

    Args:
        ax: matplotlib `Axes`.
        box: y1, x1, y2, x2 of the original box in pixels.
        refined: y1, x1, y2, x2 of the refined box in pixels.
        color: matplotlib color of the lines.
    """
    from matplotlib.lines import Line2D

    y1, x1 = refined[:2]
    add_box(ax, refined, color)
    ax.add_line(Line2D([box[1], x1], [box[0], y1], color=color))


def figure_captions(
    class_ids: np.ndarray, class_names: Sequence[str], scores: np.ndarray | None
) -> list[str]:
    """Returns a caption for each instance: its class name and, if it has one, its score.

    Args:
        class_ids: array [N].
        class_names: list of str, indexed by class id.
        scores: array [N] or None.
    """
    texts = [class_name(class_names, class_id) for class_id in class_ids]
    for index in range(len(texts)):
        if scores is not None and scores[index]:
            texts[index] += f" {scores[index]:.3f}"
    return texts


def matched_parts(
    truth: Sequence[np.ndarray], found: Sequence[np.ndarray], thresholds: dict[str, float]
) -> tuple[dict[str, np.ndarray], list[str], int]:
    """Joins ground truth and detections, with captions "score / IoU" for the detections.

    Args:
        truth: boxes [G, 4], class ids [G] and masks [H, W, G].
        found: boxes [P, 4], class ids [P], scores [P] and masks [H, W, P].
        thresholds: dict. `iou_threshold` and `score_threshold` of `compute_matches`.

    Returns:
        Tuple of the joined parts by name (boxes, masks, class_ids, scores), their captions (empty
        for ground truth), and the number of objects of the ground truth, which come first.
    """
    order = np.argsort(found[2])[::-1]  # as compute_matches numbers them
    boxes, class_ids, scores = (np.asarray(part)[order] for part in found[:3])
    masks = np.asarray(found[3])[..., order]
    gt_match, pred_match, overlaps = compute_matches(
        truth[0], truth[1], truth[2], boxes, class_ids, scores, masks, **thresholds
    )
    captions = [""] * len(gt_match)
    for row, match in enumerate(pred_match):
        iou = overlaps[row, int(match)] if match > -1 else overlaps[row].max(initial=0)
        captions.append(f"{scores[row]:.2f} / {iou:.2f}")
    # The matches leave out padding, so there may be fewer than in the arrays.
    g, p = len(gt_match), len(pred_match)
    gt_boxes, gt_ids, gt_masks = (np.asarray(part) for part in truth)
    joined = {
        "boxes": np.concatenate([gt_boxes.reshape(-1, 4)[:g], boxes.reshape(-1, 4)[:p]]),
        "masks": np.concatenate([gt_masks[..., :g], masks[..., :p]], axis=-1),
        "class_ids": np.concatenate([gt_ids[:g], class_ids[:p]]).astype(int),
        "scores": np.concatenate([np.zeros(g), scores[:p]]),
    }
    return joined, captions, g
