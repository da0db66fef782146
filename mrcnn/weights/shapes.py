"""The settings of a network, derived from the shapes of the tensors in a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from mrcnn.errors import shorten
from mrcnn.network.layers.plan import BLOCKS, BOTTLENECK

# Classes of a network, the background included. ImageNet-21k has 21,842.
MAX_CLASSES = 100_000


class Shapes(dict):
    """The shapes of the tensors of a file by name. A missing tensor raises a ValueError.

    Args:
        path: str or path. The file, named in errors.
        shapes: mapping of str to tuple.
    """

    def __init__(self, path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]]):
        super().__init__(shapes)
        self.path = path

    def __missing__(self, name):
        raise ValueError(
            f"{self.path} has no tensor {shorten(name)}, which every Mask R-CNN of this kind has. "
            "The file belongs to another network, or is incomplete."
        )

    def rows(self, name: str) -> int:
        """Returns the size of the first axis of a tensor.

        Args:
            name: str.

        Raises:
            ValueError: no such tensor, or a tensor without axes.
        """
        if not self[name]:
            raise ValueError(f"{self.path}: {name} is a single number, expected an array.")
        return self[name][0]

    def classes(self, name: str) -> int:
        """Returns the size of the first axis of a tensor, which is a number of classes.

        Args:
            name: str. The tensor of the class logits.

        Raises:
            ValueError: no such tensor, or a number of classes out of range.
        """
        if not 1 <= self.rows(name) <= MAX_CLASSES:
            raise ValueError(
                f"{self.path}: {name} has {self.rows(name)} classes, expected 1 to {MAX_CLASSES:,}."
            )
        return self.rows(name)

    def expect(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Checks the shapes of tensors that follow from those of others.

        A network is built before each of its weights is compared with the file. Without this
        check, a small file could ask for a network of any size.

        Args:
            shapes: mapping of str to tuple. The expected shape by name.

        Raises:
            ValueError: a tensor is missing, or has another shape.
        """
        for name, shape in shapes.items():
            if self[name] != shape:
                raise ValueError(
                    f"{self.path}: {shorten(name)} has shape {self[name]}, expected {shape} from "
                    "the shapes of other tensors. The file is damaged, or of another network."
                )

    def expect_anchors(self, name: str) -> None:
        """Checks that the RPN has one logit for each of three anchors per cell.

        Args:
            name: str. The tensor of the logits.

        Raises:
            ValueError: the RPN has another number of anchors.
        """
        if self.rows(name) != 3:
            raise ValueError(
                f"{self.path}: the RPN has {self.rows(name)} anchors per cell ({name}). Only the "
                "three of the published models are supported: height / width 0.5, 1 and 2, and "
                "one size per level."
            )

    def resnet(self, stem: str, pattern: str) -> dict[str, Any]:
        """Returns `BACKBONE`, `BACKBONE_WIDTH` and `IMAGE_CHANNEL_COUNT` of a ResNet.

        Args:
            stem: str. The name of the weight of its first convolution.
            pattern: str. Regular expression of the names of the other convolutions, without
                `.weight`. Its groups are the numbers of stage, block and convolution.

        Raises:
            ValueError: the backbone is not a ResNet of `network.layers.plan.BLOCKS`.
        """
        found = [(m, name) for name in self if (m := re.match(pattern + r"\.weight$", name))]
        blocks: dict[int, int] = {}  # stage -> number of blocks
        depth = 0  # convolutions per block
        for match, name in found:
            stage, block, number = (int(group) for group in match.groups())
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
            depth = max(depth, number)
            if number == 2 and len(self[name]) == 4 and self[name][0] != self[name][1]:
                raise ValueError(
                    f"{self.path}: the backbone is a ResNeXt ({name} with shape {self[name]} is a "
                    "grouped convolution). Only ResNets are supported."
                )
        counts = tuple(blocks[stage] for stage in sorted(blocks))
        for name, known in BLOCKS.items():
            if counts == known and (depth == 3) == (name in BOTTLENECK):
                if len(self[stem]) != 4:
                    raise ValueError(
                        f"{self.path}: {stem} has shape {self[stem]}, expected 4 axes."
                    )
                width, channels = self[stem][:2]
                self.expect(
                    {
                        name: (width * 2 ** (int(match[1]) - min(blocks)),) * 2 + (3, 3)
                        for match, name in found
                        if int(match[3]) == 2
                    }
                )
                return {"BACKBONE": name, "BACKBONE_WIDTH": width, "IMAGE_CHANNEL_COUNT": channels}
        raise ValueError(
            f"{self.path}: the backbone has {shorten(counts)} blocks of {depth} convolutions, "
            f"which is none of the supported ResNets: {', '.join(BLOCKS)}."
        )
