"""Every fixture in its true layout is recognized by its own format, and by no other."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures import FIXTURES, image

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.images.rle import mask_to_rle

# Format -> what it writes inside a folder ("" for the folder itself), and the options that read one
# class back. The images of those that write a file stay where they were.
WRITTEN = {
    "cityscapes": ("", {}),
    "coco": ("instances.json", {}),
    "color_masks": ("", {}),
    "csv_rle": ("table.csv", {}),
    "cvat": ("annotations.xml", {}),
    "label_images": ("", {"class_name": "car"}),
    "label_studio": ("tasks.json", {}),
    "labelbox": ("export.ndjson", {}),
    "labelme": ("", {}),
    "mask_files": ("", {}),
    "mask_folders": ("", {"class_name": "car"}),
    "via": ("project.json", {}),
    "voc": ("", {}),
    "yolo": ("", {}),
}
WITHOUT_MASKS = {"createml"}


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


@pytest.mark.parametrize("fixture", FIXTURES)
def test_a_folder_of_images_that_does_not_exist_is_named(tmp_path, fixture):
    path = FIXTURES[fixture](tmp_path)
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere"):
        formats.read(path, images=tmp_path / "nowhere")


def test_files_of_no_format_are_not_claimed(tmp_path):
    (tmp_path / "notes.txt").write_text("1 2 3 4 5\n")
    (tmp_path / "settings.yaml").write_text("names: x\n")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "page.xml").write_text("<html></html>")
    (tmp_path / "empty").mkdir()
    known = formats.formats()
    for path in (tmp_path, *tmp_path.iterdir()):
        assert not [name for name in known if known[name].looks_like(path)], path


def scene(folder):
    """One class without overlaps, with a hole, a part apart, a pixel alone, and an empty image."""
    records = []
    for index, (height, width) in enumerate([(24, 31), (9, 8), (33, 40)]):
        path = image(folder / f"i{index}.png", height, width)
        masks = np.zeros((4, height, width), bool)
        masks[0, 1:8, 0:7] = True
        masks[0, 3:5, 2:4] = False
        masks[1, 3, 2] = True
        masks[2, 10:20, 4:25] = True
        masks[2, 22:, 28:] = True
        if height > 20:
            masks[3, 12:20, 26:30] = np.eye(8, 4)
        instances = [
            Instance(1, shape=Rle([height, width], mask_to_rle(mask)["counts"]))
            for mask in masks[: 2 + 2 * (height > 20)]
        ]
        records.append(Image(index, str(path), height, width, instances * (index < 2)))
    return Annotations("test", [(1, "car")], records)


def masks_by_name(annotations):
    """Returns the masks of each image as a set, by the name of its file."""
    dataset = AnnotatedDataset.from_annotations(annotations)
    found = {}
    for image_id, record in enumerate(annotations.images):
        masks, _ = dataset.load_mask(image_id)
        name = Path(record.path).stem.removesuffix("_leftImg8bit")
        found[name] = sorted(mask.tobytes() for mask in masks.transpose(2, 0, 1))
    return found


def test_every_format_is_in_the_table():
    assert set(WRITTEN) | WITHOUT_MASKS == set(formats.formats())
    assert {fixture.split(":")[0] for fixture in FIXTURES} <= set(WRITTEN) | WITHOUT_MASKS


@pytest.mark.parametrize("first", WRITTEN)
def test_every_pair_round_trips(tmp_path, first):
    start = scene(tmp_path / "images")
    expected = masks_by_name(start)
    between = written(start, first, tmp_path / "first")
    assert masks_by_name(between) == expected
    for second in WRITTEN:
        assert masks_by_name(written(between, second, tmp_path / second)) == expected, second


def written(annotations, name, folder):
    """Writes annotations, and reads them by the format that recognizes them."""
    file, options = WRITTEN[name]
    formats.write(annotations, folder / file, name)
    parents = [os.path.dirname(record.path) for record in annotations.images]
    images = os.path.commonpath(parents) if file else None
    assert [known for known, module in formats.formats().items() if module.looks_like(folder)] == [
        name
    ]
    found = formats.read(folder, images=images, **options)
    for record in found.images:  # Cityscapes always has its eight classes
        for instance in record.instances:
            assert found.classes[instance.class_id - 1][1] == "car"
            instance.class_id = 1
    return Annotations(found.source, [(1, "car")], found.images)


@pytest.mark.parametrize("name", sorted(set(WRITTEN) - {"label_images", "mask_folders"}))
def test_scores_are_written_or_said_to_be_lost(tmp_path, caplog, name):
    scored = formats.read(FIXTURES["labelme: folder"](tmp_path / "in"))
    for record in scored.images:
        record.instances = [replace(instance, score=0.8125) for instance in record.instances]
    scored = replace(scored, classes=[(1, "car"), (2, "bus")])  # classes that Cityscapes has
    formats.write(scored, tmp_path / "out" / WRITTEN[name][0], name)
    files = [path for path in (tmp_path / "out").rglob("*") if path.suffix not in (".png", ".jpg")]
    written = any("0.8125" in path.read_text() for path in files if path.is_file())
    assert written == getattr(formats.formats()[name], "HOLDS_SCORES", False)
    assert written != ("no place for scores" in caplog.text)
