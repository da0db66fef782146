"""Splits: exact sizes, classes alike, groups together, the same for the same seed."""

from collections import Counter

import numpy as np
import pytest

from mrcnn.data.split import assign, join_groups, same_files, split
from mrcnn.data.synthetic.shapes import ShapesDataset


def contents(count, seed=0):
    rng = np.random.default_rng(seed)
    rare = rng.random(count) < 0.1
    return [Counter({1: int(rng.integers(1, 5))} | ({2: 1} if is_rare else {})) for is_rare in rare]


@pytest.mark.parametrize(
    "count, share, held", [(100, 0.1, 10), (14, 0.1, 1), (2, 0.9, 1), (7, 0.3, 2)]
)
def test_the_share_of_images_is_exact(count, share, held):
    parts = assign(contents(count), [1 - share, share], seed=0)
    assert (parts == 1).sum() == held


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_split_alike(seed):
    found = contents(200, seed)
    parts = assign(found, [0.7, 0.2, 0.1], seed)
    assert np.bincount(parts).tolist() == [140, 40, 20]
    for label in (1, 2):
        counts = np.array(
            [sum(c[label] for c, p in zip(found, parts, strict=True) if p == k) for k in range(3)]
        )
        assert np.abs(counts / counts.sum() - [0.7, 0.2, 0.1]).max() < 0.06


def test_groups_stay_together():
    groups = [index // 5 for index in range(100)]
    parts = assign(contents(100), [0.8, 0.2], 0, groups)
    assert all(len(set(parts[5 * k : 5 * k + 5].tolist())) == 1 for k in range(20))
    assert (parts == 1).sum() == 20


def test_a_group_larger_than_its_share_still_goes_somewhere():
    parts = assign(contents(10), [0.9, 0.1], 0, ["a"] * 6 + ["b"] * 4)
    assert set(parts.tolist()) == {0, 1}


def test_the_same_seed_gives_the_same_parts_and_another_one_others():
    found = contents(100)
    first, again, other = (assign(found, [0.8, 0.2], seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_equal_files_are_one_group(tmp_path):
    for name, text in [("a", "1"), ("b", "2"), ("c", "1"), ("d", "22")]:
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in "abcd"] + [None]
    first = same_files(paths)
    assert first[0] == first[2] and len(set(first)) == 4
    assert len(set(join_groups(first, ["x", "y", "z", "y", "w"]))) == 3


def test_a_dataset_is_split():
    whole = ShapesDataset(10, 64, 64)
    train, val = split(whole, 0.2, 0)
    assert (train.num_images, val.num_images) == (8, 2)
    assert split(whole, 0, 0) == (whole, None)
    ids = {info["id"] for info in train.image_info} | {info["id"] for info in val.image_info}
    assert ids == {info["id"] for info in whole.image_info}
