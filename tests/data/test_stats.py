"""Statistics of a data set against counts by hand."""

import cv2
import numpy as np

from mrcnn.data.annotations import Annotations, Image, Instance, Polygons
from mrcnn.data.stats import statistics


def square(class_id, x, y, side, crowd=False):
    points = [x, y, x + side, y, x + side, y + side, x, y + side]
    return Instance(class_id, crowd=crowd, shape=Polygons([points]))


def annotations(folder, count_of_rare=1):
    for name in "ab":
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((32, 48), np.uint8))
    objects = [square(1, x, 2, 4) for x in range(0, 44, 4)]
    images = [
        Image("a", str(folder / "a.png"), 32, 48, [*objects, square(2, 10, 10, 10)]),
        Image("b", str(folder / "b.png"), 32, 48, [square(2, 0, 0, 20, crowd=True)]),
        Image("c", str(folder / "c.png"), 32, 48, [square(2, 0, 0, 20)]),
    ]
    return Annotations("coco", [(1, "cat"), (2, "dog"), (3, "fox")], images)


def test_counts(tmp_path):
    found = statistics(annotations(tmp_path))
    cat, dog, fox = found.classes
    assert (cat.objects, cat.images, cat.pixels) == (11, 1, 11 * 16)
    assert (dog.objects, dog.images, dog.pixels) == (1, 1, 100)
    assert (fox.objects, fox.images) == (0, 0)
    assert (found.per_image, found.crowds, found.unreadable) == ([12, 0], 1, 1)
    assert found.image_sizes == [(32, 48)] * 2
    assert found.imbalance == 11
    text = "\n".join(found.lines())
    assert "2 images, 12 objects, 3 classes" in text
    assert "cat has 11 times as many objects as dog" in text
    assert "1 images cannot be read" in text


def test_nothing():
    found = statistics(Annotations("coco", [(1, "cat")]))
    assert found.imbalance == 1
    assert found.lines()[0] == "0 images, 0 objects, 1 classes"
