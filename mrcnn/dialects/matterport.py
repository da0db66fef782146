"""The dialect of Matterport's Mask_RCNN, last commit (3deaec5), for weights trained with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import skimage.transform

from mrcnn.dialects import (
    RPN,
    Anchors,
    BoxHead,
    BoxLoss,
    ClassLoss,
    CornerPooling,
    Detections,
    Dialect,
    MaskHead,
    Proposals,
    ResNet,
    Targets,
)
from mrcnn.dialects.pixels import Frame
from mrcnn.images.fit import FitPlan, FittedImage, place, plan_fit

_PIXEL_SHIFT = np.array([0.0, 0.0, 1.0, 1.0])  # between excluded and included upper bounds


def norm_boxes(boxes: Any, shape: tuple[int, int]) -> np.ndarray:
    """Normalizes pixel boxes: 0 and 1 are the centers of the first and last pixel.

    Args:
        boxes: array `[N, 4]` in pixels, upper bounds exclusive.
        shape: tuple of int. Height and width of the image.

    Returns:
        float32 array `[N, 4]`, upper bounds included.
    """
    return ((np.asarray(boxes) - _PIXEL_SHIFT) / _scale(shape)).astype(np.float32)


def denorm_boxes(boxes: Any, shape: tuple[int, int]) -> np.ndarray:
    """Turns normalized boxes back into pixels: the inverse of `norm_boxes`.

    Args:
        boxes: array `[N, 4]`, normalized.
        shape: tuple of int. Height and width of the image.

    Returns:
        int32 array `[N, 4]`, upper bounds exclusive. Halves are rounded to even.
    """
    return np.around(np.asarray(boxes) * _scale(shape) + _PIXEL_SHIFT).astype(np.int32)


def _scale(shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    return np.array([height - 1, width - 1, height - 1, width - 1])


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes an image with scikit-image as the old package did: bilinear, no anti-aliasing.

    Args:
        image: array `[height, width]` or `[height, width, channels]`.
        shape: tuple of int. Height and width of the result.

    Returns:
        A float array; values keep their range.
    """
    return skimage.transform.resize(
        image, shape, order=1, mode="constant", preserve_range=True, anti_aliasing=False
    )


class MatterportFrame(Frame):
    """The frame of Matterport's package, for training and detection.

    Images are resized by scikit-image, centered, and padded with zeros before the mean is
    subtracted. Boxes come back in normalized coordinates of the padded image.
    """

    def plan(
        self,
        shape: tuple[int, ...],
        config: Any,
        scale_factor: float = 1.0,
        rng: np.random.Generator | None = None,
    ) -> FitPlan:
        """Plans as `Frame.plan`, with the image in the center of the canvas."""
        mode = config.IMAGE_RESIZE_MODE
        if mode == "crop" and rng is None:  # random parts of an image are for training
            mode = "square"
        plan = plan_fit(
            shape,
            mode=mode,
            min_dim=config.IMAGE_MIN_DIM,
            max_dim=config.IMAGE_MAX_DIM,
            min_scale=config.IMAGE_MIN_SCALE,
            scale_factor=scale_factor,
            crop_rng=rng,
        )
        sides = zip(plan.canvas_shape, plan.valid_shape, strict=True)
        top, left = ((canvas - valid) // 2 for canvas, valid in sides)
        return plan._replace(origin=(top, left))

    def apply(self, image: np.ndarray, plan: FitPlan, config: Any) -> FittedImage:
        """Applies a plan as `Frame.apply`; integer pixels are truncated, not rounded."""
        if plan.scaled_shape != image.shape[:2]:
            image = resize(image, plan.scaled_shape).astype(image.dtype)
        return place(image, plan, 0.0)

    def restore(
        self, outputs: dict[str, np.ndarray], fitted: FittedImage, shape: tuple[int, int]
    ) -> tuple[list, list | None]:
        """Brings detections back as `Frame.restore`, from normalized boxes; boxes are int32."""
        window = norm_boxes(np.array(fitted.window), fitted.image.shape[:2])
        boxes = _in_window(outputs["boxes"], window, shape)
        real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
        found = [box if kept else None for box, kept in zip(boxes, real, strict=True)]
        if "masks" not in outputs:
            return found, None
        pasted = [
            _paste(mask, box) if kept else None
            for mask, box, kept in zip(outputs["masks"], boxes, real, strict=True)
        ]
        return found, pasted


def _in_window(boxes: np.ndarray, window: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Boxes normalized in the padded image as int32 pixel boxes of the image, `[N, 4]`."""
    y1, x1, y2, x2 = window
    size = np.array([y2 - y1, x2 - x1, y2 - y1, x2 - x1])
    return denorm_boxes((boxes - np.array([y1, x1, y1, x1])) / size, shape)


def _paste(mask: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A mask scaled to its box, as crop and region."""
    y1, x1, y2, x2 = (int(value) for value in box)
    return resize(mask, (y2 - y1, x2 - x1)) >= 0.5, (y1, x1, y2, x2)


DIALECTS = (
    Dialect(
        name="matterport",
        frame=MatterportFrame(clips_to_window=True),
        resnet=ResNet(bias=True, stride_in_first_conv=True, same_padded_pool=True, epsilon=1e-3),
        rpn=RPN(channels=512, softmax=True),
        box_head=BoxHead(norm="statistics"),
        mask_head=MaskHead(norm="statistics", bias=True, probabilities=True),
        anchors=Anchors(ratio_is_width=True, offset=0.0),
        proposals=Proposals(merged_levels=True, min_side=0.0, bounds=(0.0, 0.0, 1.0, 1.0)),
        pooling=CornerPooling(),
        targets=Targets(append_gt=False, balanced=True),
        box_loss=BoxLoss(beta=1.0, over_positives=True),
        class_loss=ClassLoss(all_rows=True),
        detections=Detections(best_class_only=True, min_side=None),
        normalized_boxes=True,
        active_classes=True,
        settings={
            "MEAN_PIXEL": (123.7, 116.8, 103.9),
            "PIXEL_STD": (1.0, 1.0, 1.0),
            "BACKBONE_NORM": "statistics",
            "RPN_BBOX_STD_DEV": (0.1, 0.1, 0.2, 0.2),
            "PRE_NMS_LIMIT": 6000,
        },
    ),
)
