"""Every fixture in its true layout is recognized by its own format, and by no other."""

import pytest
from fixtures import FIXTURES

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset


@pytest.mark.parametrize("fixture", FIXTURES)
def test_one_format_recognizes_a_fixture(tmp_path, fixture):
    path = FIXTURES[fixture](tmp_path)
    known = formats.formats()
    assert [name for name in known if known[name].looks_like(path)] == [fixture.split(":")[0]]


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_fixture_is_opened_without_options(tmp_path, fixture):
    found = formats.read(FIXTURES[fixture](tmp_path))
    assert found.images and found.classes
    dataset = AnnotatedDataset.from_annotations(found)
    objects = 0
    for image_id in dataset.image_ids:
        height, width = dataset.load_image(image_id).shape[:2]
        boxes, class_ids = dataset.load_boxes(image_id)
        objects += len(boxes)
        assert (boxes >= 0).all() and (boxes <= [height, width] * 2).all()
        assert (abs(class_ids) <= len(found.classes)).all() and class_ids.all()
    assert objects


def test_files_of_no_format_are_not_claimed(tmp_path):
    (tmp_path / "notes.txt").write_text("1 2 3 4 5\n")
    (tmp_path / "settings.yaml").write_text("names: x\n")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "page.xml").write_text("<html></html>")
    (tmp_path / "empty").mkdir()
    known = formats.formats()
    for path in (tmp_path, *tmp_path.iterdir()):
        assert not [name for name in known if known[name].looks_like(path)], path
