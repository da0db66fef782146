"""The proposal layer: from anchors to regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mrcnn.network.layers.basic import Unweighted
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import nms


@keras.saving.register_keras_serializable("mrcnn")
class ProposalLayer(Unweighted):
    """Returns the best anchors, moved by their deltas, without near-duplicates.

    Per level, the `pre_nms` best scores are decoded and clipped. After NMS within each level, the
    `post_nms` best of all levels are kept (Lin et al. 2017, section 4.1, as in Detectron).

    Args:
        pre_nms: int. Anchors kept per level before NMS.
        post_nms: int. Proposals kept after NMS.
        nms_threshold: float. IoU above which the lower-scored proposal is dropped.
        std: sequence of float. Four numbers that the deltas are multiplied with.
        min_side: float. Proposals with a shorter side are dropped. Defaults to 0.
        merged_levels: bool. Whether the `pre_nms` best of all levels together go through one NMS
            (Matterport). Defaults to False.
        bounds: sequence of float or None. `(y1, x1, y2, x2)` that proposals are clipped to.
            Defaults to None: the window.

    Call arguments:
        scores: list of tensors `[batch, anchors]`, one per level. Higher is better.
        deltas: list of tensors `[batch, anchors, 4]`.
        anchors: list of tensors `[anchors, 4]`, or `[batch, anchors, 4]`.
        window: tensor `[batch, 4]`, in the coordinates of the anchors.

    Returns:
        Tensor `[batch, post_nms, 4]`, best first, with zero rows behind the last. No gradient flows
        through it.
    """

    def __init__(
        self,
        pre_nms: int,
        post_nms: int,
        nms_threshold: float,
        std: Sequence[float],
        min_side: float = 0.0,
        merged_levels: bool = False,
        bounds: Sequence[float] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.pre_nms, self.post_nms = pre_nms, post_nms
        self.nms_threshold, self.std = nms_threshold, tuple(std)
        self.min_side, self.merged_levels = min_side, merged_levels
        self.bounds = None if bounds is None else tuple(bounds)

    def call(self, scores, deltas, anchors, window):
        stages = self.stages(scores, deltas, anchors, window)
        boxes, index = stages["refined_anchors_clipped"], stages["index"]
        proposals = ops.take_along_axis(boxes, index[..., None], axis=1)
        # Not a product: a box that is not a number, times 0, would not be 0.
        proposals = ops.where(stages["valid"][..., None], proposals, 0.0)
        return ops.stop_gradient(proposals)

    def stages(self, scores: list, deltas: list, anchors: list, window: Any) -> dict[str, Any]:
        """Returns the intermediate results of `call`, for those who want to see them.

        Args:
            scores: As in `call`, like all further arguments.
            deltas: list of tensors.
            anchors: list of tensors.
            window: tensor.

        Returns:
            Dict of `pre_nms_anchors`, `refined_anchors` and `refined_anchors_clipped`
            `[batch, n, 4]`: the best anchors, moved, and clipped; `index` int32
            `[batch, post_nms]`: the rows of these that NMS kept, best first; and `valid` bool
            `[batch, post_nms]`.
        """
        if self.merged_levels:
            scores = [ops.concatenate(scores, axis=1)]
            deltas = [ops.concatenate(deltas, axis=1)]
            anchors = [ops.concatenate(anchors, axis=-2)]
        chosen, moved, best, groups = [], [], [], []
        for level, (score, delta, anchor) in enumerate(zip(scores, deltas, anchors, strict=True)):
            count = _smaller(self.pre_nms, ops.shape(score)[1])
            top, index = ops.top_k(ops.stop_gradient(score), count)  # [batch, count]
            chosen.append(_rows(anchor, index))  # [batch, count, 4]
            delta = _rows(ops.stop_gradient(delta), index)
            moved.append(box_ops.decode(chosen[-1], delta, self.std))
            best.append(top)
            groups.append(ops.full((count,), level, dtype="int32"))
        boxes, best = ops.concatenate(moved, axis=1), ops.concatenate(best, axis=1)
        clipped = self._clip(boxes, window)
        sides = ops.minimum(clipped[..., 2] - clipped[..., 0], clipped[..., 3] - clipped[..., 1])
        best = ops.where(sides >= self.min_side, best, -1e30)
        index, valid = nms.grouped_nms(
            clipped, best, ops.concatenate(groups), self.post_nms, self.nms_threshold
        )
        return {
            "pre_nms_anchors": ops.concatenate(chosen, axis=1),
            "refined_anchors": boxes,
            "refined_anchors_clipped": clipped,
            "index": index,
            "valid": valid,
        }

    def _clip(self, boxes, window):
        if self.bounds is not None:
            window = ops.convert_to_tensor([self.bounds], dtype="float32")
        return box_ops.clip_to_window(boxes, window)

    def compute_output_spec(self, scores, deltas, anchors, window):
        return keras.KerasTensor((scores[0].shape[0], self.post_nms, 4), "float32")

    def get_config(self):
        return super().get_config() | {
            "pre_nms": self.pre_nms,
            "post_nms": self.post_nms,
            "nms_threshold": self.nms_threshold,
            "std": self.std,
            "min_side": self.min_side,
            "merged_levels": self.merged_levels,
            "bounds": self.bounds,
        }


def _rows(boxes, index):
    """Rows `[batch, n]` of boxes `[batch, all, 4]`, or of `[all, 4]` that all images share."""
    if len(boxes.shape) == 2:
        return ops.take(boxes, index, axis=0)
    return ops.take_along_axis(boxes, index[..., None], axis=1)


def _smaller(a, b):
    """The smaller of two numbers; `b` is a scalar tensor where the size of the image is open."""
    return min(a, b) if isinstance(b, int) else ops.minimum(a, b)
