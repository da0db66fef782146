"""Array layouts: from PyTorch's order of axes, deltas and classes to ours, and back.

Each `Layout` is a pair of functions. All but `background_first` only reorder, so an array that is
converted there and back is equal bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mrcnn.network.layers.plan import BLOCKS, BOTTLENECK


class Layout(NamedTuple):
    """The conversion of one array.

    Attributes:
        to_ours: callable. Converts an array of a file to our layout.
        to_theirs: callable or None. The inverse. None: there is no inverse.
    """

    to_ours: Callable
    to_theirs: Callable | None

    def then(self, other: Layout) -> Layout:
        """Returns the layout that applies this conversion first and then another.

        Args:
            other: Layout.
        """
        inverse = None
        if self.to_theirs and other.to_theirs:
            inverse = _chain(other.to_theirs, self.to_theirs)
        return Layout(_chain(self.to_ours, other.to_ours), inverse)


def _chain(first, second):
    return lambda array: second(first(array))


class Entry(NamedTuple):
    """Maps one tensor of a file to one weight of our network.

    Attributes:
        theirs: str. The name of the tensor in the file.
        layer: str. The name of our layer.
        weight: str. The name of the weight in that layer, such as "kernel".
        layout: Layout. The conversion between the two.
    """

    theirs: str
    layer: str
    weight: str
    layout: Layout


def _swap_deltas(array):
    pairs = array.reshape(-1, 4, *array.shape[1:])  # [anchors or classes, 4, ...]
    return pairs[:, [1, 0, 3, 2]].reshape(array.shape)


def _reverse_channels(array):
    return array[:, ::-1]


SAME = Layout(lambda a: a, lambda a: a)
# Convolution: [out, in, h, w] -> [h, w, in, out].
# Transposed convolution: [in, out, h, w] -> [h, w, out, in].
KERNEL = Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
# [out, in] -> [in, out].
DENSE = Layout(np.transpose, np.transpose)
# Along the first axis, per anchor or class: (dx, dy, dw, dh) -> (dy, dx, dh, dw).
DELTAS = Layout(_swap_deltas, _swap_deltas)
# The first convolution [out, BGR, h, w] -> [out, RGB, h, w].
BGR = Layout(_reverse_channels, _reverse_channels)


def flattened(size: int) -> Layout:
    """Returns the layout of a fully connected layer whose input is a flattened RoI.

    PyTorch flattens with channels first, `[out, channels * size * size]`. Ours has channels last,
    `[size * size * channels, out]`.

    Args:
        size: int. Height and width of the RoI features.
    """

    def to_ours(a):
        # [out, channels, h, w] -> [h, w, channels, out]
        return a.reshape(len(a), -1, size, size).transpose(2, 3, 1, 0).reshape(-1, len(a))

    def to_theirs(a):
        out = a.shape[1]
        # [h, w, channels, out] -> [out, channels, h, w]
        return a.reshape(size, size, -1, out).transpose(3, 2, 0, 1).reshape(out, -1)

    return Layout(to_ours, to_theirs)


def background_first(rows: int, has_background: bool) -> Layout:
    """Returns the layout that puts the background first along the first axis.

    Args:
        rows: int. Rows per class.
        has_background: bool. True: the background is the last class of the file. False: the file
            has none; its rows become zeros, because nothing reads boxes and masks of the
            background.
    """

    def to_ours(a):
        if has_background:
            return np.roll(a, rows, axis=0)
        return np.concatenate([np.zeros((rows, *a.shape[1:]), a.dtype), a])

    return Layout(to_ours, None)


# --- Entries of common layers --------------------------------------------------------------------
def convolution(theirs: str, layer: str, layout: Layout = SAME, bias: bool = True) -> list[Entry]:
    """Returns the entries of a convolution.

    Args:
        theirs: str. The name of the layer in the file.
        layer: str. The name of our layer.
        layout: Layout. Applied to the first axis of kernel and bias, before the axes are reordered.
            Defaults to SAME.
        bias: bool. Whether the layer has a bias. Defaults to True.
    """
    return _with_bias(theirs, layer, layout.then(KERNEL), layout if bias else None)


def dense(theirs: str, layer: str, layout: Layout = SAME, turn: Layout = DENSE) -> list[Entry]:
    """Returns the entries of a fully connected layer.

    Args:
        theirs: str. The name of the layer in the file.
        layer: str. The name of our layer.
        layout: Layout. Applied to the first axis of kernel and bias, before the axes are reordered.
            Defaults to SAME.
        turn: Layout. Reorders the axes of the kernel. Defaults to DENSE.
    """
    return _with_bias(theirs, layer, layout.then(turn), layout)


def _with_bias(theirs, layer, kernel, bias):
    entries = [Entry(f"{theirs}.weight", layer, "kernel", kernel)]
    return entries + ([Entry(f"{theirs}.bias", layer, "bias", bias)] if bias else [])


def batch_norm(theirs: str, layer: str) -> list[Entry]:
    """Returns the entries of a batch normalization.

    Args:
        theirs: str. The name of the layer in the file.
        layer: str. The name of our layer.
    """
    names = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    return [Entry(f"{theirs}.{name}", layer, ours, SAME) for name, ours in names.items()]


def residual_stages(
    backbone: str,
    block_name: Callable[[int, int], str],
    norm_name: Callable[[str], tuple[str, str]],
) -> list[Entry]:
    """Returns the entries of the stages C2 to C5 of a ResNet.

    Args:
        backbone: str. A key of `network.layers.plan.BLOCKS`.
        block_name: callable. Function of stage and block that returns the name of the block in the
            file.
        norm_name: callable. Function of the part of a block ("conv1" to "conv3", "shortcut") that
            returns the names of its convolution and its normalization, within the block.
    """
    entries: list[Entry] = []
    bottleneck = backbone in BOTTLENECK
    for stage, count in enumerate(BLOCKS[backbone], start=2):
        for block in range(count):
            # Our layers have Matterport's names: res2a_branch2a, or res2a_branch1 for a shortcut.
            branches = {"conv1": "2a", "conv2": "2b"} | ({"conv3": "2c"} if bottleneck else {})
            if block == 0 and (bottleneck or stage > 2):
                branches["shortcut"] = "1"
            for part, branch in branches.items():
                name = f"{stage}{chr(ord('a') + block)}_branch{branch}"
                theirs, norm = (f"{block_name(stage, block)}.{n}" for n in norm_name(part))
                entries += convolution(theirs, f"res{name}", bias=False)
                entries += batch_norm(norm, f"bn{name}")
    return entries
