"""Small data sets in the true layouts of the tools, by the name of the format.

Each function writes one into an empty folder and returns the path that a user would open. The scene
is the same where the layout allows: `a.png` and `b.png` of 20x30 pixels (height x width); a cat and
a dog on `a`, nothing on `b`.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 20, 30
CAT = (2, 3, 10, 9)  # y1, x1, y2, x2
DOG = (5, 12, 15, 28)


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def image(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.linspace(0, 200, width).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(row, (height, 1))] * 3, axis=-1)).save(path)
    return path


def images(folder: Path, suffix: str = ".png") -> None:
    image(folder / f"a{suffix}")
    image(folder / f"b{suffix}")


def mask(box: tuple[int, int, int, int]) -> np.ndarray:
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[box[0] : box[2], box[1] : box[3]] = True
    return inside


# --- YOLO ----------------------------------------------------------------------------------------
def yolo_row(number: int, box: tuple[int, int, int, int]) -> str:
    """As LabelImg writes a box."""
    y1, x1, y2, x2 = box
    values = ((x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
    return f"{number} " + " ".join(f"{value:.6f}" for value in values) + "\n"


def yolo_polygon(number: int, box: tuple[int, int, int, int]) -> str:
    y1, x1, y2, x2 = box
    points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    return f"{number} " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in points) + "\n"


def yolo_ultralytics(folder: Path) -> Path:
    """YOLO-seg with a validation split; the file says where it lay on another machine."""
    image(folder / "images" / "train" / "a.png")
    image(folder / "images" / "val" / "b.png")
    text(folder / "labels" / "train" / "a.txt", yolo_polygon(0, CAT) + yolo_polygon(1, DOG))
    text(
        folder / "pets-seg.yaml",
        "# Ultralytics YOLO\n\n"
        "path: ../datasets/pets-seg # dataset root dir\n"
        "train: images/train # train images (relative to 'path') 4 images\n"
        "val: images/val\n"
        "test: # test images (optional)\n\n"
        "# Classes\n"
        "names:\n"
        "  0: cat\n"
        "  1: dog # not: a wolf\n"
        '  2: "hot dog"\n\n'
        "# Download script/URL (optional)\n"
        "download: https://example.org/assets/pets-seg.zip\n",
    )
    return folder


def yolo_roboflow(folder: Path) -> Path:
    """Boxes with a folder per split; the paths in the file lead out of the folder."""
    image(folder / "train" / "images" / "a_png.rf.1a2b.jpg")
    text(folder / "train" / "labels" / "a_png.rf.1a2b.txt", yolo_row(0, CAT) + yolo_row(1, DOG))
    image(folder / "valid" / "images" / "b_png.rf.3c4d.jpg")
    text(folder / "valid" / "labels" / "b_png.rf.3c4d.txt", "")
    text(folder / "README.roboflow.txt", "\nPets - v1\nThis dataset was exported\n")
    text(
        folder / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
        "nc: 2\nnames: ['cat', 'dog']\n\n"
        "roboflow:\n  workspace: someone\n  project: pets\n  version: 1\n",
    )
    return folder


def yolo_labelimg(folder: Path) -> Path:
    """Images, labels and classes.txt in one folder."""
    images(folder)
    text(folder / "a.txt", yolo_row(0, CAT) + yolo_row(1, DOG))
    text(folder / "classes.txt", "cat\ndog\n")
    return folder


def yolo_label_studio(folder: Path) -> Path:
    images(folder / "images")
    text(folder / "labels" / "a.txt", yolo_polygon(0, CAT) + yolo_polygon(1, DOG))
    text(folder / "labels" / "b.txt", "")
    text(folder / "classes.txt", "cat\ndog\n")
    text(
        folder / "notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2026}}'
    )
    return folder


def yolo_darknet(folder: Path) -> Path:
    """YOLO 1.1 as CVAT exports it."""
    images(folder / "obj_train_data")
    text(folder / "obj_train_data" / "a.txt", yolo_row(0, CAT) + yolo_row(1, DOG))
    text(folder / "obj_train_data" / "b.txt", "")
    text(folder / "obj.names", "cat\ndog\n")
    text(
        folder / "obj.data",
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
    )
    text(folder / "train.txt", "data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    return folder


# --- Pascal VOC ----------------------------------------------------------------------------------
def labelimg_xml(name: str, rows: list[tuple[str, tuple[int, int, int, int], int]]) -> str:
    """As LabelImg writes it: tabs, these elements in this order, the edges of the boxes from 1."""
    lines = [
        "<annotation>",
        "\t<folder>pets</folder>",
        f"\t<filename>{name}</filename>",
        f"\t<path>C:\\Users\\someone\\pets\\{name}</path>",
        "\t<source>",
        "\t\t<database>Unknown</database>",
        "\t</source>",
        "\t<size>",
        f"\t\t<width>{WIDTH}</width>",
        f"\t\t<height>{HEIGHT}</height>",
        "\t\t<depth>3</depth>",
        "\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for label, (y1, x1, y2, x2), difficult in rows:
        lines += [
            "\t<object>",
            f"\t\t<name>{label}</name>",
            "\t\t<pose>Unspecified</pose>",
            "\t\t<truncated>0</truncated>",
            f"\t\t<difficult>{difficult}</difficult>",
            "\t\t<bndbox>",
            f"\t\t\t<xmin>{x1 + 1}</xmin>",
            f"\t\t\t<ymin>{y1 + 1}</ymin>",
            f"\t\t\t<xmax>{x2}</xmax>",
            f"\t\t\t<ymax>{y2}</ymax>",
            "\t\t</bndbox>",
            "\t</object>",
        ]
    return "\n".join([*lines, "</annotation>", ""])


def voc_labelimg(folder: Path) -> Path:
    """XML files beside their images."""
    images(folder)
    text(folder / "a.xml", labelimg_xml("a.png", [("cat", CAT, 0), ("dog", DOG, 0)]))
    text(folder / "b.xml", labelimg_xml("b.png", []))
    return folder


def voc_palette(path: Path, labels: np.ndarray) -> Path:
    """A PNG file with the palette of VOC: bits 0, 1, 2 are the highest of red, green, blue."""
    palette = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            palette[number, bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8), "P")
    picture.putpalette(palette.ravel().tolist())
    picture.save(path)
    return path


def voc_labels() -> np.ndarray:
    """Cat 1 and dog 2, with the void border of VOC around the dog."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[4:16, 11:29] = 255
    labels[mask(DOG)] = 2
    labels[mask(CAT)] = 1
    return labels


def voc_devkit(folder: Path) -> Path:
    """VOC2012: boxes of a third image, and masks of a.jpg alone."""
    root = folder / "VOC2012"
    images(root / "JPEGImages", ".jpg")
    image(root / "JPEGImages" / "c.jpg")
    text(root / "Annotations" / "a.xml", labelimg_xml("a.jpg", [("cat", CAT, 0), ("dog", DOG, 1)]))
    text(root / "Annotations" / "b.xml", labelimg_xml("b.jpg", []))
    text(root / "Annotations" / "c.xml", labelimg_xml("c.jpg", [("person", CAT, 0)]))
    numbers = np.arange(256)
    numbers[1:3] = 8, 12  # cat and dog of the twenty classes
    for stem, labels in (("a", voc_labels()), ("b", np.zeros((HEIGHT, WIDTH), np.uint8))):
        voc_palette(root / "SegmentationObject" / f"{stem}.png", labels)
        voc_palette(root / "SegmentationClass" / f"{stem}.png", numbers[labels])
    text(root / "ImageSets" / "Segmentation" / "train.txt", "a\n")
    text(root / "ImageSets" / "Segmentation" / "val.txt", "b\n")
    text(root / "ImageSets" / "Main" / "train.txt", "a\nc\n")
    text(root / "ImageSets" / "Main" / "cat_train.txt", "a  1\nc -1\n")
    return folder


# --- Files of masks ------------------------------------------------------------------------------
def mask_file(path: Path, inside: np.ndarray) -> None:
    """As most drawing programs save it: white on black, RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.repeat(inside[..., None], 4, axis=-1).astype(np.uint8) * 255
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(path)


def mask_files_pycococreator(folder: Path) -> Path:
    images(folder / "train" / "pets_train2018", ".jpeg")
    mask_file(folder / "train" / "annotations" / "a_cat_0.png", mask(CAT))
    mask_file(folder / "train" / "annotations" / "a_dog_1.png", mask(DOG))
    return folder / "train"


# --- Color masks ---------------------------------------------------------------------------------
def color_mask(path: Path, cat: tuple[int, int, int], dog: tuple[int, int, int]) -> np.ndarray:
    """A PNG file of the cat and the dog in two colors; returns its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[mask(CAT)], pixels[mask(DOG)] = cat, dog
    Image.fromarray(pixels).save(path)
    return pixels


BLACK = (0, 0, 0)


def color_masks_plain(folder: Path) -> Path:
    """A color per instance, without a list."""
    images(folder / "images", ".jpg")
    color_mask(folder / "masks" / "a.png", (10, 200, 30), (200, 10, 30))
    color_mask(folder / "masks" / "b.png", BLACK, BLACK)
    return folder


def color_masks_cvat(folder: Path) -> Path:
    """CVAT: Segmentation mask 1.1."""
    images(folder / "JPEGImages", ".jpg")
    text(
        folder / "labelmap.txt",
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:52,209,183::\n",
    )
    color_mask(folder / "SegmentationClass" / "a.png", (250, 50, 83), (52, 209, 183))
    color_mask(folder / "SegmentationObject" / "a.png", (128, 0, 0), (0, 128, 0))
    for name in ("SegmentationClass", "SegmentationObject"):
        color_mask(folder / name / "b.png", BLACK, BLACK)
    text(folder / "ImageSets" / "Segmentation" / "default.txt", "a\nb\n")
    return folder


def color_masks_camvid(folder: Path) -> Path:
    """CVAT: CamVid 1.0."""
    images(folder / "default")
    text(folder / "label_colors.txt", "0 0 0 Background\n64 0 128 cat\n192 128 0 dog\n")
    color_mask(folder / "defaultannot" / "a.png", (64, 0, 128), (192, 128, 0))
    color_mask(folder / "defaultannot" / "b.png", BLACK, BLACK)
    text(
        folder / "default.txt",
        "/default/a.png /defaultannot/a.png\n/default/b.png /defaultannot/b.png\n",
    )
    return folder


# --- CSV with run-length codes -------------------------------------------------------------------
def kaggle_code(box: tuple[int, int, int, int]) -> str:
    """Pixels from 1, down the columns."""
    y1, x1, y2, x2 = box
    return " ".join(f"{x * HEIGHT + y1 + 1} {y2 - y1}" for x in range(x1, x2))


def csv_rle_ships(folder: Path) -> Path:
    """Airbus: one class, one row per instance, images in a subfolder."""
    images(folder / "train_v2", ".jpg")
    rows = ["ImageId,EncodedPixels", f"a.jpg,{kaggle_code(CAT)}", f"a.jpg,{kaggle_code(DOG)}"]
    text(folder / "train_ship_segmentations_v2.csv", "\n".join([*rows, "b.jpg,", ""]))
    text(folder / "sample_submission_v2.csv", "ImageId,EncodedPixels\nz.jpg,1 2\n")
    return folder


def csv_rle_steel(folder: Path) -> Path:
    """Severstal: the class in the id, and a row for every class of an image."""
    images(folder / "train_images", ".jpg")
    rows = ["ImageId_ClassId,EncodedPixels"]
    rows += [f"a.jpg_1,{kaggle_code(CAT)}", f"a.jpg_2,{kaggle_code(DOG)}", "b.jpg_1,", "b.jpg_2,"]
    text(folder / "train.csv", "\r\n".join([*rows, ""]))
    return folder


def csv_rle_fashion(folder: Path) -> Path:
    """iMaterialist: sizes and classes in columns."""
    images(folder / "train", ".jpg")
    rows = ["ImageId,EncodedPixels,Height,Width,ClassId"]
    rows += [f"a,{kaggle_code(CAT)},{HEIGHT},{WIDTH},6", f"a,{kaggle_code(DOG)},20,30,23"]
    text(folder / "train.csv", "\n".join([*rows, ""]))
    return folder


# --- Cityscapes ----------------------------------------------------------------------------------
def polygon(label: str, box: tuple[int, int, int, int]) -> dict:
    """The scripts of Cityscapes draw the last row and column of a polygon as well."""
    y1, x1, y2, x2 = box[0], box[1], box[2] - 1, box[3] - 1
    return {"label": label, "polygon": [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]}


WHOLE = (0, 0, HEIGHT, WIDTH)
CITY_OBJECTS = [
    polygon("road", WHOLE),
    polygon("car", CAT),
    polygon("person", DOG),
    polygon("cargroup", (16, 0, 20, 10)),
    polygon("pole", (0, 14, 20, 16)),  # in front of the person
    polygon("license plate", (3, 4, 5, 6)),  # not drawn
    polygon("caravan", (16, 20, 20, 30)),  # not counted by the benchmark
    {"deleted": 1, "draw": False, **polygon("car", WHOLE)},
]


def city_ids() -> np.ndarray:
    """The instanceIds of the objects, by hand."""
    ids = np.full((HEIGHT, WIDTH), 7, np.uint16)  # road
    ids[mask(CAT)] = 26000
    ids[mask(DOG)] = 24000
    ids[mask((16, 0, 20, 10))] = 26
    ids[mask((0, 14, 20, 16))] = 17  # pole
    ids[mask((16, 20, 20, 30))] = 29000  # caravan
    return ids


def cityscapes_fine(folder: Path) -> Path:
    """gtFine and leftImg8bit with three splits; the annotations of "test" are empty."""
    for split, name in (
        ("train", "aachen_000000_000019"),
        ("val", "lindau_000001_000019"),
        ("test", "berlin_000002_000019"),
    ):
        city = name.split("_")[0]
        image(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        start = folder / "gtFine" / split / city
        start.mkdir(parents=True)
        objects = CITY_OBJECTS if split == "train" else []
        data = {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": objects}
        text(start / f"{name}_gtFine_polygons.json", json.dumps(data, indent=4))
        ids = city_ids() if split == "train" else np.zeros((HEIGHT, WIDTH), np.uint16)
        Image.fromarray(ids).save(start / f"{name}_gtFine_instanceIds.png")
        small = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
        Image.fromarray(small).save(start / f"{name}_gtFine_labelIds.png")
        image(start / f"{name}_gtFine_color.png")
    return folder


# The format before the colon has to be the only one that recognizes the folder.
# --- Annotation tools ----------------------------------------------------------------------------
def corners(box: tuple[int, int, int, int]) -> list[list[float]]:
    y1, x1, y2, x2 = box
    return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]


def via_project(folder: Path) -> Path:
    """VIA 2, with the class as a choice."""
    images(folder)
    regions = [
        {
            "shape_attributes": {
                "name": "polygon",
                "all_points_x": [x for x, _ in corners(box)],
                "all_points_y": [y for _, y in corners(box)],
            },
            "region_attributes": {"kind": name},
        }
        for name, box in (("cat", CAT), ("dog", DOG))
    ]
    entries = [("a.png", regions), ("b.png", [])]
    metadata = {
        f"{name}99": {"filename": name, "size": 99, "regions": listed, "file_attributes": {}}
        for name, listed in entries
    }
    kind = {"type": "radio", "description": "", "options": {"cat": "", "dog": ""}}
    data = {
        "_via_settings": {"ui": {}, "core": {}, "project": {"name": "pets"}},
        "_via_img_metadata": metadata,
        "_via_attributes": {"region": {"kind": {**kind, "default_options": {}}}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(metadata),
    }
    return text(folder / "via_project_1Jan2026.json", json.dumps(data)).parent


def via_table(folder: Path) -> Path:
    """The CSV export of VIA 1."""
    images(folder)
    y1, x1, y2, x2 = CAT
    shape = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
    names = "size file_attributes region_count region_id region_shape_attributes region_attributes"
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(["#filename", *[f"file_{names.split()[0]}", *names.split()[1:]]])
    table.writerow(["a.png", 99, "{}", 1, 0, json.dumps(shape), '{"kind":"cat"}'])
    table.writerow(["b.png", 99, "{}", 0, 0, "{}", "{}"])
    return text(folder / "via_region_data.csv", file.getvalue()).parent


def labelme(folder: Path) -> Path:
    images(folder)
    for stem, boxes in (("a", (("cat", CAT), ("dog", DOG))), ("b", ())):
        shapes = [
            {"label": name, "points": corners(box), "group_id": None, "description": ""}
            | {"shape_type": "polygon", "flags": {}, "mask": None}
            for name, box in boxes
        ]
        data = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{stem}.png"}
        data |= {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
        text(folder / f"{stem}.json", json.dumps(data, indent=2))
    return folder


def cvat(folder: Path) -> Path:
    """The archive of a task with its images."""
    images(folder / "images")
    y1, x1, y2, x2 = DOG
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(CAT))
    common = 'source="manual" occluded="0"'
    labels = "".join(f"<label><name>{name}</name></label>" for name in ("cat", "dog"))
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    content = (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        f"  <meta><task><id>1</id><labels>{labels}</labels></task></meta>\n"
        f'  <image id="0" name="a.png" {size}>\n'
        f'    <polygon label="cat" {common} points="{points}" z_order="0"></polygon>\n'
        f'    <box label="dog" {common} xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0">'
        f'</box>\n  </image>\n  <image id="1" name="b.png" {size}>\n  </image>\n</annotations>\n'
    )
    return text(folder / "annotations.xml", content).parent


def label_studio(folder: Path) -> Path:
    """The JSON export, beside the images as they were uploaded."""
    tasks = []
    for number, (name, boxes) in enumerate((("a", (("cat", CAT), ("dog", DOG))), ("b", ())), 1):
        upload = f"0123abc{number}-{name}.png"
        image(folder / "images" / upload)
        results = [
            {
                "original_width": WIDTH,
                "original_height": HEIGHT,
                "image_rotation": 0,
                "value": {
                    "points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in corners(box)],
                    "closed": True,
                    "polygonlabels": [label],
                },
                "id": f"r{index}",
                "from_name": "label",
                "to_name": "image",
                "type": "polygonlabels",
                "origin": "manual",
            }
            for index, (label, box) in enumerate(boxes)
        ]
        annotation = {"id": number, "result": results, "was_cancelled": False, "prediction": {}}
        data = {"image": f"/data/upload/1/{upload}"}
        task = {"id": number, "annotations": [annotation], "drafts": [], "predictions": []}
        tasks.append(task | {"data": data, "meta": {}})
    return text(folder / "project-1.json", json.dumps(tasks)).parent


def label_studio_min(folder: Path) -> Path:
    """The JSON-MIN export."""
    images(folder)
    y1, x1, y2, x2 = np.array(CAT) * 100 / (HEIGHT, WIDTH, HEIGHT, WIDTH)
    box = {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "rotation": 0}
    box |= {"rectanglelabels": ["cat"], "original_width": WIDTH, "original_height": HEIGHT}
    rows = [
        {"image": f"s3://bucket/{name}.png", "id": number, "label": regions}
        | {"annotator": 1, "annotation_id": number, "lead_time": 3.5}
        for number, (name, regions) in enumerate((("a", [box]), ("b", [])))
    ]
    return text(folder / "project-1-min.json", json.dumps(rows)).parent


def labelbox(folder: Path) -> Path:
    images(folder / "images")
    lines = []
    for name, boxes in (("a.png", (("cat", CAT), ("dog", DOG))), ("b.png", ())):
        objects = [
            {"feature_id": label, "name": label, "value": label, "annotation_kind": "ImagePolygon"}
            | {"classifications": [], "polygon": [{"x": x, "y": y} for x, y in corners(box)]}
            for label, box in boxes
        ]
        annotations = {"objects": objects, "classifications": [], "relationships": []}
        labels = [{"label_kind": "Default", "version": "1.0.0", "annotations": annotations}]
        row = {"data_row": {"id": name, "external_id": name, "row_data": f"https://x.org/{name}"}}
        row |= {"media_attributes": {"height": HEIGHT, "width": WIDTH}}
        row |= {"projects": {"p1": {"name": "pets", "labels": labels}}}
        lines.append(json.dumps(row) + "\n")
    return text(folder / "export.ndjson", "".join(lines)).parent


def createml(folder: Path) -> Path:
    images(folder)
    entries = []
    for name, boxes in (("a.png", (("cat", CAT), ("dog", DOG))), ("b.png", ())):
        annotations = []
        for label, (y1, x1, y2, x2) in boxes:
            center = {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1}
            annotations.append({"label": label, "coordinates": center})
        entries.append({"image": name, "verified": False, "annotations": annotations})
    return text(folder / "createml.json", json.dumps(entries)).parent


FIXTURES = {
    "createml: LabelImg": createml,
    "cvat: task": cvat,
    "label_studio: JSON": label_studio,
    "label_studio: JSON-MIN": label_studio_min,
    "labelbox: version 2": labelbox,
    "labelme: folder": labelme,
    "via: project": via_project,
    "via: table": via_table,
    "cityscapes: gtFine": cityscapes_fine,
    "color_masks: plain": color_masks_plain,
    "color_masks: CVAT": color_masks_cvat,
    "color_masks: CamVid": color_masks_camvid,
    "yolo: Ultralytics": yolo_ultralytics,
    "yolo: Roboflow": yolo_roboflow,
    "yolo: LabelImg": yolo_labelimg,
    "yolo: Label Studio": yolo_label_studio,
    "yolo: Darknet": yolo_darknet,
    "csv_rle: ships": csv_rle_ships,
    "csv_rle: steel": csv_rle_steel,
    "csv_rle: fashion": csv_rle_fashion,
    "mask_files: pycococreator": mask_files_pycococreator,
    "voc: LabelImg": voc_labelimg,
    "voc: devkit": voc_devkit,
}
