"""The dialects of torchvision's Mask R-CNN, for weights that were trained there.

`torchvision` is `maskrcnn_resnet50_fpn`, read in torchvision 0.29. The epsilon of 0 is that of its
published weights (`overwrite_eps`); see the `BATCH_NORM_EPSILON` setting. `torchvision_v2` is
`maskrcnn_resnet50_fpn_v2`: batch normalization everywhere, a deeper RPN and a deeper box head.
"""

from __future__ import annotations

from dataclasses import replace

from mrcnn.dialects import (
    RPN,
    Anchors,
    BoxHead,
    Detections,
    Dialect,
    MaskHead,
    Pooling,
    Pyramid,
    ResNet,
)
from mrcnn.dialects.pixels import SHORTEST_EDGE_SETTINGS, Frame

_VERSION_1 = Dialect(
    name="torchvision",
    frame=Frame(
        rounding="floor", interpolation="bilinear", bordered_masks=True, clips_to_window=True
    ),
    resnet=ResNet(epsilon=0.0),
    anchors=Anchors(offset=0.0, whole=True),
    pooling=Pooling(aligned=False, tolerance=1e-6),
    detections=Detections(min_side=1e-2),
    settings=SHORTEST_EDGE_SETTINGS,
)
_VERSION_2 = replace(
    _VERSION_1,
    name="torchvision_v2",
    resnet=ResNet(epsilon=1e-5),
    pyramid=Pyramid(lateral_norm="statistics"),
    rpn=RPN(convolutions=2),
    box_head=BoxHead(norm="statistics", convolutions=4),
    mask_head=MaskHead(norm="statistics"),
    settings=SHORTEST_EDGE_SETTINGS | {"BACKBONE_NORM": "statistics"},
)
DIALECTS = (_VERSION_1, _VERSION_2)
