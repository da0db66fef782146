"""The record of annotations, the formats that it is read from, and `Dataset.open`."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

from mrcnn.config import Config
from mrcnn.data import annotations as record
from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.dataset import Dataset
from mrcnn.data.formats.coco import CocoDataset
from mrcnn.data.formats.label_images import LabelImageDataset
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.data.sample import load_sample
from mrcnn.data.split import split
from mrcnn.data.synthetic.shapes import ShapesDataset
from mrcnn.images.rle import mask_to_rle, text_rle

NAMES = ("coco", "label_images", "mask_folders")


def shapes(folder, count=4):
    """Synthetic images as a record of one class with RLE shapes; one image without instances."""
    source = ShapesDataset(count, 70, 90, style="textured", seed=3)
    images = []
    for image_id in source.image_ids:
        path = folder / f"image{image_id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), source.load_image(image_id)[..., ::-1])
        masks, _ = source.load_mask(image_id)
        codes = [text_rle(mask_to_rle(mask)) for mask in np.moveaxis(masks, -1, 0)]
        instances = [record.Instance(1, shape=record.Rle(**code)) for code in codes]
        instances = instances if image_id else []
        images.append(record.Image(f"i{image_id}", str(path), 70, 90, instances))
    return record.Annotations("shapes", [(1, "shape")], images)


def best_overlaps(first, second):
    """Returns the largest IoU of each mask of the first stack with one of the second."""
    first, second = (stack.astype(float).transpose(2, 0, 1) for stack in (first, second))
    first, second = (stack.reshape(len(stack), 70 * 90).T for stack in (first, second))
    both = first.T @ second
    union = first.sum(0)[:, None] + second.sum(0)[None] - both
    return (both / union).max(axis=1, initial=0)


# --- Formats -------------------------------------------------------------------------------------
def test_every_file_of_the_folder_is_a_format():
    files = {path.stem for path in Path(formats.__file__).parent.glob("[!_]*.py")}
    assert set(formats.formats()) == files > set(NAMES)
    for module in formats.formats().values():
        assert all(callable(getattr(module, name)) for name in ("looks_like", "read", "write"))


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_round_trip(tmp_path, first, second):
    """Record -> one format -> another format: the same images and masks to the pixel."""
    start = shapes(tmp_path / "source" / "images")
    annotations = start
    for number, name in enumerate((first, second)):
        target = tmp_path / f"{number}-{name}"
        path = target / "instances.json" if name == "coco" else target
        formats.write(annotations, path, name)
        # File names in COCO are relative to the common folder of all images.
        folders = [os.path.dirname(image.path) for image in annotations.images]
        images = os.path.commonpath(folders) if name == "coco" else None
        options = {} if name == "coco" else {"class_name": "shape"}
        annotations = formats.read(path, images=images, **options)
    expected, dataset = Dataset.from_annotations(start), Dataset.from_annotations(annotations)
    assert dataset.class_names == ["BG", "shape"] and dataset.num_images == 4
    for image_id in expected.image_ids:
        np.testing.assert_array_equal(dataset.load_image(image_id), expected.load_image(image_id))
        masks, class_ids = dataset.load_mask(image_id)
        known, _ = expected.load_mask(image_id)
        assert masks.shape == known.shape and (class_ids == 1).all()
        assert (best_overlaps(known, masks) == 1).all()
    assert dataset.load_mask(0)[0].shape == (70, 90, 0)
    assert sum(len(dataset.load_mask(i)[1]) for i in dataset.image_ids) > 5


def test_coco_keeps_what_the_folders_cannot_hold(tmp_path):
    square = record.Polygons([2, 2, 6, 2, 6, 6, 2, 6])
    instances = [
        record.Instance(1, shape=square),
        record.Instance(2, crowd=True, box=(1.0, 2.0, 7.5, 6.0), shape=square),
    ]
    for folder in "ab":  # two files of the same name
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.zeros((8, 10), np.uint8))
    images = [
        record.Image(n, str(tmp_path / folder / "x.png"), 8, 10, instances)
        for n, folder in ((5, "a"), (9, "b"))
    ]
    annotations = record.Annotations("made", [(3, "cat"), (7, "dog")], images)
    formats.write(annotations, tmp_path / "instances.json", "coco")
    data = json.loads((tmp_path / "instances.json").read_text())
    assert [image["file_name"] for image in data["images"]] == ["a/x.png", "b/x.png"]
    dataset = Dataset.open(tmp_path / "instances.json")
    assert dataset.class_names == ["BG", "cat", "dog"]
    assert [info["id"] for info in dataset.image_info] == [5, 9]
    assert dataset.load_mask(1)[1].tolist() == [1, -2]
    assert dataset.get_source_class_id(2, "coco") == 7
    known = coco_ground_truth(Dataset.from_annotations(annotations))
    assert known["annotations"] == data["annotations"]  # both are written by the same code
    with pytest.raises(ValueError, match="'label_images' holds one class, but there are 2"):
        formats.write(annotations, tmp_path / "out", "label_images")
    one = record.Annotations("made", [(3, "cat")], [record.Image(1, "x.png", 8, 10, instances)])
    with pytest.raises(ValueError, match="'mask_folders' cannot mark crowds"):
        formats.write(one, tmp_path / "out", "mask_folders")
    calm = [record.Image(n, f"{n}/x.png", 8, 10) for n in "ab"]
    with pytest.raises(ValueError, match="a/x.png and b/x.png have the same name"):
        formats.write(record.Annotations("m", [(1, "c")], calm), tmp_path / "out", "mask_folders")


def test_overlaps_in_a_label_image_leave_the_smaller_instance_on_top(tmp_path):
    path = tmp_path / "source" / "a.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.zeros((20, 20), np.uint8))
    shapes_ = [[5, 5, 9, 5, 9, 9, 5, 9], [0, 0, 20, 0, 20, 20, 0, 20]]
    instances = [record.Instance(1, shape=record.Polygons([points])) for points in shapes_]
    annotations = record.Annotations(
        "m", [(1, "c")], [record.Image(1, str(path), 20, 20, instances)]
    )
    formats.write(annotations, tmp_path / "out", "label_images")
    masks, _ = Dataset.open(tmp_path / "out").load_mask(0)
    assert masks.sum(axis=(0, 1)).tolist() == [16, 400 - 16]


# --- Dataset.open --------------------------------------------------------------------------------
def test_open_recognizes_the_format(tmp_path):
    annotations = shapes(tmp_path / "coco" / "images", count=2)
    formats.write(annotations, tmp_path / "coco" / "instances.json", "coco")
    formats.write(annotations, tmp_path / "labels", "label_images")
    formats.write(annotations, tmp_path / "masks", "mask_folders")
    for path in ("coco", "coco/instances.json", "labels", "masks"):
        dataset = Dataset.open(tmp_path / path)
        assert dataset.num_images == 2 and dataset.load_mask(1)[0].any()
        assert isinstance(dataset, AnnotatedDataset)
    images = tmp_path / "labels" / "images"
    assert Dataset.open(tmp_path / "labels" / "labels", images=images).num_images == 2
    with pytest.raises(FileNotFoundError, match="give the folder of their images as images="):
        Dataset.open(tmp_path / "labels" / "labels")
    named = Dataset.open(tmp_path / "masks", class_name="cell")
    assert named.class_names == ["BG", "cell"]


def test_open_says_what_it_cannot_decide(tmp_path):
    annotations = shapes(tmp_path / "images", count=2)
    formats.write(annotations, tmp_path / "instances.json", "coco")
    formats.write(annotations, tmp_path, "label_images")
    with pytest.raises(ValueError, match="several formats: 'coco', 'label_images'. Choose"):
        Dataset.open(tmp_path)
    assert Dataset.open(tmp_path, "label_images").num_images == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("no annotations")
    with pytest.raises(ValueError, match="(?s)a folder of notes.txt.*coco: .*mask_folders: "):
        Dataset.open(tmp_path / "other")
    with pytest.raises(ValueError, match="a file of 14 bytes"):
        Dataset.open(tmp_path / "other" / "notes.txt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="'auto', .*'coco', .*got 'nonsense'"):
        Dataset.open(tmp_path, "nonsense")
    with pytest.raises(ValueError, match="'coco' has no option 'class_name'.*crowds"):
        Dataset.open(tmp_path / "instances.json", class_name="x")
    panoptic = {"images": [], "annotations": [{"segments_info": []}], "categories": []}
    (tmp_path / "panoptic.json").write_text(json.dumps(panoptic))
    assert Dataset.open(tmp_path, "coco").num_images == 2  # the only file with instances
    (tmp_path / "copy.json").write_text((tmp_path / "instances.json").read_text())
    with pytest.raises(ValueError, match="copy.json, instances.json"):
        Dataset.open(tmp_path, "coco")


def test_open_passes_crowds_on(tmp_path):
    annotations = shapes(tmp_path / "images", count=2)
    formats.write(annotations, tmp_path / "instances.json", "coco")
    data = json.loads((tmp_path / "instances.json").read_text())
    for entry in data["annotations"]:
        entry["iscrowd"] = 1
    (tmp_path / "instances.json").write_text(json.dumps(data))
    dataset = Dataset.open(tmp_path / "instances.json", crowds="objects")
    assert (dataset.load_mask(1)[1] == 1).all()


def test_a_new_format_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "boxes_csv.py").write_text(
        '"""CSV: one line per box."""\n'
        "from mrcnn.data.annotations import Annotations, Image, Instance\n"
        'NAME = "boxes_csv"\n'
        "def looks_like(path): return path.suffix == '.csv'\n"
        "def read(path, images=None):\n"
        "    boxes = [tuple(map(float, line.split(','))) for line in path.read_text().split()]\n"
        "    instances = [Instance(1, box=box) for box in boxes]\n"
        "    return Annotations('csv', [(1, 'thing')], [Image(1, None, 50, 60, instances)])\n"
        "def write(annotations, path): raise NotImplementedError\n"
    )
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path)])
    (tmp_path / "a.csv").write_text("1,2,30,40\n5,5,90,90\n")
    dataset = Dataset.open(tmp_path / "a.csv")
    assert dataset.load_boxes(0)[0].tolist() == [[1, 2, 30, 40], [5, 5, 50, 60]]
    assert dataset.has("boxes") and not dataset.has("masks")


# --- The record ----------------------------------------------------------------------------------
def test_all_kinds_of_shapes_in_one_image(tmp_path):
    label = np.zeros((8, 10), np.uint16)
    label[0:2, 0:3], label[4:6, 4:6] = 300, 7
    mask = np.zeros((8, 10), np.uint8)
    mask[7, 1:9] = 255
    cv2.imwrite(str(tmp_path / "label.png"), label)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    square = record.Polygons([[2, 2, 6, 2, 6, 6, 2, 6]])
    instances = [
        record.Instance(1, shape=record.Label(str(tmp_path / "label.png"), 300)),
        record.Instance(2, shape=record.Label(str(tmp_path / "label.png"), 7), crowd=True),
        record.Instance(1, shape=record.Label(str(tmp_path / "label.png"), 8)),  # not in the file
        record.Instance(1, shape=record.MaskFile(str(tmp_path / "mask.png"))),
        record.Instance(2, shape=square),
        record.Instance(1, shape=record.Rle([8, 10], [10, 20, 50])),
    ]
    masks, class_ids = record.rasterize(record.Image(1, None, 8, 10, instances))
    assert class_ids.tolist() == [1, -2, 1, 2, 1]
    assert masks.sum(axis=(0, 1)).tolist() == [6, 4, 8, 16, 20]
    wrong = record.Image(1, None, 9, 10, instances[:1])
    with pytest.raises(ValueError, match="label.png: the mask is 8x10.*annotated as 9x10"):
        record.rasterize(wrong)
    unknown = record.Image(1, "x.png", instances=instances[4:5], file="a.json")
    with pytest.raises(ValueError, match="a.json: instance of image x.png: the size of its image"):
        record.rasterize(unknown)
    assert record.rasterize(record.Image(1, None)) is None


def test_boxes_where_only_some_are_annotated(tmp_path):
    label = np.zeros((8, 10), np.uint16)
    label[0:2, 0:3], label[4:6, 4:6] = 300, 7
    cv2.imwrite(str(tmp_path / "label.png"), label)
    file = str(tmp_path / "label.png")
    instances = [
        record.Instance(1, box=(1.0, 1.0, 20.0, 5.5)),
        record.Instance(1, box=(2.0, 2.0, 2.0, 5.0)),  # no area
        record.Instance(1, crowd=True, shape=record.Label(file)),
        record.Instance(2, shape=record.Label(file, 300)),
    ]
    image = record.Image(1, None, 8, 10, instances)
    classes = [(1, "a"), (2, "b")]
    dataset = Dataset.from_annotations(record.Annotations("m", classes, [image]))
    boxes, class_ids = dataset.load_boxes(0)
    assert class_ids.tolist() == [1, -1, -1, 2]
    assert boxes.tolist() == [[1, 1, 8, 5.5], [4, 4, 6, 6], [0, 0, 2, 3], [0, 0, 2, 3]]


def test_a_mask_file_may_hold_any_numbers(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tif"), np.eye(6, dtype=np.float32) / 2)
    shape = record.MaskFile(str(tmp_path / "a.tif"))
    image = record.Image(1, None, instances=[record.Instance(1, shape=shape)])
    assert record.rasterize(image)[0].sum() == 6


def test_abilities_follow_the_annotations(tmp_path):
    def abilities(*instances, kind=AnnotatedDataset):
        images = [record.Image(1, None, 8, 10, list(instances))]
        dataset = kind.from_annotations(record.Annotations("m", [(1, "c")], images))
        return {name for name in ("masks", "boxes", "labels", "files") if dataset.has(name)}

    shape, box = record.Polygons([[2, 2, 6, 2, 6, 6, 2, 6]]), (1.0, 1.0, 5.0, 5.0)
    assert abilities() == {"masks", "files"}
    assert abilities(record.Instance(1, shape=shape)) == {"masks", "files"}
    assert abilities(record.Instance(1, box=box)) == {"boxes", "files"}
    assert abilities(record.Instance(1, box=box, shape=shape)) == {"masks", "boxes", "files"}
    whole = record.Instance(1, shape=record.Label("a.png"))
    assert abilities(whole) == {"masks", "labels", "files"}
    assert abilities(whole, record.Instance(1, shape=shape)) == {"masks", "files"}

    class OwnMasks(AnnotatedDataset):
        def load_mask(self, image_id):
            return np.zeros((8, 10, 0), bool), np.zeros(0, np.int32)

    assert abilities(whole, kind=OwnMasks) == {"masks", "files"}
    assert abilities(record.Instance(1, box=box), kind=OwnMasks) == {"masks", "boxes", "files"}


def test_nothing_is_decoded_before_it_is_needed(tmp_path, monkeypatch):
    formats.write(shapes(tmp_path / "s", count=3), tmp_path / "labels", "label_images")
    formats.write(shapes(tmp_path / "s", count=3), tmp_path / "masks", "mask_folders")
    reads = []
    read_label_image = record.read_label_image

    def counted(path):
        reads.append(path)
        return read_label_image(path)

    monkeypatch.setattr(record, "read_label_image", counted)
    labels, masks = Dataset.open(tmp_path / "labels"), Dataset.open(tmp_path / "masks")
    assert reads == []
    settings = Config(NUM_CLASSES=2, IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64)
    for _ in range(3):
        load_sample(labels, settings, 1)
    assert reads == [labels.image_info[1]["record"].instances[0].shape.file]
    load_sample(masks, settings, 1)
    assert len(reads) == 1 + len(masks.image_info[1]["record"].instances)


def test_split_keeps_the_record(tmp_path):
    formats.write(shapes(tmp_path / "s"), tmp_path / "labels", "label_images")
    whole = Dataset.open(tmp_path / "labels")
    parts = split(whole, 0.25, seed=0)
    assert [part.num_images for part in parts] == [3, 1]
    for part in parts:
        assert part.has("labels")
        for image_id in part.image_ids:
            stem = part.image_info[image_id]["id"]
            index = whole.image_from_source_map[f"labels.{stem}"]
            known = whole.load_mask(index)[0]
            np.testing.assert_array_equal(part.load_mask(image_id)[0], known)


# --- EXIF ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("kind", ["label_images", "mask_folders"])
def test_an_exif_rotation_follows_the_size_of_the_masks(tmp_path, kind, stored):
    exif = PilImage.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((30, 40, 3), np.uint8)
    mask = np.zeros((30, 40), np.uint8)
    mask[3:20, 4:30] = 1
    mask = mask if stored else np.ascontiguousarray(np.rot90(mask, -1))
    folders = {
        "label_images": ("images", "labels"),
        "mask_folders": ("a/images", "a/masks"),
    }[kind]
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    PilImage.fromarray(pixels).save(tmp_path / folders[0] / "x.jpg", exif=exif)
    cv2.imwrite(str(tmp_path / folders[1] / "x.png"), mask)
    dataset = Dataset.open(tmp_path)
    for _ in range(2):
        assert dataset.load_image(0).shape[:2] == mask.shape
    settings = Config(NUM_CLASSES=2, IMAGE_MIN_DIM=64, IMAGE_MAX_DIM=64)
    assert load_sample(dataset, settings, 0)["input_gt_class_ids"][0] == 1


def test_names_of_the_readers_make_their_own_class(tmp_path):
    formats.write(shapes(tmp_path / "images", count=2), tmp_path / "instances.json", "coco")
    formats.write(shapes(tmp_path / "images", count=2), tmp_path, "label_images")

    class Mine(CocoDataset):
        pass

    assert type(Mine.from_json(tmp_path / "instances.json", tmp_path / "images")) is Mine
    folders = (tmp_path / "images", tmp_path / "labels")
    assert type(LabelImageDataset.from_folders(*folders)) is LabelImageDataset
