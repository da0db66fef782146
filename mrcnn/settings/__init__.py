"""The settings in groups: each with its default, its meaning, and its check beside it.

`mrcnn.config.Config` is composed of these groups. Another network composes those that it shares
with Mask R-CNN and adds its own::

    class UNetConfig(BaseConfig, Learning, Images, Training, UNet): ...

To add a setting, add an attribute and its entry in `CHECKS` to one group. A rule that needs several
settings goes into the group's `check_together`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.images.fit import EDGE_MULTIPLE, MODES, PAD_MULTIPLE
from mrcnn.settings import schedules
from mrcnn.settings.checks import (
    Check,
    flag,
    number,
    one_of,
    or_none,
    positive,
    run_name,
    sequence,
    text_or_function,
    whole,
)

Numbers = Sequence[float] | np.ndarray

# Upper bounds, each far above any use, so that a config.json of unknown origin cannot ask for more
# memory than a machine has.
MOST_PIXELS = 8192  # side of a network's input: 800 MB as float32; larger images are cut into tiles
MOST_BOXES = 20_000  # boxes of one kind per image: 1 GB when each is pooled to 7 x 7 x 256
MOST_HEAD_WEIGHTS = 2**28  # numbers in the box and the mask head: 1 GB; usual heads have 2**24


class Group:
    """Base of a group of settings: plain upper-case class attributes.

    Attributes:
        CHECKS: dict. The `Check` of each setting, by name.
        DERIVED: dict. For each property of the group that follows from settings, by name: which
            settings to set instead.
    """

    CHECKS: dict[str, Check] = {}
    DERIVED: dict[str, str] = {}

    def check_together(self) -> None:
        """Checks what needs more than one setting; every single value is valid already.

        Raises:
            ValueError: settings that do not fit each other.
        """

    def implied(self) -> dict[str, Any]:
        """Returns defaults that follow from other settings, for settings that nobody has set."""
        return {}


class Learning(Group):
    """What is learned."""

    NAME: str | None = None  # names the run folder and the checkpoints
    NUM_CLASSES = 1  # number of classes, including the background, which is class 0
    SEED: int | None = 0  # for weights, sampling, image order, augmentation; None: a random one

    CHECKS = {
        "NAME": or_none(run_name),
        "NUM_CLASSES": whole(2, 30_000),
        "SEED": or_none(whole(0, 2**32 - 1)),
    }


class Images(Group):
    """How an image reaches the network."""

    IMAGE_CHANNEL_COUNT = 3
    IMAGE_RESIZE_MODE = "square"  # "square", "pad64", "crop", "none" or "shortest_edge": images.fit
    IMAGE_MIN_DIM = 800  # the short side is scaled up to this; side of the crop in mode "crop"
    IMAGE_MAX_DIM = 1024  # the long side is scaled down to this and padded to it (mode "square")
    IMAGE_MIN_SCALE = 0  # if above 0, images are scaled by at least this factor
    # Percentiles (low, high) of each image that are stretched to 0..255, for example (1, 99.8).
    IMAGE_STRETCH: tuple[float, float] | None = None
    # RGB mean of ImageNet, subtracted inside the network. Images are converted to 0..255, unless
    # the largest mean is above 255 or not above 1.
    MEAN_PIXEL: Numbers = (123.675, 116.28, 103.53)
    PIXEL_STD: Numbers = (58.395, 57.12, 57.375)  # RGB std of ImageNet; the network divides by it
    # Keyword arguments of data.augment.Augmenter, for example {"fliplr": 0.5}.
    AUGMENTATION: dict[str, Any] | None = None

    CHECKS = {
        "IMAGE_CHANNEL_COUNT": whole(1, 1024),
        "IMAGE_RESIZE_MODE": one_of(*MODES),
        "IMAGE_MIN_DIM": whole(0, MOST_PIXELS),
        "IMAGE_MAX_DIM": whole(64, MOST_PIXELS),
        "IMAGE_MIN_SCALE": number(0, 64),
        "IMAGE_STRETCH": or_none(sequence(number(0, 100), count=2)),
        "MEAN_PIXEL": sequence(number()),
        "PIXEL_STD": sequence(positive),
        "AUGMENTATION": or_none(
            Check(
                "a dict of arguments of Augmenter",
                lambda value: isinstance(value, Mapping) and all(isinstance(k, str) for k in value),
            )
        ),
    }
    DERIVED = {"IMAGE_SHAPE": "IMAGE_MAX_DIM (IMAGE_MIN_DIM in mode 'crop') or IMAGE_CHANNEL_COUNT"}

    @property
    def IMAGE_SHAPE(self) -> np.ndarray:  # noqa: N802 - a setting's name
        """Height, width and channels of a training image, int array [3]."""
        side = self.IMAGE_MIN_DIM if self.IMAGE_RESIZE_MODE == "crop" else self.IMAGE_MAX_DIM
        if self.IMAGE_RESIZE_MODE == "shortest_edge":  # padded to this multiple by images.fit
            side = math.ceil(side / EDGE_MULTIPLE) * EDGE_MULTIPLE
        return np.array([side, side, self.IMAGE_CHANNEL_COUNT])

    def check_together(self) -> None:
        """Checks that means and stds fit the channels, and that sides fit the pyramid."""
        for name in ("MEAN_PIXEL", "PIXEL_STD"):
            value = getattr(self, name)
            if len(value) != self.IMAGE_CHANNEL_COUNT:
                raise ValueError(
                    f"{name} must hold one value per image channel "
                    f"(IMAGE_CHANNEL_COUNT = {self.IMAGE_CHANNEL_COUNT}), got {value!r}."
                )
        padded = self.IMAGE_RESIZE_MODE in ("square", "pad64", "crop")
        if padded and any(self.IMAGE_SHAPE[:2] % PAD_MULTIPLE):
            name = "IMAGE_MIN_DIM" if self.IMAGE_RESIZE_MODE == "crop" else "IMAGE_MAX_DIM"
            raise ValueError(
                f"{name} must be a multiple of {PAD_MULTIPLE}, so that every pyramid level has "
                f"whole cells; got {getattr(self, name)}."
            )

    def implied(self) -> dict[str, Any]:
        """Returns a std for each channel; old Configs set MEAN_PIXEL, but do not know PIXEL_STD."""
        if len(self.PIXEL_STD) == self.IMAGE_CHANNEL_COUNT:
            return {}
        return {"PIXEL_STD": (float(np.mean(self.PIXEL_STD)),) * self.IMAGE_CHANNEL_COUNT}


class Backbone(Group):
    """The backbone and the feature pyramid."""

    # "resnet18", "resnet34", "resnet50", "resnet101", a name in keras.applications, or a function
    BACKBONE: str | Callable[..., Any] = "resnet101"
    BACKBONE_WIDTH = 64  # channels of the ResNet's stem; fewer make a smaller, faster network
    # "batch" (statistics of each batch), "statistics" (moving statistics, but scale and offset are
    # trained), "frozen" (all constant) or "group" (groups of channels of one image)
    BACKBONE_NORM = "batch"
    BATCH_NORM_EPSILON: float | None = None  # added to variances; None: the dialect's
    BACKBONE_STRIDES: Numbers = (4, 8, 16, 32, 64)  # pixels per cell of P2..P6
    TOP_DOWN_PYRAMID_SIZE = 256  # channels of P2..P6

    CHECKS = {
        "BACKBONE": text_or_function,
        "BACKBONE_WIDTH": whole(8, 128),
        "BACKBONE_NORM": one_of("batch", "statistics", "frozen", "group"),
        "BATCH_NORM_EPSILON": or_none(number(0, 1)),
        "BACKBONE_STRIDES": sequence(positive, count=5),
        "TOP_DOWN_PYRAMID_SIZE": whole(1, 2048),
    }


class Proposals(Group):
    """The region proposal network."""

    RPN_ANCHOR_SCALES: Numbers = (32, 64, 128, 256, 512)  # square anchor side in pixels on P2..P6
    RPN_ANCHOR_RATIOS: Numbers = (0.5, 1, 2)  # height / width
    RPN_ANCHOR_STRIDE = 1  # cells between anchors
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256  # sampled for the RPN losses, at most half of them positive
    RPN_NMS_THRESHOLD = 0.7  # IoU above which the proposal with the lower score is dropped
    RPN_BBOX_STD_DEV: Numbers = (1.0, 1.0, 1.0, 1.0)  # the RPN's box deltas are divided by this
    PRE_NMS_LIMIT = 2000  # best anchors kept per level before NMS
    PRE_NMS_LIMIT_INFERENCE: int | None = None  # the same in detection; None: PRE_NMS_LIMIT
    POST_NMS_ROIS_TRAINING = 2000  # proposals kept after NMS
    POST_NMS_ROIS_INFERENCE = 1000

    CHECKS = {
        "RPN_ANCHOR_SCALES": sequence(positive, count=5),
        "RPN_ANCHOR_RATIOS": sequence(positive, most=64),
        "RPN_ANCHOR_STRIDE": whole(1, 64),
        "RPN_TRAIN_ANCHORS_PER_IMAGE": whole(2, MOST_BOXES),
        "RPN_NMS_THRESHOLD": number(0, 1),
        "RPN_BBOX_STD_DEV": sequence(positive, count=4),
        "PRE_NMS_LIMIT": whole(1, MOST_BOXES),
        "PRE_NMS_LIMIT_INFERENCE": or_none(whole(1, MOST_BOXES)),
        "POST_NMS_ROIS_TRAINING": whole(1, MOST_BOXES),
        "POST_NMS_ROIS_INFERENCE": whole(1, MOST_BOXES),
    }


class Heads(Group):
    """The box head and the mask head."""

    USE_MASKS = True  # False: Faster R-CNN, the same network without the mask head
    TRAIN_ROIS_PER_IMAGE = 200  # proposals sampled for the losses of the heads
    ROI_POSITIVE_RATIO = 0.33  # largest share of positives among them
    BBOX_STD_DEV: Numbers = (0.1, 0.1, 0.2, 0.2)  # the box head's deltas are divided by this
    POOL_SIZE = 7  # cells per side of a RoI in the box head
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024  # width of the box head
    MASK_POOL_SIZE = 14  # cells per side of a RoI in the mask head
    MASK_SHAPE: Sequence[int] = (28, 28)  # of a predicted mask: twice MASK_POOL_SIZE
    MASK_CONV_LAYERS = 4  # 3x3 convolutions in the mask head
    MASK_CHANNELS = 256  # their width
    # None, or "group": group normalization in FPN and heads, for training from scratch.
    HEAD_NORM: str | None = None

    CHECKS = {
        "USE_MASKS": flag,
        "TRAIN_ROIS_PER_IMAGE": whole(4, MOST_BOXES),
        "ROI_POSITIVE_RATIO": number(0.01, 1),
        "BBOX_STD_DEV": sequence(positive, count=4),
        "POOL_SIZE": whole(1, 64),
        "FPN_CLASSIF_FC_LAYERS_SIZE": whole(1, 8192),
        "MASK_POOL_SIZE": whole(1, 112),
        "MASK_SHAPE": sequence(whole(1, 224), count=2),
        "MASK_CONV_LAYERS": whole(0, 32),
        "MASK_CHANNELS": whole(1, 2048),
        "HEAD_NORM": one_of(None, "group"),
    }

    def check_together(self) -> None:
        """Checks that a positive RoI can be sampled, the size of masks, and that of the heads."""
        if int(self.TRAIN_ROIS_PER_IMAGE * self.ROI_POSITIVE_RATIO) < 1:
            raise ValueError(
                "ROI_POSITIVE_RATIO must leave room for one positive among TRAIN_ROIS_PER_IMAGE = "
                f"{self.TRAIN_ROIS_PER_IMAGE}, got {self.ROI_POSITIVE_RATIO!r}; increase either."
            )
        side = 2 * self.MASK_POOL_SIZE
        if tuple(self.MASK_SHAPE) != (side, side):
            raise ValueError(
                f"MASK_SHAPE must be twice MASK_POOL_SIZE on each side, ({side}, {side}), "
                f"got {self.MASK_SHAPE!r}."
            )
        weights = self._head_weights()
        if weights > MOST_HEAD_WEIGHTS:
            raise ValueError(
                f"the heads would have {weights} weights, at most {MOST_HEAD_WEIGHTS} are allowed: "
                "decrease NUM_CLASSES, POOL_SIZE, TOP_DOWN_PYRAMID_SIZE, "
                "FPN_CLASSIF_FC_LAYERS_SIZE, MASK_CONV_LAYERS or MASK_CHANNELS."
            )

    def _head_weights(self) -> int:
        """About how many weights the box head and the mask head have."""
        classes = getattr(self, "NUM_CLASSES", 1)
        maps = getattr(self, "TOP_DOWN_PYRAMID_SIZE", 1)
        width = self.FPN_CLASSIF_FC_LAYERS_SIZE
        box = self.POOL_SIZE**2 * maps * width + width**2 + 5 * classes * width
        channels = self.MASK_CHANNELS
        mask = 9 * channels * (maps + channels * self.MASK_CONV_LAYERS) + channels * classes
        return box + mask * self.USE_MASKS


class GroundTruth(Group):
    """What the network is trained on."""

    MAX_GT_INSTANCES = 100  # most instances per image used in training
    USE_MINI_MASK = True  # masks are stored cropped to their box and resized to MINI_MASK_SHAPE
    MINI_MASK_SHAPE: Sequence[int] = (56, 56)

    CHECKS = {
        "MAX_GT_INSTANCES": whole(1, MOST_BOXES),
        "USE_MINI_MASK": flag,
        "MINI_MASK_SHAPE": sequence(whole(1, 1024), count=2),
    }


class Detection(Group):
    """Which detections are returned."""

    DETECTION_MAX_INSTANCES = 100  # most detections per image
    DETECTION_MIN_CONFIDENCE = 0.7  # detections with a lower score are dropped
    # IoU above which, of two detections of a class, the one with the lower score is dropped
    DETECTION_NMS_THRESHOLD = 0.3

    CHECKS = {
        "DETECTION_MAX_INSTANCES": whole(1, MOST_BOXES),
        "DETECTION_MIN_CONFIDENCE": number(0, 1),
        "DETECTION_NMS_THRESHOLD": number(0, 1),
    }


class Matterport(Group):
    """Settings of Matterport's Mask_RCNN that old scripts set, and that nothing new needs."""

    USE_RPN_ROIS = True  # the heads train on proposals; nothing else is possible here
    TRAIN_BN: bool | None = None  # False means BACKBONE_NORM "statistics", True means "batch"
    # Function that returns the shapes of a callable BACKBONE's maps, see compat.generator.
    COMPUTE_BACKBONE_SHAPE: Callable[..., Any] | str | None = None

    CHECKS = {
        "USE_RPN_ROIS": one_of(True),
        "TRAIN_BN": one_of(None, True, False),
        "COMPUTE_BACKBONE_SHAPE": or_none(text_or_function),
    }
    DERIVED = {"IMAGE_META_SIZE": "NUM_CLASSES"}

    @property
    def IMAGE_META_SIZE(self) -> int:  # noqa: N802 - a setting's name
        """Length of Matterport's image_meta vector: 12 numbers and one flag per class."""
        return 12 + self.NUM_CLASSES  # type: ignore[attr-defined]  # of Learning

    def implied(self) -> dict[str, Any]:
        """Returns what `TRAIN_BN` means for `BACKBONE_NORM`."""
        if self.TRAIN_BN is None:
            return {}
        return {"BACKBONE_NORM": "batch" if self.TRAIN_BN else "statistics"}


class Training(Group):
    """Batches, optimizer, schedule and checkpoints."""

    GPU_COUNT = 1  # devices that a batch is split over
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH: int | None = None  # None: an epoch is one pass over the images
    VALIDATION_STEPS: int | None = None  # None: the whole validation set
    OPTIMIZER = "sgd"  # "sgd" (with momentum) or "adamw"
    LEARNING_RATE = 0.001
    LEARNING_MOMENTUM = 0.9
    WEIGHT_DECAY = 0.0001  # of kernels only: not of biases, not of normalization
    GRADIENT_CLIP_NORM = 5.0  # global norm over all gradients; 0: no clipping
    # "constant", "step" or "cosine" over the epochs of one train() call; or a Keras
    # LearningRateSchedule over its steps, which replaces LEARNING_RATE.
    LR_SCHEDULE: Any = "constant"
    LR_STEPS: Numbers = (0.67, 0.89)  # shares of the training after which "step" divides by 10
    WARMUP_STEPS = 0  # steps of linear warm-up, starting at a thousandth of the rate
    EVALUATE_EVERY = 5  # epochs between COCO evaluations of the validation set; 0: never
    CHECKPOINTS_TO_KEEP = 0  # newest epochs whose weights are kept, besides the best; 0: all
    DATA_WORKERS = 2  # threads that load and augment images
    JIT_COMPILE: bool | str = False  # whether the training step is compiled with XLA, or "auto"

    CHECKS = {
        "GPU_COUNT": whole(1, 1024),
        "IMAGES_PER_GPU": whole(1, 4096),
        "STEPS_PER_EPOCH": or_none(whole(1)),
        "VALIDATION_STEPS": or_none(whole(1)),
        "OPTIMIZER": one_of("sgd", "adamw"),
        "LEARNING_RATE": number(0, 10),
        "LEARNING_MOMENTUM": number(0, 1),
        "WEIGHT_DECAY": number(0, 1),
        "GRADIENT_CLIP_NORM": number(0),
        "LR_SCHEDULE": Check(
            f"{one_of(*schedules.KINDS).expected}, or a Keras LearningRateSchedule",
            lambda value: schedules.is_schedule(value) or one_of(*schedules.KINDS).accepts(value),
            lambda value: schedules.load(value) if isinstance(value, Mapping) else value,
        ),
        "LR_STEPS": sequence(number(0)),
        "WARMUP_STEPS": whole(0),
        "EVALUATE_EVERY": whole(0),
        "CHECKPOINTS_TO_KEEP": whole(0),
        "DATA_WORKERS": whole(0, 256),
        "JIT_COMPILE": one_of(True, False, "auto"),
    }
    DERIVED = {"BATCH_SIZE": "IMAGES_PER_GPU or GPU_COUNT"}

    @property
    def BATCH_SIZE(self) -> int:  # noqa: N802 - a setting's name
        """Images per step over all devices; setting it sets IMAGES_PER_GPU."""
        return self.IMAGES_PER_GPU * self.GPU_COUNT

    @BATCH_SIZE.setter
    def BATCH_SIZE(self, value: int):  # noqa: N802 - as old notebooks set it
        if value % self.GPU_COUNT:
            raise AttributeError(
                "BATCH_SIZE is derived: set IMAGES_PER_GPU or GPU_COUNT instead, or give a "
                f"multiple of GPU_COUNT = {self.GPU_COUNT}, not {value!r}."
            )
        self.IMAGES_PER_GPU = value // self.GPU_COUNT

    def check_together(self) -> None:
        """Checks that only one schedule warms up."""
        if self.WARMUP_STEPS and not isinstance(self.LR_SCHEDULE, str):
            raise ValueError(
                f"WARMUP_STEPS must be 0 with a Keras LearningRateSchedule, got "
                f"{self.WARMUP_STEPS}: let the schedule itself warm up."
            )


class Losses(Group):
    """The losses of Mask R-CNN."""

    LOSS_WEIGHTS: dict[str, float] = {  # those that are left out have weight 1
        "rpn_class_loss": 1.0,
        "rpn_bbox_loss": 1.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 1.0,
    }

    CHECKS = {
        "LOSS_WEIGHTS": Check(
            f"a dict of numbers by loss ({', '.join(LOSS_WEIGHTS)})",
            lambda value: (
                isinstance(value, Mapping)
                and set(value) <= set(Losses.LOSS_WEIGHTS)
                and all(map(number().accepts, value.values()))
            ),
        )
    }
