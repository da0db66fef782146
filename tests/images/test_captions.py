"""Names of classes in captions."""

import numpy as np
import pytest

from mrcnn.images.captions import class_name
from mrcnn.images.figures import figure_captions

NAMES = ["BG", "cat", "dog"]


@pytest.mark.parametrize(
    "class_id, name", [(1, "cat"), (-1, "cat"), (3, "class 3"), (-9, "class 9")]
)
def test_crowds_and_classes_without_a_name(class_id, name):
    assert class_name(NAMES, class_id) == name
    assert class_name(NAMES, np.int32(class_id)) == name


def test_captions_of_a_figure():
    texts = figure_captions(np.array([1, -1, 3]), NAMES, np.array([0.5, 0, 1]))
    assert texts == ["cat 0.500", "cat", "class 3 1.000"]
