"""From PyTorch's arrays to Keras' and back: the order of axes, and of what they count.

Each `Layout` is a pair of functions. All but `background_first` only reorder, so that an array that
went there and back is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mrcnn.network.backbones.resnet import BLOCKS, BOTTLENECK


class Layout(NamedTuple):
    """How one array is turned.

    Attributes:
        to_ours: function of the array of a file.
        to_theirs: its inverse; None: there is none.
    """

    to_ours: Callable
    to_theirs: Callable | None

    def then(self, other: Layout) -> Layout:
        """This one, and then another."""
        back = None
        if self.to_theirs and other.to_theirs:
            back = _chain(other.to_theirs, self.to_theirs)
        return Layout(_chain(self.to_ours, other.to_ours), back)


def _chain(first, second):
    return lambda array: second(first(array))


class Entry(NamedTuple):
    """One tensor of a file and where it belongs.

    Attributes:
        theirs: its name in the file.
        layer, weight: of our network.
        layout: see `Layout`.
    """

    theirs: str
    layer: str
    weight: str
    layout: Layout


SAME = Layout(lambda a: a, lambda a: a)
# [out, in, h, w] -> [h, w, in, out]; of a transposed one [in, out, h, w] -> [h, w, out, in].
KERNEL = Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
DENSE = Layout(np.transpose, np.transpose)  # [out, in] -> [in, out]
# (dx, dy, dw, dh) of each anchor or class -> (dy, dx, dh, dw), along the first axis.
DELTAS = Layout(*[lambda a: a.reshape(-1, 4, *a.shape[1:])[:, [1, 0, 3, 2]].reshape(a.shape)] * 2)
BGR = Layout(*[lambda a: a[:, ::-1]] * 2)  # [out, BGR, h, w] -> RGB


def flattened(size: int) -> Layout:
    """A fully connected layer over a region: [out, channels * size * size], channels first, ->
    [size * size * channels, out], channels last."""

    def to_ours(a):
        return a.reshape(len(a), -1, size, size).transpose(2, 3, 1, 0).reshape(-1, len(a))

    def to_theirs(a):
        out = a.shape[1]
        return a.reshape(size, size, -1, out).transpose(3, 2, 0, 1).reshape(out, -1)

    return Layout(to_ours, to_theirs)


def background_first(rows: int, has_background: bool) -> Layout:
    """Classes along the first axis, `rows` a class, the background last or left out, -> first.

    A background that is left out becomes zeros: nothing reads its boxes and masks.
    """

    def to_ours(a):
        if has_background:
            return np.roll(a, rows, axis=0)
        return np.concatenate([np.zeros((rows, *a.shape[1:]), a.dtype), a])

    return Layout(to_ours, None)


# --- Entries of usual layers ---------------------------------------------------------------------
def convolution(theirs, layer, layout=SAME, bias=True) -> list[Entry]:
    """A convolution; `layout` acts on the first axis of kernel and bias, before the axes turn."""
    return _with_bias(theirs, layer, layout.then(KERNEL), layout if bias else None)


def dense(theirs, layer, layout=SAME, turn=DENSE) -> list[Entry]:
    """A fully connected layer; see `convolution`."""
    return _with_bias(theirs, layer, layout.then(turn), layout)


def _with_bias(theirs, layer, kernel, bias):
    entries = [Entry(f"{theirs}.weight", layer, "kernel", kernel)]
    return entries + ([Entry(f"{theirs}.bias", layer, "bias", bias)] if bias else [])


def batch_norm(theirs, layer) -> list[Entry]:
    """A batch normalisation."""
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
             "running_var": "moving_variance"}  # fmt: skip
    return [Entry(f"{theirs}.{name}", layer, ours, SAME) for name, ours in names.items()]


def residual_stages(backbone: str, block_name, norm_name) -> list[Entry]:
    """The stages C2..C5 of a ResNet.

    Args:
        backbone: its name, a key of `network.resnet.BLOCKS`.
        block_name: function (stage, block) of the block's name in the file.
        norm_name: function of a convolution ("conv1" .. "conv3", "shortcut") giving the names of
            itself and of its normalisation in the block.
    """
    entries, bottleneck = [], backbone in BOTTLENECK
    for stage, count in enumerate(BLOCKS[backbone], start=2):
        for block in range(count):
            branches = {"conv1": "2a", "conv2": "2b"} | ({"conv3": "2c"} if bottleneck else {})
            if block == 0 and (bottleneck or stage > 2):
                branches["shortcut"] = "1"
            for part, branch in branches.items():
                name = f"{stage}{chr(ord('a') + block)}_branch{branch}"
                theirs, norm = (f"{block_name(stage, block)}.{n}" for n in norm_name(part))
                entries += convolution(theirs, f"res{name}", bias=False)
                entries += batch_norm(norm, f"bn{name}")
    return entries
