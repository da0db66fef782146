"""Config: every setting with its meaning, default and check; to and from JSON.

Subclass it and override plain class attributes::

    class CellConfig(Config):
        NAME = "cells"
        NUM_CLASSES = 1 + 1  # background + cell

or override at construction: ``Config(NAME="cells", NUM_CLASSES=2)``.
"""

from __future__ import annotations

import difflib
import json
import logging
import numbers
from pathlib import Path

import numpy as np

from mrcnn import dialects

logger = logging.getLogger("mrcnn")

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")


class Config:
    """All settings of a model and its training, as upper-case class attributes.

    A subclass overrides what it needs; annotations are not needed. It may add constants of its own,
    so a name like a misspelt setting only logs a warning there; on an object such a name is refused
    with the nearest valid one, and at construction every unknown name. Values are checked by
    `validate` (called when a model is built), and the derived values `BATCH_SIZE`, `IMAGE_SHAPE`
    and `IMAGE_META_SIZE` always follow the attributes that they come from.

    Args:
        **overrides: settings by name, as ``Config(NAME="cells", NUM_CLASSES=2)``.

    Raises:
        AttributeError: a name that is not a setting, with the nearest valid name.
    """

    # --- What is learned -------------------------------------------------------------------------
    NAME = None  # names the run folder and the checkpoint files: letters, digits, "_" and "-"
    NUM_CLASSES = 1  # classes including the background, which is class 0
    USE_MASKS = True  # False: Faster R-CNN, the same network without the mask branch
    NUMERICS = (
        "auto"  # arithmetic dialect (see numerics.py); "auto": standard, or that of loaded weights
    )
    SEED = 0  # of weights, sampling, image order and augmentation; None: a new one each time

    # --- Images ----------------------------------------------------------------------------------
    IMAGE_CHANNEL_COUNT = 3
    # "square", "pad64", "crop", "none" or "shortest_edge": see ops/images.py
    IMAGE_RESIZE_MODE = "square"
    IMAGE_MIN_DIM = 800  # the short side is scaled up to this; the crop side in mode "crop"
    IMAGE_MAX_DIM = 1024  # the long side is scaled down to this, and padded to it (mode "square")
    IMAGE_MIN_SCALE = 0  # if above 0, images are scaled by at least this factor
    IMAGE_STRETCH = None  # (low, high) percentiles of each image stretched to 0..255, as (1, 99.8)
    # Images are brought to 0..255, unless the largest mean is above 255 or 1 at most.
    MEAN_PIXEL = (123.675, 116.28, 103.53)  # RGB mean of ImageNet, subtracted inside the network
    PIXEL_STD = (58.395, 57.12, 57.375)  # RGB standard deviation of ImageNet, divided by
    AUGMENTATION = None  # keyword arguments of data.augment.Augmenter, as {"fliplr": 0.5}

    # --- Backbone and feature pyramid ------------------------------------------------------------
    BACKBONE = "resnet101"  # resnet18/34/50/101, a name in keras.applications, or a callable
    BACKBONE_WIDTH = 64  # channels of the ResNet's stem; fewer make a smaller, faster network
    # "batch" (statistics of each batch), "statistics" (moving ones, but scale and offset learn),
    # "frozen" (all constant) or "group" (groups of channels of one image)
    BACKBONE_NORM = "batch"
    BATCH_NORM_EPSILON = None  # added to variances; None: the dialect's, see numerics.py
    TRAIN_BN = None  # Matterport's: False is BACKBONE_NORM "statistics", True is "batch"
    COMPUTE_BACKBONE_SHAPE = None  # Matterport's: for a callable BACKBONE, see compat/generator.py
    BACKBONE_STRIDES = (4, 8, 16, 32, 64)  # pixels per cell of P2..P6
    TOP_DOWN_PYRAMID_SIZE = 256  # channels of P2..P6

    # --- Region proposal network -----------------------------------------------------------------
    RPN_ANCHOR_SCALES = (
        32,
        64,
        128,
        256,
        512,
    )  # square anchor side in pixels, one per level P2..P6
    RPN_ANCHOR_RATIOS = (0.5, 1, 2)  # height / width
    RPN_ANCHOR_STRIDE = 1  # cells between anchors
    RPN_TRAIN_ANCHORS_PER_IMAGE = 256  # anchors sampled for the RPN losses, at most half positive
    RPN_NMS_THRESHOLD = 0.7  # IoU above which the lower-scored proposal is dropped
    RPN_BBOX_STD_DEV = (1.0, 1.0, 1.0, 1.0)  # scale of the RPN box deltas
    PRE_NMS_LIMIT = 2000  # best anchors kept per level before NMS
    PRE_NMS_LIMIT_INFERENCE = None  # the same in detection; None: PRE_NMS_LIMIT
    POST_NMS_ROIS_TRAINING = 2000  # proposals kept after NMS
    POST_NMS_ROIS_INFERENCE = 1000

    # --- Heads -----------------------------------------------------------------------------------
    TRAIN_ROIS_PER_IMAGE = 200  # proposals sampled for the head losses
    ROI_POSITIVE_RATIO = 0.33  # share of positives among them, at most
    BBOX_STD_DEV = (0.1, 0.1, 0.2, 0.2)  # scale of the head's box deltas
    POOL_SIZE = 7  # cells per side of a RoI in the box head
    FPN_CLASSIF_FC_LAYERS_SIZE = 1024  # width of the box head
    MASK_POOL_SIZE = 14  # cells per side of a RoI in the mask head
    MASK_SHAPE = (28, 28)  # of a predicted mask: twice MASK_POOL_SIZE
    MASK_CONV_LAYERS = 4  # 3x3 convolutions in the mask head
    MASK_CHANNELS = 256  # their width
    HEAD_NORM = None  # None or "group": normalisation in FPN and heads, for training from scratch

    # --- Ground truth ----------------------------------------------------------------------------
    USE_RPN_ROIS = True  # Matterport's: the heads train on proposals; nothing else is possible here
    MAX_GT_INSTANCES = 100  # instances of an image used in training, at most
    USE_MINI_MASK = True  # masks are kept cropped to their box at MINI_MASK_SHAPE
    MINI_MASK_SHAPE = (56, 56)

    # --- Detection -------------------------------------------------------------------------------
    DETECTION_MAX_INSTANCES = 100
    DETECTION_MIN_CONFIDENCE = 0.7  # detections with a lower score are dropped
    DETECTION_NMS_THRESHOLD = 0.3  # IoU above which the lower-scored of one class is dropped

    # --- Training --------------------------------------------------------------------------------
    GPU_COUNT = 1
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = None  # None: an epoch is one pass over the images
    VALIDATION_STEPS = None  # None: the whole validation set
    OPTIMIZER = "sgd"  # "sgd" (with momentum) or "adamw"
    LEARNING_RATE = 0.001
    LEARNING_MOMENTUM = 0.9
    WEIGHT_DECAY = 0.0001  # of kernels only: not of biases nor of normalisation
    GRADIENT_CLIP_NORM = 5.0  # global norm over all gradients; 0: no clipping
    LR_SCHEDULE = "constant"  # "constant", "step" or "cosine" over the epochs of one train() call
    LR_STEPS = (0.67, 0.89)  # where "step" divides the rate by 10, as shares of the training
    WARMUP_STEPS = 0  # steps of linear warm-up from a thousandth of the rate
    EVALUATE_EVERY = 5  # epochs between COCO evaluations of the validation set; 0: never
    CHECKPOINTS_TO_KEEP = 0  # newest epochs whose weights are kept, beside the best; 0: all
    DATA_WORKERS = 2  # threads that load and augment images
    JIT_COMPILE = False  # compile the training step with XLA
    LOSS_WEIGHTS = {
        "rpn_class_loss": 1.0,
        "rpn_bbox_loss": 1.0,
        "mrcnn_class_loss": 1.0,
        "mrcnn_bbox_loss": 1.0,
        "mrcnn_mask_loss": 1.0,
    }

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in DERIVED:  # some old scripts set them, too, and it had no effect
            if name in vars(cls) and not isinstance(vars(cls)[name], property):
                delattr(cls, name)
        known = Config.names()
        for name in set(vars(cls)) - {*known, *DERIVED}:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            if near:  # may well be a constant of the user's own, so no error
                logger.warning(
                    "%s.%s is not a setting. Did you mean %s?", cls.__name__, name, near[0]
                )

    def __init__(self, **overrides):
        for name, value in overrides.items():
            if name in DERIVED:
                raise AttributeError(f"{name} is derived: set {DERIVED[name]} instead.")
            if name not in self.names():
                raise AttributeError(unknown_setting(name, self.names()))
            setattr(self, name, value)

    def __setattr__(self, name, value):
        if name == "BATCH_SIZE" and value % self.GPU_COUNT == 0:  # old notebooks set it
            name, value = "IMAGES_PER_GPU", value // self.GPU_COUNT
        if name in DERIVED:
            if np.array_equal(value, getattr(self, name)):  # as old subclasses do in __init__
                return
            raise AttributeError(f"{name} is derived: set {DERIVED[name]} instead.")
        if name not in self.names() and self._is_misspelt(name):  # else the user's own
            raise AttributeError(unknown_setting(name, self.names()))
        object.__setattr__(self, name, value)

    @classmethod
    def _is_misspelt(cls, name):
        near = difflib.get_close_matches(name, cls.names(), n=1, cutoff=0.8)
        return name.upper() in cls.names() or (name.isupper() and bool(near))

    def adopt(self, defaults: dict):
        """Takes these values for the settings that neither a subclass nor anyone else has set."""
        for name, value in defaults.items():
            set_by = next(cls for cls in type(self).__mro__ if name in vars(cls))
            if name not in vars(self) and set_by is Config:
                setattr(self, name, value)

    # --- Derived values ----------------------------------------------------------------------
    @property
    def BATCH_SIZE(self):  # noqa: N802 - a setting's name
        """Images per step over all devices; setting it sets IMAGES_PER_GPU."""
        return self.IMAGES_PER_GPU * self.GPU_COUNT

    @property
    def IMAGE_SHAPE(self):  # noqa: N802
        """Height, width and channels of a training image, int array [3]."""
        side = self.IMAGE_MIN_DIM if self.IMAGE_RESIZE_MODE == "crop" else self.IMAGE_MAX_DIM
        if self.IMAGE_RESIZE_MODE == "shortest_edge":
            side = -(-side // 32) * 32  # as ops.images.plan_fit pads
        return np.array([side, side, self.IMAGE_CHANNEL_COUNT])

    @property
    def IMAGE_META_SIZE(self):  # noqa: N802
        """Length of Matterport's image_meta vector: 12 numbers and one flag a class."""
        return 12 + self.NUM_CLASSES

    # --- Reading and writing -----------------------------------------------------------------
    @classmethod
    def names(cls) -> list[str]:
        """Names of all settings, those that a subclass adds included, in order of definition."""
        seen = {}
        for base in reversed(cls.__mro__):
            seen.update(
                (n, None)
                for n, v in vars(base).items()
                if n.isupper() and not isinstance(v, property)
            )
        return list(seen)

    def to_dict(self) -> dict:
        """The settings as plain Python values that JSON can hold; a callable by its name.

        Constants that a subclass adds for its own use are left out.
        """
        return {name: _plain(getattr(self, name)) for name in Config.names()}

    @classmethod
    def from_dict(cls, values: dict) -> Config:
        """A Config with these settings. Raises AttributeError on a name that does not exist."""
        return cls(**{name: _frozen(value) for name, value in values.items()})

    def to_json(self) -> str:
        """The settings as JSON text, to be read back by `from_json`."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, path) -> Config:
        """Reads the settings that `to_json` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not JSON, or a setting that this version does not know.
        """
        path = Path(path)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("expected an object of settings")
            return cls.from_dict(values)
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a usable config.json: {error}") from error

    def display(self):
        """Prints every setting and derived value, one a line."""
        print("\nConfigurations:")
        for name in sorted([*self.names(), *DERIVED]):
            value = getattr(self, name)
            if not callable(value):
                print(f"{name:30} {value}")
        print("\n")

    # --- Checks ------------------------------------------------------------------------------
    def validate(self):
        """Checks every value. Called when a model is built.

        Raises:
            ValueError: naming the setting, what was expected, what came and what to do.
        """
        for name, low in _INTEGERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, float) and value.is_integer():  # old scripts divide by "/"
                value = int(value)
                setattr(self, name, value)
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
                raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}.")
        for name, (low, high) in _NUMBERS.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if not isinstance(value, numbers.Real) or not low <= value <= high:
                raise ValueError(f"{name} must be a number from {low} to {high}, got {value!r}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(map(repr, choices))}, "
                    f"got {getattr(self, name)!r}."
                )
        self._validate_shapes()

    def _validate_shapes(self):
        if self.IMAGE_CHANNEL_COUNT != 3:  # old Configs do not know PIXEL_STD
            deviation = float(np.mean(Config.PIXEL_STD))
            self.adopt({"PIXEL_STD": (deviation,) * self.IMAGE_CHANNEL_COUNT})
        for name, meaning in (("BACKBONE_STRIDES", "stride"), ("RPN_ANCHOR_SCALES", "size")):
            if _length(getattr(self, name)) != 5:
                raise ValueError(
                    f"{name} must hold one {meaning} per pyramid level (5: P2..P6), "
                    f"got {getattr(self, name)!r}."
                )
        if int(self.TRAIN_ROIS_PER_IMAGE * self.ROI_POSITIVE_RATIO) < 1:
            raise ValueError(
                "ROI_POSITIVE_RATIO must leave room for one positive among TRAIN_ROIS_PER_IMAGE = "
                f"{self.TRAIN_ROIS_PER_IMAGE}, got {self.ROI_POSITIVE_RATIO!r}; raise either."
            )
        for name in ("MEAN_PIXEL", "PIXEL_STD"):
            if _length(getattr(self, name)) != self.IMAGE_CHANNEL_COUNT:
                raise ValueError(
                    f"{name} must hold one value per image channel "
                    f"(IMAGE_CHANNEL_COUNT = {self.IMAGE_CHANNEL_COUNT}), "
                    f"got {getattr(self, name)!r}."
                )
        if tuple(self.MASK_SHAPE) != (2 * self.MASK_POOL_SIZE,) * 2:
            raise ValueError(
                f"MASK_SHAPE must be twice MASK_POOL_SIZE on each side "
                f"({2 * self.MASK_POOL_SIZE}, {2 * self.MASK_POOL_SIZE}), got {self.MASK_SHAPE!r}."
            )
        if self.IMAGE_RESIZE_MODE in ("square", "pad64", "crop") and any(self.IMAGE_SHAPE[:2] % 64):
            side = "IMAGE_MIN_DIM" if self.IMAGE_RESIZE_MODE == "crop" else "IMAGE_MAX_DIM"
            raise ValueError(
                f"{side} must be a multiple of 64, so that every pyramid level has whole cells; "
                f"got {getattr(self, side)}."
            )
        unknown = set(self.LOSS_WEIGHTS) - set(Config.LOSS_WEIGHTS)
        if unknown:
            raise ValueError(
                f"LOSS_WEIGHTS names unknown losses {sorted(unknown)}; "
                f"the losses are {', '.join(Config.LOSS_WEIGHTS)}."
            )


DERIVED = {
    "BATCH_SIZE": "IMAGES_PER_GPU or GPU_COUNT",
    "IMAGE_SHAPE": "IMAGE_MAX_DIM (IMAGE_MIN_DIM in mode 'crop') or IMAGE_CHANNEL_COUNT",
    "IMAGE_META_SIZE": "NUM_CLASSES",
}
_OPTIONAL = (
    "STEPS_PER_EPOCH", "VALIDATION_STEPS", "SEED", "PRE_NMS_LIMIT_INFERENCE", "BATCH_NORM_EPSILON",
)  # fmt: skip
# Smallest value of each whole number.
_INTEGERS = {
    "NUM_CLASSES": 2,
    "IMAGE_CHANNEL_COUNT": 1,
    "IMAGE_MIN_DIM": 0,
    "IMAGE_MAX_DIM": 64,
    "BACKBONE_WIDTH": 8,
    "TOP_DOWN_PYRAMID_SIZE": 1,
    "RPN_ANCHOR_STRIDE": 1,
    "RPN_TRAIN_ANCHORS_PER_IMAGE": 2,
    "PRE_NMS_LIMIT": 1,
    "PRE_NMS_LIMIT_INFERENCE": 1,
    "POST_NMS_ROIS_TRAINING": 1,
    "POST_NMS_ROIS_INFERENCE": 1,
    "TRAIN_ROIS_PER_IMAGE": 4,
    "POOL_SIZE": 1,
    "FPN_CLASSIF_FC_LAYERS_SIZE": 1,
    "MASK_POOL_SIZE": 1,
    "MASK_CONV_LAYERS": 0,
    "MASK_CHANNELS": 1,
    "MAX_GT_INSTANCES": 1,
    "DETECTION_MAX_INSTANCES": 1,
    "GPU_COUNT": 1,
    "IMAGES_PER_GPU": 1,
    "STEPS_PER_EPOCH": 1,
    "VALIDATION_STEPS": 1,
    "SEED": 0,
    "WARMUP_STEPS": 0,
    "EVALUATE_EVERY": 0,
    "CHECKPOINTS_TO_KEEP": 0,
    "DATA_WORKERS": 0,
}
_NUMBERS = {
    "BATCH_NORM_EPSILON": (0, 1),
    "IMAGE_MIN_SCALE": (0, 64),
    "RPN_NMS_THRESHOLD": (0, 1),
    "ROI_POSITIVE_RATIO": (0.01, 1),
    "DETECTION_MIN_CONFIDENCE": (0, 1),
    "DETECTION_NMS_THRESHOLD": (0, 1),
    "LEARNING_RATE": (0, 10),
    "LEARNING_MOMENTUM": (0, 1),
    "WEIGHT_DECAY": (0, 1),
    "GRADIENT_CLIP_NORM": (0, float("inf")),
}
# fmt: off
_CHOICES = {
    "IMAGE_RESIZE_MODE": ("square", "pad64", "crop", "none", "shortest_edge"),
    "BACKBONE_NORM": ("batch", "statistics", "frozen", "group"),
    "HEAD_NORM": (None, "group"),
    "OPTIMIZER": ("sgd", "adamw"),
    "LR_SCHEDULE": ("constant", "step", "cosine"),
    "NUMERICS": ("auto", *dialects.names()),
    "TRAIN_BN": (None, True, False),
    "USE_RPN_ROIS": (True,),
    "USE_MASKS": (True, False),
    "USE_MINI_MASK": (True, False),
}
# fmt: on


def _length(value):
    """Length of a sequence; None for anything else, as a single number."""
    return len(value) if hasattr(value, "__len__") else None


def unknown_setting(name: str, names: list[str]) -> str:
    """The text of the error for a setting that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name.upper(), names, n=1)
    hint = f" Did you mean {near[0]}?" if near else " See mrcnn/config.py for all settings."
    return f"{name} is not a setting of Config.{hint}"


def _plain(value):
    """The value in JSON's types: arrays and tuples as lists, a callable by its name."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return getattr(value, "__name__", str(value)) if callable(value) else value


def _frozen(value):
    """JSON's lists as tuples, the form that the defaults have."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
