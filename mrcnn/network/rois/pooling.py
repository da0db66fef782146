"""RoIAlign over the feature pyramid, as a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.network.layers.basic import Unweighted
from mrcnn.ops import roi_align


@keras.saving.register_keras_serializable("mrcnn")
class PyramidROIAlign(Unweighted):
    """Pools each region from the pyramid level that fits its size (RoIAlign, He et al. 2017).

    Args:
        size: int. Cells per side of a pooled region.
        strides: sequence of int. Pixels per cell of the maps, P2 first.
        sampling_ratio: int. See `ops.roi_align.pyramid_roi_align`. Defaults to 2.
        aligned: bool. See there. Defaults to True.
        tolerance: float. See `ops.roi_align.assign_levels`. Defaults to 0.

    Call arguments:
        maps: list of tensors. P2..P5, `[batch, height, width, channels]`.
        boxes: tensor `[batch, rois, 4]` in pixels, inside the image.

    Returns:
        Tensor `[batch, rois, size, size, channels]`.
    """

    def __init__(
        self,
        size: int,
        strides: Sequence[int],
        sampling_ratio: int = 2,
        aligned: bool = True,
        tolerance: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size, self.strides = size, tuple(strides)
        self.sampling_ratio, self.aligned, self.tolerance = sampling_ratio, aligned, tolerance

    def call(self, maps, boxes, training=False):
        levels = roi_align.assign_levels(
            boxes, min_level=2, max_level=1 + len(self.strides), tolerance=self.tolerance
        )
        return roi_align.pyramid_roi_align(
            maps,
            boxes,
            self.strides,
            self.size,
            levels,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            bounded=training,
        )

    def compute_output_spec(self, maps, boxes, training=False):
        shape = (*boxes.shape[:2], self.size, self.size, maps[0].shape[-1])
        return keras.KerasTensor(shape, maps[0].dtype)

    def get_config(self):
        return super().get_config() | {
            "size": self.size,
            "strides": self.strides,
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
            "tolerance": self.tolerance,
        }
