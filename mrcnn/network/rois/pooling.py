"""RoIAlign over the feature pyramid, as a layer."""

from __future__ import annotations

import keras
from keras import layers, ops

from mrcnn.ops import roi_align


@keras.saving.register_keras_serializable("mrcnn")
class PyramidROIAlign(layers.Layer):
    """Pools each region from the pyramid level that fits its size (RoIAlign, He et al. 2017).

    Args:
        size: cells per side.
        strides: of the maps, P2 first.
        sampling_ratio, aligned: see `ops.roi_align.pyramid_roi_align`.
        canonical_size, tolerance: see `ops.roi_align.assign_levels`.
        corners: boxes are in the coordinates of `ops.boxes.normalize` and pooled by
            `ops.roi_align.pyramid_crop`; the four arguments above mean nothing then.

    Call: maps (P2..P5), boxes [batch, rois, 4] in pixels, inside the image ->
    [batch, rois, size, size, channels].
    """

    def __init__(
        self, size, strides, sampling_ratio=2, canonical_size=224.0, corners=False, aligned=True,
        tolerance=0.0, **kwargs,
    ):  # fmt: skip
        super().__init__(**{"trainable": False} | kwargs)
        self.aligned, self.tolerance = aligned, tolerance
        self.size, self.strides, self.corners = size, tuple(strides), corners
        self.sampling_ratio, self.canonical_size = sampling_ratio, canonical_size

    def call(self, maps, boxes, training=False):
        if self.corners:
            rows, columns = ops.shape(maps[0])[1:3]
            levels = roi_align.assign_nearest_levels(boxes, rows * columns * self.strides[0] ** 2)
            return roi_align.pyramid_crop(maps, boxes, self.size, levels)
        levels = roi_align.assign_levels(
            boxes, min_level=2, max_level=1 + len(self.strides),
            canonical_size=self.canonical_size, tolerance=self.tolerance,
        )  # fmt: skip
        return roi_align.pyramid_roi_align(
            maps, boxes, self.strides, self.size, levels, self.sampling_ratio, self.aligned,
            bounded=training,
        )  # fmt: skip

    def compute_output_spec(self, maps, boxes, training=False):
        shape = (*boxes.shape[:2], self.size, self.size, maps[0].shape[-1])
        return keras.KerasTensor(shape, maps[0].dtype)

    def get_config(self):
        return super().get_config() | {
            "size": self.size, "strides": self.strides,
            "sampling_ratio": self.sampling_ratio, "canonical_size": self.canonical_size,
            "corners": self.corners, "aligned": self.aligned, "tolerance": self.tolerance,
        }  # fmt: skip
