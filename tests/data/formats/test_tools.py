"""What all formats of annotation tools have in common."""

import shutil

import pytest
from fixtures import FIXTURES
from tool_files import boxes_only, labels_of

from mrcnn.data import formats

TOOLS = ("createml", "cvat", "label_studio", "labelbox", "labelme", "via")
SCENES = [name for name in FIXTURES if name.split(":")[0] in TOOLS]


@pytest.mark.parametrize("name", TOOLS)
def test_a_missing_file_is_not_found(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        formats.read(tmp_path / "nowhere.json", name)


@pytest.mark.parametrize("scene", SCENES)
def test_a_missing_image_folder_is_not_found(tmp_path, scene):
    path = FIXTURES[scene](tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere: no such image folder"):
        formats.read(path, images=tmp_path / "nowhere")


@pytest.mark.parametrize("scene", SCENES)
def test_images_may_be_missing_or_elsewhere(tmp_path, scene):
    path = FIXTURES[scene](tmp_path / "data")
    files = sorted(path.rglob("*.png"))
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in files:
        shutil.move(file, moved / file.name)
    missing = formats.read(path)  # the check of a data set lists them
    assert [image.path.startswith(str(path)) for image in missing.images] == [True, True]
    found = formats.read(path, images=moved)
    assert [image.path for image in found.images] == [str(moved / file.name) for file in files]


@pytest.mark.parametrize("scene", [name for name in SCENES if not name.startswith("labelme")])
def test_two_files_in_a_folder_are_listed(tmp_path, scene):
    folder = FIXTURES[scene](tmp_path)
    name = scene.split(":")[0]
    (file,) = [
        path for path in folder.iterdir() if path.suffix in (".json", ".xml", ".csv", ".ndjson")
    ]
    shutil.copy(file, folder / f"copy{file.suffix}")
    with pytest.raises(ValueError, match=f"copy{file.suffix}.*Name the file itself"):
        formats.read(folder, name)
    assert len(formats.read(file).images) == 2


def test_folders_of_many_files_are_not_searched(tmp_path):
    folder = FIXTURES["via: project"](tmp_path)
    for number in range(30):
        (folder / f"{number}.json").write_text("{}")
    assert not formats.formats()["via"].looks_like(folder)


@pytest.mark.parametrize("name", TOOLS)
def test_a_folder_can_be_written(tmp_path, name):
    annotations = boxes_only(tmp_path / "source")
    formats.write(annotations, tmp_path / "train", name)
    found = formats.read(tmp_path / "train", images=tmp_path / "source")
    assert labels_of(found) == ["dog", "cat"]


@pytest.mark.parametrize("name", [name for name in TOOLS if name != "labelme"])
def test_the_suffix_of_another_format_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"out\.txt: expected a folder, or a file named"):
        formats.write(boxes_only(tmp_path), tmp_path / "out.txt", name)
