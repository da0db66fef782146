"""Merged and taken parts of annotations keep ids and class names."""

import pytest

from mrcnn.data.annotations import Annotations, Image, Instance
from mrcnn.data.combine import merge, subset


def annotations(ids, classes, prefix="a"):
    images = [
        Image(i, f"{prefix}{i}.png", 8, 8, [Instance(1 + i % len(classes))], f"{prefix}.json")
        for i in ids
    ]
    return Annotations("coco", classes, images)


def test_classes_of_one_name_are_merged_and_ids_stay_where_they_are_free():
    first = annotations([1, 2], [(1, "cat"), (7, "dog")])
    second = annotations([2, 3], [(1, "dog"), (7, "fox")], "b")
    merged = merge([first, second])
    assert merged.classes == [(1, "cat"), (7, "dog"), (8, "fox")]
    assert [image.id for image in merged.images] == [1, 2, 3, 4]
    names = [merged.classes[image.instances[0].class_id - 1][1] for image in merged.images]
    assert names == ["dog", "cat", "dog", "fox"]
    assert first.images[0].instances[0].class_id == 2  # the parts stay as they are


def test_an_image_in_two_sets_is_refused():
    first = annotations([1], [(1, "cat")])
    second = Annotations("coco", [(1, "cat")], [Image(5, "a1.png", 8, 8, [], "b.json")])
    with pytest.raises(ValueError, match=r"a1\.png is annotated in a\.json and in b\.json"):
        merge([first, second])


def test_a_subset_of_classes_keeps_their_ids():
    whole = annotations(range(10), [(1, "cat"), (7, "dog")])
    dogs = subset(whole, classes=["dog"])
    assert dogs.classes == [(7, "dog")]
    assert [image.id for image in dogs.images] == [1, 3, 5, 7, 9]
    assert all(image.instances[0].class_id == 1 for image in dogs.images)
    with pytest.raises(ValueError, match="no class 'cow'. The classes: cat, dog"):
        subset(whole, classes=["cow"])


def test_a_subset_of_images_has_all_classes_alike():
    whole = annotations(range(100), [(1, "cat"), (7, "dog")])
    some = subset(whole, count=20)
    assert len(some.images) == 20
    assert sum(image.instances[0].class_id == 1 for image in some.images) == 10
    assert subset(whole, count=20) == some
    assert subset(whole, count=100) == whole
    with pytest.raises(ValueError, match="count must be from 1 to 100 images, got 101"):
        subset(whole, count=101)
