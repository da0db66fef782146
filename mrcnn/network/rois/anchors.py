"""The anchors of a feature pyramid, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.network.layers.basic import Unweighted
from mrcnn.ops import anchors as anchor_ops


@keras.saving.register_keras_serializable("mrcnn")
class PyramidAnchors(Unweighted):
    """Makes the anchors of a pyramid from the shapes of its maps.

    Args:
        sizes: sequence of float. Anchor side in pixels, one per level.
        ratios: sequence of float. Height / width.
        strides: sequence of int. Pixels per cell, one per level.
        anchor_stride: int. Cells between anchors. Defaults to 1.
        offset: float. Share of a stride between the corner of a cell and the center of its anchors.
            Defaults to 0.5.
        whole: bool. Whether half sides are whole pixels, and strides are the sides of the image
            divided by those of the map, rounded down (torchvision): 61 instead of 64 for a side of
            800. Defaults to False.
        ratio_is_width: bool. Whether `ratios` are width / height (Matterport). Defaults to False.

    Call arguments:
        image: tensor `[batch, height, width, channels]`. Only its shape is used.
        pyramid: list of tensors. The maps, with the same axes.

    Returns:
        List of float32 tensors `[anchors, 4]`, one per level, in pixels. They are not clipped to
        the image.
    """

    def __init__(
        self,
        sizes: Sequence[float],
        ratios: Sequence[float],
        strides: Sequence[int],
        anchor_stride: int = 1,
        offset: float = 0.5,
        whole: bool = False,
        ratio_is_width: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.sizes, self.ratios, self.strides = tuple(sizes), tuple(ratios), tuple(strides)
        self.anchor_stride, self.offset, self.whole = anchor_stride, offset, whole
        self.ratio_is_width = ratio_is_width

    def call(self, image, pyramid):
        ratios = [1 / ratio for ratio in self.ratios] if self.ratio_is_width else self.ratios
        image_height, image_width = ops.shape(image)[1:3]
        levels = []
        for size, pixels, feature_map in zip(self.sizes, self.strides, pyramid, strict=True):
            rows, columns = ops.shape(feature_map)[1:3]
            stride: Any = pixels
            if self.whole:
                stride = (image_height // rows, image_width // columns)
            levels.append(
                anchor_ops.level_anchors(
                    size,
                    ratios,
                    stride,
                    rows,
                    columns,
                    anchor_stride=self.anchor_stride,
                    offset=self.offset,
                    whole_sides=self.whole,
                )
            )
        return levels

    def compute_output_spec(self, image, pyramid):
        return [keras.KerasTensor((None, 4), "float32") for _ in pyramid]

    def get_config(self):
        return super().get_config() | {
            "sizes": self.sizes,
            "ratios": self.ratios,
            "strides": self.strides,
            "anchor_stride": self.anchor_stride,
            "offset": self.offset,
            "whole": self.whole,
            "ratio_is_width": self.ratio_is_width,
        }
