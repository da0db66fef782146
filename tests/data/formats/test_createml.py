"""CreateML: files as LabelImg and Apple write them."""

import json

import pytest
from tool_files import attack, boxes_only, labels_of, record, write_image

from mrcnn.data import formats
from mrcnn.data.formats import createml

BOX = {"label": "cat", "coordinates": {"x": 20.0, "y": 10.0, "width": 20.0, "height": 10.0}}


def export(folder, entries):
    """Writes the image a.png of 40x60 pixels and a JSON file."""
    write_image(folder / "a.png", 40, 60)
    path = folder / "annotations.json"
    path.write_text(json.dumps(entries))
    return path


def entry(*boxes, image="a.png"):
    return {"image": image, "verified": False, "annotations": list(boxes)}


def test_boxes_are_given_by_their_centers(tmp_path):
    write_image(tmp_path / "b.png", 5, 7)
    dog = {"label": "Dog 10", "coordinates": {"x": 50, "y": 30, "width": 20, "height": 20}}
    export(tmp_path, [entry(BOX, dog, {**dog, "label": "Dog 2"}), entry(image="b.png")])
    found = formats.read(tmp_path)
    assert labels_of(found) == ["cat", "Dog 10", "Dog 2"]
    assert [name for _, name in found.classes] == ["Dog 2", "Dog 10", "cat"]
    first, second = found.images
    assert [i.box for i in first.instances] == [(5, 10, 15, 30), (20, 40, 40, 60), (20, 40, 40, 60)]
    assert all(instance.shape is None for instance in first.instances)
    assert (first.height, first.width) == (40, 60)
    assert second.instances == [] and (second.height, second.width) == (5, 7)


def test_the_keys_of_apple(tmp_path):
    path = export(tmp_path, [{"imagefilename": "a.png", "annotation": [BOX]}])
    assert formats.read(path).images[0].instances[0].box == (5, 10, 15, 30)


def test_round_trip(tmp_path):
    annotations = boxes_only(tmp_path)
    createml.write(annotations, tmp_path / "out.json")
    found = formats.read(tmp_path / "out.json")
    assert labels_of(found) == labels_of(annotations)
    assert found.images[0].id == "a.png" and found.images[0].path == annotations.images[0].path
    boxes = [instance.box for instance in annotations.images[0].instances]
    assert [instance.box for instance in found.images[0].instances] == boxes


def test_what_createml_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'createml' holds boxes alone, but .*a\.png has masks"):
        createml.write(record(tmp_path), tmp_path / "out.json")
    annotations = boxes_only(tmp_path)
    annotations.images[0].instances[0].crowd = True
    with pytest.raises(ValueError, match="'createml' cannot mark crowds"):
        createml.write(annotations, tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def placed(**changes):
    return {**BOX, "coordinates": {**BOX["coordinates"], **changes}}


@pytest.mark.parametrize(
    "box",
    [
        3,
        {"coordinates": BOX["coordinates"]},
        {"label": "cat"},
        {**BOX, "label": ["cat"]},
        {**BOX, "coordinates": [1, 2, 3, 4]},
        placed(x="20"),
        placed(x=None),
        placed(x=True),
        placed(width=-1),
        placed(height=float("nan")),
        placed(y=10**400),
        placed(y=1e300),
    ],
)
def test_a_damaged_box_is_named(tmp_path, box):
    path = export(tmp_path, [entry(BOX, box)])
    with pytest.raises(ValueError, match=r"annotations\.json: annotation 1 of image .*a\.png"):
        createml.read(path)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "C:\\a.png", "link.png", "", 5, None, "a\0.png"]
)
def test_no_file_outside_the_folder_is_read(tmp_path, name):
    write_image(tmp_path / "secret.png", 5, 5)
    path = export(tmp_path / "inner", [entry(BOX, image=name)])
    (tmp_path / "inner" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ValueError, match=r"annotations\.json"):
        createml.read(path)


@pytest.mark.parametrize("text", ["", "{}", "[3]", "[", "[" * 100_000, '[{"annotations": 3}]'])
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.json"):
        createml.read(path)


def test_cut_and_changed_files_are_read_or_named(tmp_path):
    boxes = [placed(x=number) for number in range(5)]
    attack(createml, export(tmp_path, [entry(*boxes)]), draw=False)
