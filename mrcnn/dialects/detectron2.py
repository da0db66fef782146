"""The dialects of Detectron2's Mask R-CNN with FPN (commit 02b5c4e), for weights trained there.

`detectron2` has the ResNets of MSRA: the stride is in the first 1x1 convolution, and the std is 1,
because the division is folded into their first convolution. `detectron2_x` has the ResNets from
PyTorch or Caffe2 ("X-style"): the stride is in the 3x3 convolution, and pixels are divided by their
std. Files of the two have the same layers.
"""

from __future__ import annotations

from dataclasses import replace

from mrcnn.dialects import Anchors, BoxLoss, Dialect, Pooling, Proposals, ResNet
from mrcnn.dialects.pixels import SHORTEST_EDGE_SETTINGS, Frame

_SETTINGS = SHORTEST_EDGE_SETTINGS | {"POST_NMS_ROIS_TRAINING": 1000}
_MSRA = Dialect(
    name="detectron2",
    frame=Frame(rounding="half_up", interpolation="triangle", clips_to_window=True),
    resnet=ResNet(stride_in_first_conv=True),
    anchors=Anchors(offset=0.0),
    proposals=Proposals(min_side=1e-30),  # anything above 0
    pooling=Pooling(sampling_ratio=0),
    box_loss=BoxLoss(beta=0.0),
    settings=_SETTINGS | {"PIXEL_STD": (1.0, 1.0, 1.0)},
)
_X_STYLE = replace(
    _MSRA,
    name="detectron2_x",
    resnet=ResNet(),
    same_layers_as="detectron2",
    settings=_SETTINGS | {"PIXEL_STD": (58.395, 57.12, 57.375)},
)
DIALECTS = (_MSRA, _X_STYLE)
