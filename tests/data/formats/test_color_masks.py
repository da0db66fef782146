import random
import zlib

import cv2
import fixtures
import numpy as np
import pytest
from fixtures import CAT, DOG, HEIGHT, WIDTH, color_mask, mask, text
from PIL import Image as PillowImage

from mrcnn.data import formats
from mrcnn.data.annotated import AnnotatedDataset
from mrcnn.data.annotations import Annotations, Image, Instance, Rle
from mrcnn.data.formats import color_masks
from mrcnn.images.rle import mask_to_rle

RED, GREEN = (200, 10, 30), (10, 200, 30)
BOTH = np.stack([mask(CAT), mask(DOG)], axis=-1)


def masks_of(found, image_id=0):
    return AnnotatedDataset.from_annotations(found).load_mask(image_id)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.mark.parametrize("layout", [n for n in fixtures.FIXTURES if n.startswith("color_masks")])
def test_layouts(tmp_path, layout):
    found = color_masks.read(fixtures.FIXTURES[layout](tmp_path))
    assert [image.id for image in found.images] == ["a", "b"]
    plain = layout.endswith("plain")
    assert [name for _, name in found.classes] == (["object"] if plain else ["cat", "dog"])
    masks, class_ids = masks_of(found)
    np.testing.assert_array_equal(masks, BOTH)
    assert class_ids.tolist() == ([1, 1] if plain else [1, 2])
    assert masks_of(found, 1)[0].shape == (HEIGHT, WIDTH, 0)


def test_one_color_is_one_instance_unless_split(tmp_path):
    fixtures.images(tmp_path / "images")
    color_mask(tmp_path / "masks" / "a.png", RED, RED)
    one = masks_of(color_masks.read(tmp_path))[0]
    np.testing.assert_array_equal(one, BOTH.any(axis=-1, keepdims=True))
    np.testing.assert_array_equal(masks_of(color_masks.read(tmp_path, split=True))[0], BOTH)
    touching = np.zeros((HEIGHT, WIDTH, 3))
    touching[2:5, 2:5] = touching[5:9, 5:9] = RED  # at a corner
    save(tmp_path / "masks" / "a.png", touching)
    assert masks_of(color_masks.read(tmp_path, split=True))[0].shape[-1] == 1


def test_a_palette_makes_classes(tmp_path):
    folder = fixtures.color_masks_plain(tmp_path)
    palette = {"dog": RED, "cat": GREEN, "bird": (1, 2, 3)}
    found = color_masks.read(folder, palette=palette)
    assert found.classes == [(1, "dog"), (2, "cat"), (3, "bird")]
    assert masks_of(found)[1].tolist() == [2, 1]
    file = text(tmp_path / "colors.txt", "200 10 30 a dog\n10 200 30 cat\n")
    assert color_masks.read(folder, palette=file).classes == [(1, "a dog"), (2, "cat")]
    with pytest.raises(ValueError, match=r"a\.png: the color \(10, 200, 30\) at row 2, column 3"):
        color_masks.read(folder, palette={"dog": RED})
    for color in ((1, 2, 300), (1, 2), (1, 2, 3, 4), "#ff0000", (1, 2, "3")):
        with pytest.raises(ValueError, match="A color is"):
            color_masks.read(folder, palette={"dog": color})


def test_another_background_and_palette_files(tmp_path):
    fixtures.images(tmp_path / "images")
    pixels = color_mask(tmp_path / "masks" / "a_mask.png", RED, GREEN)
    pixels[(pixels == 0).all(axis=-1)] = 255
    PillowImage.fromarray(pixels).convert("P", palette=1).save(tmp_path / "masks" / "a_mask.png")
    found = formats.read(tmp_path, background=(255, 255, 255))
    masks, _ = masks_of(found)
    assert masks.shape[-1] == 2 and found.images[0].id == "a"
    np.testing.assert_array_equal(masks.any(axis=-1), BOTH.any(axis=-1))


def test_masks_in_another_folder(tmp_path):
    folder = fixtures.color_masks_plain(tmp_path)
    found = color_masks.read(folder / "masks", images=folder / "images")
    np.testing.assert_array_equal(masks_of(found)[0], BOTH)


def test_transparent_pixels_are_background(tmp_path):
    fixtures.images(tmp_path / "images")
    pixels = np.full((HEIGHT, WIDTH, 4), (9, 9, 9, 0), np.uint8)
    pixels[mask(CAT)] = (*RED, 255)
    save(tmp_path / "masks" / "a.png", pixels)
    np.testing.assert_array_equal(masks_of(color_masks.read(tmp_path))[0], BOTH[..., :1])
    pixels[2, 3, 3] = 128
    save(tmp_path / "masks" / "a.png", pixels)
    with pytest.raises(ValueError, match="half transparent"):
        color_masks.read(tmp_path)


@pytest.mark.parametrize("kind", ["circle", "polygons", "jpeg"])
def test_smoothed_masks_are_refused(tmp_path, kind):
    image = np.zeros((100, 100, 3), np.uint8)
    if kind == "circle":
        cv2.circle(image, (50, 50), 30, RED, -1, cv2.LINE_AA)
    else:
        for index in range(4):
            corners = np.array([[5, 5], [40, 12], [20, 44]]) + [index % 2 * 50, index // 2 * 50]
            cv2.fillPoly(image, [corners], (60 * index + 60, 200, 90 * index % 256), cv2.LINE_AA)
    if kind == "jpeg":  # and saved as PNG afterwards
        image = cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR)
    fixtures.image(tmp_path / "images" / "a.png", 100, 100)
    save(tmp_path / "masks" / "a.png", image)
    with pytest.raises(ValueError, match=r"a\.png: \d+ colors are found at edges only"):
        color_masks.read(tmp_path)


def test_many_small_objects_are_not_taken_for_smoothing(tmp_path):
    fixtures.image(tmp_path / "images" / "a.png", 100, 100)
    image = np.zeros((100, 100, 3), np.uint8)
    for index in range(300):  # numbered in the blue channel: all on one line
        y, x = 6 * (index // 20), 5 * (index % 20)
        image[y : y + 2 + index % 3, x : x + 1 + (index % 7 > 0)] = (
            0,
            index // 255,
            index % 255 + 1,
        )
    save(tmp_path / "masks" / "a.png", image)
    expected = len(np.unique(image.reshape(-1, 3), axis=0)) - 1
    assert len(color_masks.read(tmp_path).images[0].instances) == expected


def test_round_trip(tmp_path):
    rng = np.random.default_rng(4)
    height, width = 70, 90
    numbers = np.zeros((height, width), int)
    for number in range(1, 301):  # more than a palette has
        y, x = 4 * ((number - 1) // 22), 4 * ((number - 1) % 22)
        numbers[y : y + 3, x : x + 3][rng.random((3, 3)) > 0.3] = number
    present = np.unique(numbers)[1:]
    instances = [
        Instance(int(n) % 3 + 1, shape=Rle([height, width], mask_to_rle(numbers == n)["counts"]))
        for n in present
    ]
    path = fixtures.image(tmp_path / "in" / "a.jpg", height, width)
    records = [Image(5, str(path), height, width, instances)]
    records.append(Image(6, str(fixtures.image(tmp_path / "in" / "b.jpg")), HEIGHT, WIDTH))
    before = Annotations("x", [(3, "z"), (5, "a b"), (6, "c"), (7, "unused")], records)
    color_masks.write(before, tmp_path / "out")
    found = formats.read(tmp_path / "out")
    assert [name for _, name in found.classes] == ["z", "a b", "c", "unused"]
    for index in range(2):
        for one, other in zip(masks_of(before, index), masks_of(found, index), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_colors_cannot_hold_is_refused(tmp_path):
    path = str(fixtures.image(tmp_path / "a.png"))
    shape = Rle([HEIGHT, WIDTH], mask_to_rle(mask(CAT))["counts"])
    cases = [
        ("cannot mark crowds", "c", [Instance(1, crowd=True, shape=shape)]),
        ("lies under other", "c", [Instance(1, shape=shape), Instance(1, shape=shape)]),
        ("it has no mask", "c", [Instance(1, box=CAT)]),
        ("cannot hold the class 'a:b'", "a:b", []),
        ("cannot hold the class 'a.nb'", "a\nb", []),
        ("cannot hold a class 'background'", "background", []),
    ]
    for words, name, instances in cases:
        record = Image(1, path, HEIGHT, WIDTH, instances)
        with pytest.raises(ValueError, match=words.replace(".n", r"\\n")):
            color_masks.write(Annotations("x", [(1, name)], [record]), tmp_path / "out")


@pytest.mark.parametrize(
    "content, words",
    [
        ("cat:250,50,83::\ncat:1,2,3::", "line 2: its name or color"),
        ("cat:250,50,83::\ndog:250,50,83::", "line 2: its name or color"),
        ("cat:250,50,256::", "line 1: expected"),
        ("cat:250,50::", "line 1: expected"),
        ("cat:" + "9" * 5000 + ",1,1::", "labelmap.txt"),
        ("cat" * 10_000, "line 1: expected"),
        ("dog:52,209,183::", r"region 1 .*\(250, 50, 83\) in SegmentationClass is not"),
        ("\0\0", "line 1: expected"),
    ],
)
def test_damaged_labelmaps(tmp_path, content, words):
    folder = fixtures.color_masks_cvat(tmp_path)
    text(folder / "labelmap.txt", content)
    with pytest.raises(ValueError, match=words) as caught:
        color_masks.read(folder)
    assert len(str(caught.value)) < 1200 and str(folder) in str(caught.value)


def test_damaged_layouts(tmp_path):
    folder = fixtures.color_masks_plain(tmp_path / "x")
    (folder / "images" / "a.jpg").rename(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError, match=r"a\.png: there is no image of this name"):
        color_masks.read(folder)
    (folder / "masks" / "a.png").unlink()
    (tmp_path / "a.jpg").rename(folder / "masks" / "b_mask.jpg")
    with pytest.raises(
        ValueError, match=r"b_mask\.jpg: a label image must not be compressed with losses"
    ):
        color_masks.read(folder)
    folder = fixtures.color_masks_cvat(tmp_path / "y")
    (folder / "JPEGImages").rename(tmp_path / "photos")
    assert color_masks.looks_like(folder)
    with pytest.raises(FileNotFoundError, match="no folder of images .*images="):
        color_masks.read(folder)
    assert len(color_masks.read(folder, images=tmp_path / "photos").images) == 2
    (folder / "SegmentationClass" / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"SegmentationClass.a\.png"):
        color_masks.read(folder, images=tmp_path / "photos")
    with pytest.raises(ValueError, match="expected folders images and masks"):
        color_masks.read(tmp_path)


@pytest.mark.parametrize("link", ["images/a.jpg", "masks/a.png", "masks"])
def test_links_that_lead_outside_are_refused(tmp_path, link):
    secret = fixtures.color_masks_plain(tmp_path / "secret")
    folder = fixtures.color_masks_plain(tmp_path / "set")
    (folder / link).rename(tmp_path / "old")
    (folder / link).symlink_to(secret / link)
    with pytest.raises(ValueError, match="leads out of the folder"):
        color_masks.read(folder)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    folder = fixtures.color_masks_cvat(tmp_path)
    rng = random.Random(5)
    for name in ("labelmap.txt", "SegmentationObject/a.png", "SegmentationClass/a.png"):
        file = folder / name
        original = file.read_bytes()
        for _ in range(100):
            damaged = bytearray(original)
            for _ in range(rng.randint(1, 6)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            file.write_bytes(bytes(damaged[: rng.choice([len(damaged), rng.randrange(99)])]))
            try:
                color_masks.read(folder)
            except (ValueError, FileNotFoundError) as error:
                assert str(folder) in str(error)
        file.write_bytes(original)


def test_a_small_file_cannot_claim_a_giant_image(tmp_path):
    folder = fixtures.color_masks_plain(tmp_path)
    file = folder / "masks" / "a.png"
    data = bytearray(file.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"a\.png"):
        color_masks.read(folder)


def test_damaged_pixels_of_a_mask_are_found_by_their_checksum(tmp_path):
    """Pillow compares no checksum of the pixels; see `_files.open_mask`."""
    path = fixtures.color_masks_plain(tmp_path) / "masks" / "a.png"
    data = bytearray(path.read_bytes())
    start = data.index(b"IDAT") + 4
    for place in range(start + 2, start + 12):
        damaged = data.copy()
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.png"):
            color_masks.read(tmp_path)
