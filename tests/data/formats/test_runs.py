import numpy as np
import pytest
from PIL import Image

from mrcnn.data.formats import _colors, _runs
from mrcnn.images.masks import mask_bounds
from mrcnn.images.rle import decode_rle


def images():
    rng = np.random.default_rng(8)
    yield np.zeros((1, 1), np.uint8)
    yield np.full((3, 5), 255, np.uint8)
    yield np.array([[2, 1], [1, 1], [1, 2]], np.uint8)  # a run that goes on in the next column
    for height, width in ((1, 9), (9, 1), (13, 17), (40, 31)):
        yield rng.integers(0, 2, (height, width)).astype(np.uint8)
        yield rng.integers(0, 2**24, (height, width)).astype(np.uint32)
        yield rng.integers(0, 4, (height // 4 + 1, width // 4 + 1)).repeat(4, 0).repeat(4, 1)


def test_regions_are_those_of_each_value():
    for values in images():
        found = _runs.regions(values)
        assert [region.value for region in found] == np.unique(values).tolist()
        assert _runs.distinct(values) == np.unique(values).tolist()
        for region in found:
            mask = decode_rle({"size": region.shape.size, "counts": region.shape.counts})
            np.testing.assert_array_equal(mask, values == region.value)
            assert region.bounds == mask_bounds(mask)


def test_the_most_frequent_value_of_each_region():
    rng = np.random.default_rng(9)
    for values in images():
        others = rng.integers(0, 3, values.shape).astype(np.uint32) * np.uint32(2**31 - 1)
        found = _runs.most_frequent(values, others)
        assert found.keys() == set(np.unique(values).tolist())
        for value, other in found.items():
            kinds, counts = np.unique(others[values == value], return_counts=True)
            assert counts[kinds == other][0] == counts.max()


def test_nothing_has_no_regions():
    assert _runs.regions(np.zeros((0, 5), np.uint8)) == []
    assert _runs.distinct(np.zeros((0, 5), np.uint8)) == []


def test_limits(monkeypatch, tmp_path):
    stripes = np.tile(np.arange(10, dtype=np.uint8), (4, 1))
    monkeypatch.setattr(_runs, "MAX_VALUES", 9)
    with pytest.raises(ValueError, match="it has 10 colors, a photograph"):
        _runs.regions(stripes)
    monkeypatch.setattr(_runs, "MAX_RUNS", 9)
    with pytest.raises(ValueError, match="more than 9 runs"):
        _runs.regions(stripes % 2)

    Image.fromarray(stripes).save(tmp_path / "a.png")
    monkeypatch.setattr(_colors, "MAX_PIXELS", 39)
    with pytest.raises(ValueError, match=r"a\.png .*more than 39 pixels"):
        _colors.read_numbers(tmp_path / "a.png")
    monkeypatch.setattr(_colors, "MAX_PIXELS", 40)
    assert _colors.read_numbers(tmp_path / "a.png").shape == (4, 10)
