"""The anchors of a feature pyramid, as a layer."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import anchors as anchor_ops


@keras.saving.register_keras_serializable("mrcnn")
class PyramidAnchors(layers.Layer):
    """Anchors of a pyramid, made from the shapes of its maps.

    Args:
        sizes: anchor side in pixels, one a level.
        ratios: height / width.
        strides: pixels per cell, one a level.
        anchor_stride: cells between anchors.
        offset: share of a stride between a cell's corner and the centre of its anchors.
        whole: half sides are whole pixels, and strides are the sides of the image divided by those
            of the map, rounded down (torchvision): 61 instead of 64 for a side of 800.

    Call: image [batch, height, width, channels] and list of maps of the same axes -> float32
    [anchors, 4] in pixels, not clipped to the image.
    """

    def __init__(self, sizes, ratios, strides, anchor_stride=1, offset=0.5, whole=False, **kwargs):
        super().__init__(**{"trainable": False} | kwargs)
        self.sizes, self.ratios, self.strides = tuple(sizes), tuple(ratios), tuple(strides)
        self.anchor_stride, self.offset, self.whole = anchor_stride, offset, whole

    def call(self, image, pyramid):
        shapes, strides = [ops.shape(feature_map)[1:3] for feature_map in pyramid], self.strides
        if self.whole:
            height, width = ops.shape(image)[1:3]
            strides = [(height // rows, width // columns) for rows, columns in shapes]
        return anchor_ops.pyramid_anchors(
            self.sizes, self.ratios, strides, shapes,
            anchor_stride=self.anchor_stride, offset=self.offset, whole_sides=self.whole,
        )  # fmt: skip

    def compute_output_spec(self, image, pyramid):
        return keras.KerasTensor((None, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "sizes": self.sizes, "ratios": self.ratios, "strides": self.strides,
            "anchor_stride": self.anchor_stride, "offset": self.offset, "whole": self.whole,
        }  # fmt: skip
