"""What the tests of the formats of annotation tools share: images, a record, its round trip."""

import base64
import io

import cv2
import numpy as np
from PIL import Image as PillowImage

from mrcnn.data.annotations import Annotations, Image, Instance, Polygons, Rle, rasterize
from mrcnn.images.rle import mask_to_rle

SIZES = {"a.png": (40, 60), "sub/b 2.png": (33, 47), "empty.png": (1, 1)}


def write_image(path, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    return path


def masks_of(annotations, number=0):
    """Returns bool [height, width, N] of an image of a record."""
    return rasterize(annotations.images[number])[0]


def png(mask):
    """Returns a mask as a PNG file of one bit per pixel in base64."""
    file = io.BytesIO()
    PillowImage.fromarray(mask).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def iou(first, second):
    union = (first | second).sum()
    return (first & second).sum() / union if union else 1.0


def labels_of(annotations, number=0):
    """Returns the class names of the instances of an image."""
    return [
        annotations.classes[instance.class_id - 1][1]
        for instance in annotations.images[number].instances
    ]


def ring_mask():
    """Returns a mask with a hole that holds an island, and a part of one pixel in a corner."""
    mask = np.zeros((40, 60), bool)
    mask[5:30, 10:50] = True
    mask[10:25, 15:40] = False
    mask[15:20, 20:30] = True
    mask[39, 59] = True
    return mask


def record(folder, score=None):
    """Writes three images, and returns a record of them that needs what formats often lack.

    A class that is not used, names with spaces and beyond ASCII, a hole, several parts, an
    instance of one pixel, a polygon that leaves its image, an image in a folder, one without
    instances.
    """
    for name, (height, width) in SIZES.items():
        write_image(folder / name, height, width)
    dot = np.zeros((33, 47), bool)
    dot[32, 46] = True
    triangle = [[2.5, 3.0, 50.25, 4.0, 20.0, 35.75]]
    first = [
        Instance(2, shape=Polygons(triangle), name="triangle", score=score),
        Instance(1, shape=Rle(**mask_to_rle(ring_mask())), name="ring", score=score),
    ]
    second = [
        Instance(1, shape=Rle(**mask_to_rle(dot)), name="dot", score=score),
        Instance(4, shape=Polygons([[-5, -5, 47, -5, 47, 33, -5, 10]]), name="out", score=score),
        Instance(
            4,
            shape=Polygons([[0, 0, 9, 0, 9, 9], [20, 20, 30, 20, 30, 30]]),
            name="two parts",
            score=score,
        ),
    ]
    classes = [(7, "dog"), (3, "cat 10"), (1, "unused"), (9, "Käse & <Brot>")]
    images = [
        Image(name, str(folder / name), *SIZES[name], instances=instances)
        for name, instances in zip(SIZES, [first, second, []], strict=True)
    ]
    return Annotations("test", classes, images)


def boxes_only(folder):
    """Writes one image, and returns a record of two boxes in it."""
    write_image(folder / "a.png", 40, 60)
    instances = [
        Instance(1, box=(2.0, 3.0, 20.5, 40.25), name="first"),
        Instance(2, box=(0.0, 0.0, 40.0, 60.0), name="second"),
    ]
    image = Image("a.png", str(folder / "a.png"), 40, 60, instances=instances)
    return Annotations("test", [(1, "dog"), (2, "cat")], [image])


def round_trip(module, annotations, path, images, at_least=1.0):
    """Writes and reads a record; checks names, classes, order and masks, and returns what is read.

    Args:
        module: the format.
        annotations: Annotations.
        path: path to write.
        images: the folder of the images.
        at_least: float. The smallest IoU of a mask.
    """
    module.write(annotations, path)
    assert module.looks_like(path)
    found = module.read(path, images=images)
    assert [name for _, name in found.classes] == [name for _, name in annotations.classes]
    assert [image.path for image in found.images] == [image.path for image in annotations.images]
    for number, image in enumerate(annotations.images):
        assert (found.images[number].height, found.images[number].width) == SIZES[image.id]
        assert labels_of(found, number) == labels_of(annotations, number)
        old, new = masks_of(annotations, number), masks_of(found, number)
        assert old.shape == new.shape
        for index in range(old.shape[-1]):
            assert iou(old[..., index], new[..., index]) >= at_least
    return found


def attack(module, path, rounds=200, draw=True):
    """Cuts a file and changes bytes of it: reading and drawing it succeeds or names the file."""
    text = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(rounds):
        data = bytearray(text[: rng.integers(len(text) + 1)] if rng.random() < 0.2 else text)
        for place in rng.integers(max(len(data), 1), size=rng.integers(1, 4) if data else 0):
            data[place] = rng.choice(list(b'0123456789.-,;:e"<{]\xff'))
        path.write_bytes(bytes(data))
        try:
            for image in module.read(path).images:
                if draw:
                    rasterize(image)
        except ValueError as error:
            refused += 1
            assert path.name in str(error)
            assert len(str(error)) < 2000
    assert 0 < refused < rounds
