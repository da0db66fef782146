import numpy as np
import pytest
from keras import ops

from mrcnn.ops import anchors


def numpy(value):
    return ops.convert_to_numpy(value)


@pytest.mark.parametrize("offset, shift", [(0.0, 0), (0.5, 2)])
def test_against_detectron2(offset, shift):
    """Values of Detectron2's unit test: sizes 32, 64, ratios .25, 1, 4, stride 4, a 1x2 map."""
    xyxy = np.array(
        [
            [-32, -8, 32, 8], [-16, -16, 16, 16], [-8, -32, 8, 32],
            [-64, -16, 64, 16], [-32, -32, 32, 32], [-16, -64, 16, 64],
        ]
    )  # fmt: skip
    cell = xyxy[:, [1, 0, 3, 2]] + shift
    golden = np.concatenate([cell, cell + [0, 4, 0, 4]])
    made = [
        numpy(anchors.level_anchors(size, (0.25, 1, 4), 4, 1, 2, offset=offset)).reshape(2, 3, 4)
        for size in (32, 64)
    ]
    made = np.concatenate(made, axis=1).reshape(-1, 4)  # Detectron2: per cell, by size, then ratio
    np.testing.assert_allclose(made, golden, atol=1e-4)


def test_half_sides_of_detectron2():
    made = numpy(anchors.level_anchors(128, (0.5, 1, 2), 8, 1, 1, offset=0.0))
    golden = [[45.254834, 90.509668], [64, 64], [90.509668, 45.254834]]
    np.testing.assert_allclose(made[:, 2:], golden, rtol=1e-6)
    np.testing.assert_allclose(made[:, :2], -np.array(golden), rtol=1e-6)


def test_order_and_anchor_stride():
    made = numpy(anchors.level_anchors(8, (0.5, 2), 4, 5, 3, anchor_stride=2))
    centers = [((i + 0.5) * 4, (j + 0.5) * 4) for i in (0, 2, 4) for j in (0, 2) for _ in range(2)]
    np.testing.assert_allclose((made[:, :2] + made[:, 2:]) / 2, centers, atol=1e-5)
    assert made.dtype == np.float32


def test_pyramid_counts():
    sides = [128 // stride for stride in (4, 8, 16, 32, 64)]
    made = anchors.pyramid_anchors(
        (32, 64, 128, 256, 512), (0.5, 1, 2), (4, 8, 16, 32, 64), [(side, side) for side in sides]
    )
    assert made.shape == (3 * sum(side**2 for side in sides), 4)
    shapes = [(800 // s + (800 % s > 0), 1088 // s) for s in (4, 8, 16, 32, 64)]
    made = anchors.pyramid_anchors((1,) * 5, (0.5, 1, 2), (4, 8, 16, 32, 64), shapes)
    assert made.shape[0] == 217_413


def test_tensors_as_height_and_width():
    size = ops.convert_to_tensor(np.array([4, 6], "int32"))
    made = anchors.level_anchors(8, (1,), 4, 4, 6)
    np.testing.assert_array_equal(
        numpy(anchors.level_anchors(8, (1,), 4, size[0], size[1])), numpy(made)
    )


def test_wrong_lengths():
    with pytest.raises(ValueError, match="hold 2, 1 and 1"):
        anchors.pyramid_anchors((32, 64), (1,), (4,), [(2, 2)])


def test_whole_sides_of_torchvision():
    """The anchors of a cell (x1, y1, x2, y2) with ratio .5, and strides that are tensors."""
    golden = {32: (23, 11), 64: (45, 23), 128: (91, 45), 256: (181, 91), 512: (362, 181)}
    for size, (x, y) in golden.items():
        made = numpy(
            anchors.level_anchors(size, (0.5, 1, 2), 4, 1, 1, offset=0.0, whole_sides=True)
        )
        half = size // 2
        expected = [[-y, -x, y, x], [-half, -half, half, half], [-x, -y, x, y]]
        np.testing.assert_array_equal(made, expected)
    strides = (ops.convert_to_tensor(61), ops.convert_to_tensor(64))
    made = numpy(anchors.level_anchors(8, (1,), strides, 2, 2, offset=0.0))
    np.testing.assert_array_equal(made[:, :2] + 4, [[0, 0], [0, 64], [61, 0], [61, 64]])
