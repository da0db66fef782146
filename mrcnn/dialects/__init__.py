"""The dialects of Mask R-CNN: the arithmetic that weights were trained with, one file per dialect.

Weights only give the right answer with the arithmetic of their training. A `Dialect` is a record in
groups, and the field names of a group are the keyword arguments of the layer or function that reads
it. So the network hands groups on and never names a dialect. To add one, add a file to this folder
with a tuple `DIALECTS`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import Any

from mrcnn.dialects.pixels import Frame


@dataclass(frozen=True)
class ResNet:
    """How a ResNet is built; see `network.backbones.resnet.resnet`.

    Attributes:
        bias: bool. Whether convolutions have biases beside their normalization.
        stride_in_first_conv: bool. Whether the stride of a bottleneck is in its first 1x1
            convolution, not in its 3x3 convolution.
        same_padded_pool: bool. Whether the max-pooling of the stem pads below and right alone, as
            "same" does.
        epsilon: float. Added to the variance in every batch normalization of the network.
    """

    bias: bool = False
    stride_in_first_conv: bool = False
    same_padded_pool: bool = False
    epsilon: float = 1e-5


@dataclass(frozen=True)
class Pyramid:
    """How the feature pyramid is normalized; see `network.layers.fpn.feature_pyramid`.

    Attributes:
        lateral_norm: str or None. Kind of normalization behind the lateral convolutions.
    """

    lateral_norm: str | None = None


@dataclass(frozen=True)
class RPN:
    """How the region proposal network is built; see `network.heads.rpn.rpn_model`.

    Attributes:
        channels: int or None. Channels of the shared convolutions. None: those of the pyramid.
        softmax: bool. Whether there are two logits per anchor, background and object.
        convolutions: int. Shared 3x3 convolutions.
    """

    channels: int | None = None
    softmax: bool = False
    convolutions: int = 1


@dataclass(frozen=True)
class BoxHead:
    """How the box head is built; see `network.heads.box.build_box_head`.

    Attributes:
        norm: str or None. Kind of normalization behind each hidden layer.
        convolutions: int. 3x3 convolutions in front of one dense layer. 0: two dense layers alone.
    """

    norm: str | None = None
    convolutions: int = 0


@dataclass(frozen=True)
class MaskHead:
    """How the mask head is built; see `network.heads.mask.build_mask_head`.

    Attributes:
        norm: str or None. Kind of normalization behind each convolution.
        bias: bool. Whether normalized convolutions have biases too.
        probabilities: bool. Whether masks are returned as probabilities, not as logits.
    """

    norm: str | None = None
    bias: bool = False
    probabilities: bool = False


@dataclass(frozen=True)
class Anchors:
    """Where anchors are; see `network.rois.anchors.PyramidAnchors`.

    Attributes:
        ratio_is_width: bool. Whether a ratio is width / height, not height / width.
        offset: float. Share of a stride between the corner of a cell and the center of its anchors.
        whole: bool. Whether half sides are whole pixels, and strides are the sides of the image
            divided by those of the map, rounded down.
    """

    ratio_is_width: bool = False
    offset: float = 0.5
    whole: bool = False


@dataclass(frozen=True)
class Proposals:
    """How proposals are chosen; see `network.rois.proposals.ProposalLayer`.

    Attributes:
        merged_levels: bool. Whether proposals of all levels compete in one NMS.
        min_side: float. Proposals with a shorter side are dropped, in pixels.
        bounds: tuple or None. `(y1, x1, y2, x2)` that proposals are clipped to. None: the window.
    """

    merged_levels: bool = False
    min_side: float = 1e-3
    bounds: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Pooling:
    """How regions are pooled by RoIAlign; see `network.rois.pooling.PyramidROIAlign`.

    Attributes:
        sampling_ratio: int. Samples per side of a cell. 0: as many as it has cells of the map.
        aligned: bool. Whether pixel centers lie half a cell in.
        tolerance: float. Added to the logarithm that chooses the level.
    """

    sampling_ratio: int = 2
    aligned: bool = True
    tolerance: float = 0.0


@dataclass(frozen=True)
class CornerPooling:
    """One sample per cell, from corner to corner; see `network.layers.matterport.CornerPooling`."""


@dataclass(frozen=True)
class Targets:
    """How RoIs are sampled for training; see `network.rois.targets.DetectionTargets`.

    Attributes:
        append_gt: bool. Whether ground-truth boxes join the proposals.
        balanced: bool. Whether there are no more negatives than keep the share of positives.
    """

    append_gt: bool = True
    balanced: bool = False


@dataclass(frozen=True)
class BoxLoss:
    """The box losses; see `network.layers.losses.box_loss`.

    Attributes:
        beta: float. Where smooth L1 turns from quadratic to linear. 0: L1.
        over_positives: bool. Whether the loss is a mean over the numbers of the positives.
    """

    beta: float = 1 / 9
    over_positives: bool = False


@dataclass(frozen=True)
class ClassLoss:
    """The class loss; see `network.layers.losses.class_loss`.

    Attributes:
        all_rows: bool. Whether padding rows count, as background.
    """

    all_rows: bool = False


@dataclass(frozen=True)
class Detections:
    """How detections are chosen; see `network.rois.detections.DetectionLayer`.

    Attributes:
        best_class_only: bool. Whether a RoI is a candidate for its most likely class alone.
        min_side: float or None. Detections with a shorter side are dropped, as are empty ones, in
            pixels of the network's input. None: none is dropped.
    """

    best_class_only: bool = False
    min_side: float | None = 0.0


@dataclass(frozen=True)
class Dialect:
    """The arithmetic that weights were trained with, in groups.

    Attributes:
        name: str. The value of the `NUMERICS` setting.
        normalized_boxes: bool. Whether the graph uses the coordinates of `ops.boxes.normalize`.
        active_classes: bool. Whether the class loss knows which classes an image's source has.
        same_layers_as: str or None. Name of the dialect whose weight files look the same, so that
            a user has to choose between the two.
        settings: dict. Defaults of `Config` that the dialect brings along. What a user sets stays.
    """

    name: str
    frame: Frame = Frame()
    resnet: ResNet = ResNet()
    pyramid: Pyramid = Pyramid()
    rpn: RPN = RPN()
    box_head: BoxHead = BoxHead()
    mask_head: MaskHead = MaskHead()
    anchors: Anchors = Anchors()
    proposals: Proposals = Proposals()
    pooling: Pooling | CornerPooling = Pooling()
    targets: Targets = Targets()
    box_loss: BoxLoss = BoxLoss()
    class_loss: ClassLoss = ClassLoss()
    detections: Detections = Detections()
    normalized_boxes: bool = False
    active_classes: bool = False
    same_layers_as: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)


@functools.cache
def dialects() -> dict[str, Dialect]:
    """Returns the dialects by name: those of every file in this folder, "standard" first."""
    found: list[Dialect] = []
    for module in pkgutil.iter_modules(__path__):
        content = importlib.import_module(f"{__name__}.{module.name}")
        found += getattr(content, "DIALECTS", ())
    found.sort(key=lambda dialect: dialect.name != "standard")
    return {dialect.name: dialect for dialect in found}


def names() -> tuple[str, ...]:
    """Returns the names of the dialects, "standard" first."""
    return tuple(dialects())


def named(name: str) -> Dialect:
    """Returns the dialect of a name; "auto" is "standard", which new training uses."""
    return dialects()["standard" if name == "auto" else name]


def fit(chosen: str, trained: str) -> bool:
    """Returns whether weights trained in a dialect are right for the NUMERICS that was chosen."""
    return chosen in ("auto", trained) or named(chosen).same_layers_as == trained


def of(config: Any) -> Dialect:
    """Returns the dialect of a Config, with what the Config sets otherwise."""
    dialect = named(config.NUMERICS)
    if config.BATCH_NORM_EPSILON is None:
        return dialect
    resnet = dataclasses.replace(dialect.resnet, epsilon=config.BATCH_NORM_EPSILON)
    return dataclasses.replace(dialect, resnet=resnet)
