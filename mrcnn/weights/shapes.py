"""What the shapes of a file's tensors tell about its network."""

from __future__ import annotations

import re

from mrcnn.network.backbones.resnet import BLOCKS, BOTTLENECK


class Shapes(dict):
    """Name -> shape of the tensors of a file; what is missing in it is a ValueError.

    Args:
        path: of the file, for the errors.
        shapes: the pairs.
    """

    def __init__(self, path, shapes):
        super().__init__(shapes)
        self.path = path

    def __missing__(self, name):
        raise ValueError(
            f"{self.path} has no tensor {name!r}, which every Mask R-CNN of its kind has: it is "
            "of another network, or not whole."
        )

    def rows(self, name: str) -> int:
        """First axis of a tensor."""
        if not self[name]:
            raise ValueError(f"{self.path}: {name} is a single number, expected an array.")
        return self[name][0]

    def expect_anchors(self, name: str):
        """Checks that the RPN has one logit for each of three anchors a cell."""
        if self.rows(name) != 3:
            raise ValueError(
                f"{self.path}: its RPN has {self.rows(name)} anchors a cell ({name}), but only the "
                "published three (height / width .5, 1 and 2, one size a level) can be read."
            )

    def resnet(self, stem: str, pattern: str) -> dict:
        """BACKBONE, its BACKBONE_WIDTH and the IMAGE_CHANNEL_COUNT.

        Args:
            stem: name of its first convolution.
            pattern: of the other convolutions, with groups for stage, block and number.
        """
        found = [(m, name) for name in self if (m := re.match(pattern + r"\.weight$", name))]
        blocks, depth = {}, 0
        for match, name in found:
            stage, block, number = (int(group) for group in match.groups())
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
            depth = max(depth, number)
            if number == 2 and len(self[name]) == 4 and self[name][0] != self[name][1]:
                raise ValueError(
                    f"{self.path}: the backbone is a ResNeXt ({name} of shape {self[name]} is a "
                    "grouped convolution), which is not supported; ResNets are."
                )
        counts = tuple(blocks[stage] for stage in sorted(blocks))
        for name, known in BLOCKS.items():
            if counts == known and (depth == 3) == (name in BOTTLENECK):
                if len(self[stem]) != 4:
                    raise ValueError(
                        f"{self.path}: {stem} has shape {self[stem]}, expected 4 axes."
                    )
                width, channels = self[stem][:2]
                return {"BACKBONE": name, "BACKBONE_WIDTH": width, "IMAGE_CHANNEL_COUNT": channels}
        raise ValueError(
            f"{self.path}: its backbone has {counts} blocks of {depth} convolutions, which is no "
            f"ResNet of {', '.join(BLOCKS)}."
        )
