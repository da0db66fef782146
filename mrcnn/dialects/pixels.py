"""How an image reaches the network and how detections come back, in training and detection."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcnn.images import masks as mask_ops
from mrcnn.images.fit import FitPlan, FittedImage, apply_plan, plan_fit

# Defaults that the dialects of torchvision and Detectron2 have in common (on COCO).
SHORTEST_EDGE_SETTINGS = {
    "IMAGE_RESIZE_MODE": "shortest_edge",
    "IMAGE_MIN_DIM": 800,
    "IMAGE_MAX_DIM": 1333,
    "BACKBONE_NORM": "frozen",
    "PRE_NMS_LIMIT": 2000,
    "PRE_NMS_LIMIT_INFERENCE": 1000,
    "POST_NMS_ROIS_TRAINING": 2000,
    "POST_NMS_ROIS_INFERENCE": 1000,
    "TRAIN_ROIS_PER_IMAGE": 512,
    "ROI_POSITIVE_RATIO": 0.25,
    "DETECTION_MIN_CONFIDENCE": 0.05,
    "DETECTION_NMS_THRESHOLD": 0.5,
}


@dataclass(frozen=True)
class Frame:
    """The way from an image to the network's input and back.

    A frame reads the image settings of a `Config`: `IMAGE_RESIZE_MODE`, `IMAGE_MIN_DIM`,
    `IMAGE_MAX_DIM`, `IMAGE_MIN_SCALE` and `MEAN_PIXEL`.

    Attributes:
        rounding: str. How scaled sides become whole pixels; see `images.fit.plan_fit`.
        interpolation: str. See `images.fit.resize`.
        bordered_masks: bool. Whether masks are pasted by torchvision's rule; see
            `images.masks.paste_bordered_mask`.
        clips_to_window: bool. Whether the network clips boxes to the part of its input that is not
            padding. Otherwise it clips them to the whole input.
    """

    rounding: str = "half_even"
    interpolation: str = "area"
    bordered_masks: bool = False
    clips_to_window: bool = False

    def plan(
        self,
        shape: tuple[int, ...],
        config: Any,
        scale_factor: float = 1.0,
        rng: np.random.Generator | None = None,
    ) -> FitPlan:
        """Decides scale, crop and padding from the size of an image.

        Args:
            shape: tuple of int. Height and width of the image; more entries are ignored.
            config: Config. Its image settings are read.
            scale_factor: float. Multiplies the scale (scale jitter). Defaults to 1.
            rng: numpy.random.Generator or None. Places random crops, in training. Defaults to None:
                nothing is cropped at random, as in detection.

        Returns:
            A `FitPlan`.
        """
        return plan_fit(
            shape,
            mode=config.IMAGE_RESIZE_MODE,
            min_dim=config.IMAGE_MIN_DIM,
            max_dim=config.IMAGE_MAX_DIM,
            min_scale=config.IMAGE_MIN_SCALE,
            scale_factor=scale_factor,
            crop_rng=rng,
            rounding=self.rounding,
        )

    def apply(self, image: np.ndarray, plan: FitPlan, config: Any) -> FittedImage:
        """Scales, crops and pads an image as planned; padding is the mean pixel.

        Args:
            image: array `[height, width, channels]`, uint8 or float32, 0..255.
            plan: FitPlan. Of `plan`, for this image.
            config: Config. Its `MEAN_PIXEL` is read.

        Returns:
            A `FittedImage`.
        """
        return apply_plan(image, plan, config.MEAN_PIXEL, self.interpolation)

    def fit(self, image: np.ndarray, config: Any) -> FittedImage:
        """Plans and applies at once, for detection."""
        return self.apply(image, self.plan(image.shape, config), config)

    def window(self, fitted: FittedImage) -> np.ndarray:
        """Returns what boxes are clipped to, float32 `[4]`: y1, x1, y2, x2 in pixels."""
        if self.clips_to_window:
            return np.array(fitted.window, np.float32)
        return np.array([0, 0, *fitted.image.shape[:2]], np.float32)

    def restore(
        self, outputs: dict[str, np.ndarray], fitted: FittedImage, shape: tuple[int, int]
    ) -> tuple[list, list | None]:
        """Brings the detections of one image back to its own pixels.

        Args:
            outputs: dict of arrays. `boxes` `[n, 4]` and, if there are masks, `masks`
                `[n, mask height, mask width]`, as the network returns them.
            fitted: FittedImage. What the network received.
            shape: tuple of int. Height and width of the image.

        Returns:
            Two lists with one entry per detection: a box, float32 `[4]` in pixels of the image, or
            None if nothing of it is inside; and a mask as `images.masks.paste_mask` returns it. The
            second is None without masks.
        """
        low, high = np.array(fitted.window[:2]), np.array(fitted.window[2:])
        scale = (high - low) / np.array(shape)  # per axis: sides were rounded to whole pixels
        boxes = (outputs["boxes"] - np.tile(low, 2)) / np.tile(scale, 2)
        boxes = np.clip(boxes, 0, np.tile(shape, 2)).astype("float32")
        inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # False: wholly in the padding
        found = [box if kept else None for box, kept in zip(boxes, inside, strict=True)]
        if "masks" not in outputs:
            return found, None
        paste = mask_ops.paste_bordered_mask if self.bordered_masks else mask_ops.paste_mask
        pasted = functools.partial(paste, image_shape=shape)
        return found, [pasted(mask, box) for mask, box in zip(outputs["masks"], boxes, strict=True)]
