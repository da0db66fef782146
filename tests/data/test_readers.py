import json
import logging
import os
import unicodedata
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from mrcnn.data.formats.coco import CocoDataset
from mrcnn.data.formats.label_images import LabelImageDataset
from mrcnn.data.formats.mask_folders import MaskFolderDataset

DATA = os.environ.get("MRCNN_DATA")  # a folder of real images
TRIANGLE = [[1.0, 1.0, 8.0, 1.0, 1.0, 6.0]]


def real(name):
    if not DATA:
        pytest.skip(f"needs MRCNN_DATA: a folder that holds {name}")
    return Path(DATA) / name


def coco(tmp_path, entries=(), **changes):
    """An instances file with one image of 8x10 pixels and two categories."""
    data = {
        "images": [{"id": 7, "file_name": "a.png", "height": 8, "width": 10}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": 3, **annotation}
            for n, annotation in enumerate(entries)
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}],
        **changes,
    }
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 10, 3), 50, np.uint8))
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(data))
    return path


# --- COCO ----------------------------------------------------------------------------------------
def test_coco_forms(tmp_path):
    mask = np.zeros((8, 10), np.uint8)
    mask[2:5, 3:9] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    packed["counts"] = packed["counts"].decode()
    plain = {"size": [8, 10], "counts": [10, 20, 50]}
    path = coco(
        tmp_path,
        [
            {"segmentation": TRIANGLE},
            {"segmentation": packed, "category_id": 90},
            {"segmentation": plain, "iscrowd": 1},
            {"segmentation": [[1, 1, 1, 1, 1, 1]]},  # no area: left out
        ],
    )
    dataset = CocoDataset.from_json(path, tmp_path)
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert dataset.get_source_class_id(2, "coco") == 90
    masks, class_ids = dataset.load_mask(0)
    assert class_ids.tolist() == [1, 2, -1] and masks.dtype == bool
    expected = coco_mask.decode(coco_mask.frPyObjects(TRIANGLE, 8, 10))[..., 0]
    np.testing.assert_array_equal(masks[..., 0], expected)
    np.testing.assert_array_equal(masks[..., 1], mask)
    assert masks[..., 2].sum() == 20
    assert dataset.load_image(0).shape == (8, 10, 3)
    assert dataset.image_reference(0).endswith("a.png")


def test_coco_boxes_only(tmp_path):
    path = coco(tmp_path, [{"bbox": [1, 2, 30, 4]}, {"bbox": [1, 1, 0, 4]}])
    dataset = CocoDataset.from_json(path, tmp_path)
    boxes, class_ids = dataset.load_boxes(0)
    assert boxes.tolist() == [[2, 1, 6, 10]] and class_ids.tolist() == [1]
    with pytest.raises(ValueError, match="instances.json.*no segmentation.*USE_MASKS"):
        dataset.load_mask(0)


def test_coco_image_without_annotations(tmp_path):
    dataset = CocoDataset.from_json(coco(tmp_path), tmp_path)
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (8, 10, 0) and class_ids.dtype == np.int32
    assert dataset.load_boxes(0)[0].shape == (0, 4)


@pytest.mark.parametrize(
    "segmentation, words",
    [
        ({"size": [8, 10], "counts": [5]}, "add up to 5"),
        ({"size": [80, 10], "counts": [800]}, "size"),
        ({"size": [8, 10]}, "counts"),
        ({"size": [8, float("inf")], "counts": [80]}, "instances.json"),
        ([[1, 1, 2, 2, 3, float("nan")]], "three points"),
        ([["x"] * 6], "instances.json"),
        ("text", "instances.json"),
    ],
)
def test_coco_damaged_segmentation(tmp_path, segmentation, words):
    path = coco(tmp_path, [{"segmentation": segmentation}])
    with pytest.raises(ValueError, match=words):  # before the first step, not in an epoch
        CocoDataset.from_json(path, tmp_path)


def test_coco_far_polygon_points_cost_nothing(tmp_path):
    path = coco(tmp_path, [{"segmentation": [[0, 0, 1e12, 0, 0, 1e12]]}])
    assert CocoDataset.from_json(path, tmp_path).load_mask(0)[0].any()


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/a.png", "x/../../a.png", "..\\a.png", "C:\\a.png", 5]
)
def test_coco_paths_stay_inside(tmp_path, name):
    images = [{"id": 7, "file_name": name, "height": 8, "width": 10}]
    with pytest.raises(ValueError, match="instances.json: file_name"):
        CocoDataset.from_json(coco(tmp_path, images=images), tmp_path)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"images": None}, "no list images"),
        ({"images": [{"id": 7}]}, 'no "file_name"'),
        ({"images": ["a"]}, 'no "id"'),
        ({"images": [{"id": 7, "file_name": "a", "height": 0, "width": 1}]}, '"height" 0'),
        ({"images": [{"id": 7, "file_name": "a", "height": 99999, "width": 99999}]}, "99999"),
        ({"images": [{"id": [7], "file_name": "a", "height": 9, "width": 9}]}, '"id" must be'),
        ({"images": [{"id": 7, "file_name": "a", "height": 9, "width": 9}] * 2}, "same id"),
        ({"categories": []}, "category_id 3"),
        ({"categories": [{"id": "x", "name": "y"}]}, '"id" must be'),
        ({"annotations": [{"id": 1, "image_id": 8, "category_id": 3}]}, "image_id 8"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": [3]}]}, "category_id"),
        ({"annotations": [5]}, "image_id"),
    ],
)
def test_coco_refuses(tmp_path, changes, words):
    with pytest.raises(ValueError, match=f"instances.json: .*{words}"):
        CocoDataset.from_json(coco(tmp_path, [{}], **changes), tmp_path)


@pytest.mark.parametrize("stored", ["Grün.png", "my cell.png", "IMG_1.PNG", "sub/a b.png"])
@pytest.mark.parametrize("spelling", ["nfd", "percent", "case", "windows"])
def test_coco_file_names_that_are_spelled_otherwise(tmp_path, stored, spelling):
    folder = tmp_path / "images"
    (folder / stored).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / stored), np.zeros((8, 10), np.uint8))
    asked = {
        "nfd": unicodedata.normalize("NFD", stored),
        "percent": quote(stored, safe="/"),
        "case": stored.swapcase(),
        "windows": "images\\" + stored.replace("/", "\\").upper(),
    }[spelling]
    images = [{"id": 7, "file_name": asked, "height": 8, "width": 10}]
    dataset = CocoDataset.from_json(coco(tmp_path, images=images), folder)
    assert os.path.samefile(dataset.image_info[0]["path"], folder / stored)
    assert dataset.load_image(0).shape == (8, 10, 3)


def test_coco_not_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [\n1,\n}')
    with pytest.raises(
        ValueError, match="a.json cannot be read as COCO instances: it is not JSON: line 3.*export"
    ):
        CocoDataset.from_json(path, tmp_path)
    path.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ValueError, match="a.json"):
        CocoDataset.from_json(path, tmp_path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="not a COCO instances file"):
        CocoDataset.from_json(path, tmp_path)
    with pytest.raises(FileNotFoundError, match="b.json"):
        CocoDataset.from_json(tmp_path / "b.json", tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        CocoDataset.from_json(coco(tmp_path), tmp_path / "nowhere")


@pytest.mark.parametrize(
    "file, folder, images, instances, classes",
    [
        ("coco26/instances.json", "coco26/images", 26, 181, 81),
        ("coco_polygons/instances.json", "coco_polygons/images", 2, 17, 81),
        ("nuts/trainval.json", "nuts/images", 18, 165, 4),
    ],
)
def test_real_coco_is_as_pycocotools_reads_it(file, folder, images, instances, classes, capsys):
    dataset = CocoDataset.from_json(real(file), real(folder))
    reference = COCO(str(real(file)))
    assert (dataset.num_images, dataset.num_classes) == (images, classes)
    total = 0
    for image_id in dataset.image_ids:
        masks, class_ids = dataset.load_mask(image_id)
        total += len(class_ids)
        known = reference.loadAnns(reference.getAnnIds(dataset.image_info[image_id]["id"]))
        for index, annotation in enumerate(known):
            np.testing.assert_array_equal(masks[..., index], reference.annToMask(annotation))
            sign = -1 if annotation["iscrowd"] else 1
            source_id = dataset.get_source_class_id(sign * class_ids[index], "coco")
            assert source_id == annotation["category_id"]
    assert total == instances
    assert dataset.load_image(0).shape[:2] == dataset.load_mask(0)[0].shape[:2]


# --- Label images --------------------------------------------------------------------------------
def label_folders(tmp_path, labels, suffix=".png"):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir(exist_ok=True)
    for stem, label in labels.items():
        cv2.imwrite(str(tmp_path / "images" / f"{stem}.jpg"), np.zeros(label.shape, np.uint8))
        cv2.imwrite(str(tmp_path / "labels" / f"{stem}{suffix}"), label)
    return tmp_path / "images", tmp_path / "labels"


@pytest.mark.parametrize(
    "suffix, dtype", [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint16)]
)
def test_label_images(tmp_path, suffix, dtype):
    label = np.zeros((9, 7), dtype)
    label[1:3, 1:3], label[5, 5] = 40, 7  # not consecutive; one pixel
    empty = np.zeros((9, 7), dtype)
    folders = label_folders(tmp_path, {"b": label, "a": empty}, suffix)
    dataset = LabelImageDataset.from_folders(*folders, "cell")
    assert dataset.class_names == ["BG", "cell"] and dataset.num_images == 2
    assert [info["id"] for info in dataset.image_info] == ["a", "b"]
    masks, class_ids = dataset.load_mask(1)
    assert class_ids.tolist() == [1, 1] and masks.sum(axis=(0, 1)).tolist() == [1, 4]
    assert dataset.load_label(1)[0].max() == 2
    assert dataset.load_mask(0)[0].shape == (9, 7, 0)
    only = LabelImageDataset.from_folders(*folders, stems=["b"])
    assert only.num_images == 1 and only.image_reference(0).endswith("b.jpg")


def test_label_images_300_instances(tmp_path):
    label = np.zeros((40, 40), np.uint16)
    label[::2, ::2] = np.arange(1, 401).reshape(20, 20)
    dataset = LabelImageDataset.from_folders(*label_folders(tmp_path, {"a": label}))
    masks, class_ids = dataset.load_mask(0)
    assert masks.shape == (40, 40, 400) and (masks.sum(axis=(0, 1)) == 1).all()


def test_label_images_refuse(tmp_path):
    images, labels = label_folders(tmp_path, {"a": np.zeros((4, 4), np.uint8)})
    with pytest.raises(FileNotFoundError, match="nowhere"):
        LabelImageDataset.from_folders(images, tmp_path / "nowhere")
    cv2.imwrite(str(images / "b.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(FileNotFoundError, match="labels: no file named b"):
        LabelImageDataset.from_folders(images, labels)
    (images / "b.png").unlink()
    cv2.imwrite(str(images / "a.png"), np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="a.jpg and a.png"):
        LabelImageDataset.from_folders(images, labels)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="no images"):
        LabelImageDataset.from_folders(tmp_path / "none", labels)


@pytest.mark.parametrize("shape", [(10, 14), (20, 24), (24, 20), (20, 23)])
def test_label_images_of_another_size_are_refused(tmp_path, shape):
    images, labels = label_folders(tmp_path, {"a": np.ones((20, 24), np.uint8)})
    cv2.imwrite(str(labels / "a.png"), np.ones(shape, np.uint8))
    dataset = LabelImageDataset.from_folders(images, labels)
    loaders = (dataset.load_label, dataset.load_mask, dataset.load_image, dataset.load_boxes)
    for load in loaders:
        if shape == (20, 24):
            load(0)
            continue
        with pytest.raises(ValueError, match=rf"a\.png: image .*{shape[0]}x{shape[1]}.*20x24"):
            load(0)


def test_label_images_are_read_without_their_image_as_masks_are(tmp_path):
    images, labels = label_folders(tmp_path, {"a": np.ones((20, 24), np.uint8)})
    dataset = LabelImageDataset.from_folders(images, labels)
    for path in images.iterdir():
        path.unlink()
    assert dataset.load_label(0)[0].shape == (20, 24) and dataset.load_mask(0)[0].all()
    assert dataset.load_instances(0)[1].tolist() == [[0, 0, 20, 24]]


@pytest.mark.parametrize(
    "orientation, label_is_turned",
    # Nothing tells that an image of orientation 3 is to be read as stored, if its label does not.
    [(1, False), (1, True), (3, True), (6, False), (6, True)],
)
def test_label_images_follow_the_turn_of_their_image(tmp_path, label_is_turned, orientation):
    """The label is drawn on the stored pixels; it says so itself, or its size does."""
    label = np.zeros((20, 24), np.uint8)
    label[2:6, 3:20] = 5
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    pixels = np.repeat(label[..., None] * np.uint8(40), 3, axis=2)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png", exif=exif)
    options = {"exif": exif} if label_is_turned else {}
    Image.fromarray(label).save(tmp_path / "labels" / "a.png", **options)
    dataset = LabelImageDataset.from_folders(tmp_path / "images", tmp_path / "labels")
    image, mask = dataset.load_image(0), dataset.load_mask(0)[0][..., 0]
    np.testing.assert_array_equal(image[..., 0] > 0, mask)
    assert mask.shape == ((24, 20) if orientation == 6 and label_is_turned else (20, 24))


def test_label_images_with_a_palette(tmp_path):
    images, labels = label_folders(tmp_path, {"a": np.zeros((9, 7), np.uint8)})
    label = np.zeros((9, 7), np.uint8)
    label[1:3, 1:3], label[5:8, 1:3] = 1, 2
    image = Image.fromarray(label, "P")
    image.putpalette([0, 0, 0, 200, 0, 0, 200, 0, 0])  # two objects of one color
    image.save(labels / "a.png")
    masks, _ = LabelImageDataset.from_folders(images, labels).load_mask(0)
    assert masks.sum(axis=(0, 1)).tolist() == [4, 6]


def test_label_images_compressed_with_losses_are_refused(tmp_path):
    images, labels = label_folders(tmp_path, {"a": np.full((9, 7), 3, np.uint8)}, suffix=".jpg")
    dataset = LabelImageDataset.from_folders(images, labels)
    with pytest.raises(ValueError, match=r"labels.a\.jpg.*losses"):
        dataset.load_mask(0)


@pytest.mark.parametrize("name", ["Grün", "my cell", "IMG_1"])
def test_label_images_pair_names_that_are_spelled_otherwise(tmp_path, name):
    images, labels = label_folders(tmp_path, {name: np.ones((9, 7), np.uint8)})
    other = unicodedata.normalize("NFD", name).replace(" ", "%20").replace("IMG", "img")
    (labels / f"{name}.png").rename(labels / f"{other}.png")
    dataset = LabelImageDataset.from_folders(images, labels)
    assert dataset.image_info[0]["id"] == name and dataset.load_mask(0)[0].sum() == 63
    (labels / f"{other.title()}.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no file named"):
        LabelImageDataset.from_folders(images, labels)


def test_files_that_are_left_out_are_named_when_a_folder_is_read(tmp_path, caplog):
    images, labels = label_folders(tmp_path, {"a": np.ones((9, 7), np.uint8)})
    (images / "b.heic").touch()
    with caplog.at_level(logging.WARNING, "mrcnn"):
        LabelImageDataset.from_folders(images, labels)
    assert "b.heic" in caplog.text


def test_real_nuclei():
    folder = real("nuclei/train")
    dataset = LabelImageDataset.from_folders(folder / "images", folder / "labels", "nucleus")
    assert dataset.num_images == 541
    raw = MaskFolderDataset.from_folder(real("nuclei/raw_sample/stage1_train"))
    assert raw.num_images == 4
    for image_id in raw.image_ids:
        masks, class_ids = raw.load_mask(image_id)
        assert masks.shape[:2] == raw.load_image(image_id).shape[:2]
        assert masks.shape[2] == len(class_ids) > 0


# --- Folders of masks ----------------------------------------------------------------------------
def mask_folder(root, name, masks):
    (root / name / "images").mkdir(parents=True)
    cv2.imwrite(str(root / name / "images" / f"{name}.png"), np.zeros((6, 8, 4), np.uint8))
    if masks is not None:
        (root / name / "masks").mkdir()
        for index, mask in enumerate(masks):
            cv2.imwrite(str(root / name / "masks" / f"{index}.png"), mask.astype(np.uint8) * 255)


def test_mask_folders(tmp_path):
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:7] = True
    mask_folder(tmp_path, "a", [mask, ~mask])
    mask_folder(tmp_path, "b", None)
    dataset = MaskFolderDataset.from_folder(tmp_path, "cell")
    masks, class_ids = dataset.load_mask(0)
    np.testing.assert_array_equal(masks, np.stack([mask, ~mask], -1))
    assert class_ids.tolist() == [1, 1] and dataset.load_image(0).shape == (6, 8, 3)
    assert dataset.load_mask(1)[0].shape == (6, 8, 0)


def test_mask_folders_refuse(tmp_path):
    with pytest.raises(ValueError, match="layout"):
        MaskFolderDataset.from_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        MaskFolderDataset.from_folder(tmp_path / "nowhere")
    mask_folder(tmp_path, "a", [np.ones((6, 8)), np.ones((5, 8))])
    with pytest.raises(ValueError, match="1.png: the mask is 5x8"):
        MaskFolderDataset.from_folder(tmp_path).load_mask(0)
    cv2.imwrite(str(tmp_path / "a" / "images" / "z.png"), np.zeros((6, 8), np.uint8))
    with pytest.raises(ValueError, match="found 2"):
        MaskFolderDataset.from_folder(tmp_path)
