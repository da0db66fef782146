"""Backbones: from an image to the feature maps C2..C5.

Each file of this folder offers `names()`, the names that it knows, and `build(image, name, ...)`.
To add a backbone, add a file.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import keras


def build(
    image: Any, backbone: str | Callable, *, norm: str, width: int = 64, **resnet: Any
) -> list:
    """Applies a backbone to an image.

    Args:
        image: tensor `[batch, height, width, channels]`, normalized pixels. Sides are multiples of
            32.
        backbone: str or callable. A name that a file of this folder knows, in any case; or a
            function of `image` that returns [C2, C3, C4, C5] or, as in Matterport's package,
            [C1, ..., C5].
        norm: str. See `layers.normalization.normalization`.
        width: int. Channels of the stem of our ResNets. Defaults to 64.
        **resnet: Further keyword arguments of `resnet.resnet`. Other backbones ignore them.

    Returns:
        List of tensors C2..C5, with strides 4, 8, 16, 32.

    Raises:
        ValueError: an unknown name, or a network without maps of these strides.
    """
    if callable(backbone):
        # Matterport's package calls it with these two.
        options = {"stage5": True, "train_bn": norm == "batch"}
        known = inspect.signature(backbone).parameters
        given = {name: value for name, value in options.items() if name in known}
        return list(backbone(image, **given))[-4:]
    name = str(backbone).lower()
    for module in _modules():
        if name in module.names():
            return module.build(image, name, norm=norm, width=width, **resnet)
    choices = [name for module in _modules() for name in module.names()]
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        "BACKBONE must be resnet18, resnet34, resnet50, resnet101, the name of a network in "
        f"keras.applications, or a callable; got {backbone!r}.{hint}"
    )


def _modules() -> list[ModuleType]:
    """The files of this folder, our ResNets first."""
    found = sorted((module.name for module in pkgutil.iter_modules(__path__)), reverse=True)
    return [importlib.import_module(f"{__name__}.{name}") for name in found]


def stages(image: Any, maps: list) -> dict[int, set[str]]:
    """Returns which layers belong to which stage of a backbone.

    Stage k has the layers that C(k) depends on and C(k-1) does not. So every backbone has stages,
    whatever its layers are called. Stage 2 includes the stem.

    Args:
        image: tensor. The input of the graph.
        maps: list of tensors. C2..C5 of the backbone.

    Returns:
        Dict of sets of layer names, by stage 2..5.
    """
    found: dict[int, set[str]] = {}
    earlier: set[str] = set()
    for stage, feature_map in enumerate(maps, start=2):
        names = {layer.name for layer in keras.Model(image, feature_map).layers}
        found[stage] = names - earlier
        earlier |= names
    return found
