"""Hand-made hostile COCO files, read in one child process with little memory and time.

Each file is opened and used as training and evaluation use it. It may be read, or be refused with
one short error that names it. Nothing else: no other error, no hang, no crash, no gigabytes.
"""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

MEMORY = 2 * 2**30  # bytes of address space above what the child has after its imports
SECONDS = 10  # of each file
SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
HUGE = 10**4000


def coco(*annotations, **changes):
    """Returns a file of one image of 8x10 pixels."""
    listed = [
        {"id": n, "image_id": 1, "category_id": 1, **entry} if isinstance(entry, dict) else entry
        for n, entry in enumerate(annotations, 1)
    ]
    return {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}],
        "annotations": listed,
        "categories": [{"id": 1, "name": "cell"}],
    } | changes


def image(**changes):
    return [{"id": 1, "file_name": "a.png", "height": 8, "width": 10} | changes]


def shape(segmentation, **changes):
    return coco({"segmentation": segmentation, **changes})


def large(count, counts, side=16000, file="a.png"):
    rle = {"size": [side, side], "counts": counts}
    entries = [{"segmentation": rle, "bbox": [0, 0, side, side]}] * count
    return coco(*entries, images=image(height=side, width=side, file_name=file))


def nested(depth, inner="1"):
    return "[" * depth + inner + "]" * depth


GOOD = json.dumps(shape([SQUARE]))
ZIGZAG = [0, 0, 10**9, 10**9, -(10**9), 3, 10**9, -(10**9)] * 20_000
FULL = [0, 16000 * 16000]
CASES = {
    # text
    "nothing": b"",
    "half a file": GOOD[:60].encode(),
    "two files": (GOOD + GOOD).encode(),
    "nul bytes": b"\0" * 5000,
    "not UTF-8": b'{"images": "\xff\xfe\xfa"}',
    "half of UTF-16": GOOD.encode("utf-16")[:-1],
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16 without a mark": GOOD.encode("utf-16-le"),
    "UTF-32": GOOD.encode("utf-32"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "two marks": b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD.encode(),
    "deep list": nested(10**6).encode(),
    "deep dict": b'{"a":' * 10**5,
    "deep polygon": GOOD.replace(json.dumps([SQUARE]), nested(900)).encode(),
    "deep id": GOOD.replace('"image_id": 1', f'"image_id": {nested(900)}').encode(),
    "number of 10,000 digits": b'{"images": [' + b"9" * 10_000 + b"]}",
    "constants": b'{"images": NaN, "annotations": Infinity, "categories": []}',
    "brackets": b"[" + b"[]," * 500_000 + b"[]]",
    "one key twice": GOOD.replace('"images"', '"images": 5, "images"').encode(),
    # lists and entries
    "a list": [],
    "lists are dicts": coco(images={}, annotations={}, categories={}),
    "entries are numbers": coco(5, images=[5], categories=[5]),
    "entries are null": coco(None, images=[None], categories=[None]),
    "image is a list": coco(images=[[1, "a.png", 8, 10]]),
    "annotation is text": coco("annotation"),
    # images
    "height is NaN": coco(images=image(height=float("nan"))),
    "height is text": coco(images=image(height="8")),
    "height is true": coco(images=image(height=True)),
    "height is huge": coco(images=image(height=HUGE)),
    "width is negative": coco(images=image(width=-10)),
    "image id is a dict": coco(images=image(id={})),
    "image id is huge": coco({"segmentation": [SQUARE], "image_id": HUGE}, images=image(id=HUGE)),
    "image id is NaN": coco(images=image(id=float("nan"))),
    "image id is true": shape([SQUARE], image_id=True),
    "name leaves the folder": coco(images=image(file_name="../../../etc/passwd")),
    "name with nul": coco(images=image(file_name="a\0.png")),
    "name is a surrogate": coco(images=image(file_name="\ud800.png")),
    "name is a dot": coco(images=image(file_name=".")),
    "name is empty": coco(images=image(file_name="")),
    "name is long": coco(images=image(file_name="a" * 10**6)),
    "name is deep": coco(images=image(file_name="a/" * 10**5 + "a.png")),
    "name is a list": coco(images=image(file_name=["a.png"])),
    "many images of one id": coco(images=image() * 10_000),
    # categories
    "category id is text": coco(categories=[{"id": "1", "name": "cell"}]),
    "category id is huge": shape([SQUARE], category_id=HUGE)
    | {"categories": [{"id": HUGE, "name": "c"}]},
    "category twice": coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
    "category name is a list": coco(categories=[{"id": 1, "name": [[["a"]]]}]),
    "category name is a surrogate": shape([SQUARE]) | {"categories": [{"id": 1, "name": "\udcff"}]},
    "category is true": shape([SQUARE], category_id=True),
    "many categories": shape([SQUARE], category_id=-1)
    | {"categories": [{"id": n, "name": "c"} for n in range(20_000)]},
    # annotations
    "crowd is a list": shape([SQUARE], iscrowd=[[0]]),
    "crowd is huge": shape([SQUARE], iscrowd=HUGE),
    "box is a number": shape([SQUARE], bbox=7),
    "box is text": shape([SQUARE], bbox="abcd"),
    "box is NaN": shape([SQUARE], bbox=[float("nan")] * 4),
    "box is infinite": shape([SQUARE], bbox=[1, 1, float("inf"), float("-inf")]),
    "box is huge": shape([SQUARE], bbox=[HUGE, HUGE, 1, 1]),
    "box is 1e308": shape([SQUARE], bbox=[-1e308, -1e308, 1e308, 1e308]),
    "box is a dict": shape([SQUARE], bbox={"x": 1, "y": 2, "w": 3, "h": 4}),
    "box is long": shape([SQUARE], bbox=[1] * 10**5),
    "annotation id is huge": shape([SQUARE], id=HUGE, bbox=5),
    # polygons
    "polygon is text": shape("abc"),
    "polygon is true": shape(True),
    "polygon is a number": shape(5.5),
    "polygon of dicts": shape([{}, {}]),
    "polygon of null": shape([[None] * 6]),
    "polygon of text": shape([["1", "2", "x", "4", "5", "6"]]),
    "polygon of 7": shape([[1, 2, 3, 4, 5, 6, 7]]),
    "polygon with NaN": shape([[1, 2, 3, 4, float("nan"), 6]]),
    "polygon with infinity": shape([[1, 2, 3, 4, float("inf"), 6]]),
    "polygon with huge": shape([[1, 2, 3, 4, HUGE, 6]]),
    "polygon of 1e308": shape([[1e308, -1e308, -1e308, 1e308, 1e308, 1e308]]),
    "polygon of 1e14": shape([[1e14, -1e14, -1e14, 1e14, 1e14, 1e14]]),
    "polygon is ragged": shape([[[1, 2], [3]], [5]]),
    "zigzag": shape([ZIGZAG]),
    "many zigzags": coco(*[{"segmentation": [ZIGZAG[:2000]]}] * 60),
    "many scraps": shape([[1, 1, 2, 2]] * 100_000),
    "zigzag of a large image": shape([ZIGZAG[: 8 * 500]])
    | {"images": image(height=16000, width=16000, file_name="none.png")},
    # run-length codes
    "code without size": shape({"counts": [80]}),
    "code without counts": shape({"size": [8, 10]}),
    "code of another size": shape({"size": [80, 100], "counts": [8000]}),
    "size is infinite": shape({"size": [8, float("inf")], "counts": [80]}),
    "size is huge": shape({"size": [HUGE, HUGE], "counts": [80]}),
    "size is negative": shape({"size": [-8, -10], "counts": [80]}),
    "size is a dict": shape({"size": {"a": 1}, "counts": [80]}),
    "counts too short": shape({"size": [8, 10], "counts": [5]}),
    "counts too long": shape({"size": [8, 10], "counts": [2**40]}),
    "counts are negative": shape({"size": [8, 10], "counts": [-5, 85]}),
    "counts are huge": shape({"size": [8, 10], "counts": [HUGE, -HUGE, 80]}),
    "counts are floats": shape({"size": [8, 10], "counts": [40.5, 39.5]}),
    "counts are true": shape({"size": [8, 10], "counts": [True] * 80}),
    "counts of zeros": shape({"size": [8, 10], "counts": [0] * 10**6 + [40, 40]}),
    "counts are a dict": shape({"size": [8, 10], "counts": {}}),
    "text ends early": shape({"size": [8, 10], "counts": "0P"}),
    "text of long numbers": shape({"size": [8, 10], "counts": "o" * 10**6}),
    "text overflows": shape({"size": [8, 10], "counts": "oooooo?" * 10**5}),
    "text is not ASCII": shape({"size": [8, 10], "counts": "ü😀"}),
    "text is long": shape({"size": [8, 10], "counts": "0" * 9_000_000}),
    "claims 16000x16000": large(1000, [10, 16000 * 16000 - 10]),
    "claims 16000x16000, without an image": large(1000, FULL, file="none.png"),
    "claims 16000x16000, full": large(1000, FULL),
    "claims more than is read": large(1, [2**30], side=2**15),
}

CHILD = """
import faulthandler, json, resource, sys, time
from pathlib import Path

from mrcnn.data.dataset import Dataset
from mrcnn.data.formats import coco
from mrcnn.data.ground_truth import coco_ground_truth
from mrcnn.data.instances import SourceMasks, from_masks
from mrcnn.images.fit import plan_fit

def address_space():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

def use(path):
    dataset = Dataset.open(path, "coco", path.parent)
    for image_id in range(min(dataset.num_images, 3)):
        dataset.load_boxes(image_id)
        rles, _, class_ids = dataset.load_instances(image_id)
        if rles:
            shape = rles[0]["size"]
            plan = plan_fit(shape, mode="square", min_dim=64, max_dim=64)
            from_masks(SourceMasks.from_rles(rles, class_ids, shape), plan)
        dataset.load_mask(image_id)
    json.dumps(coco_ground_truth(dataset)) if dataset.num_images else None

limit = address_space() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in map(Path, sys.argv[3:]):
    faulthandler.dump_traceback_later(float(sys.argv[2]), exit=True)
    start, said = time.monotonic(), "read"
    try:
        use(path)
    except (ValueError, OSError) as error:
        said = str(error)
        if path.name not in said and "boxes of its masks" not in said or len(said) > 1200:
            said = f"nameless or long: {type(error).__name__}: {said[:300]}"
    except BaseException as error:
        said = f"raw: {type(error).__name__}: {str(error)[:300]}"
    print(json.dumps([path.name, said, round(time.monotonic() - start, 2)]), flush=True)
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the child says about each file, by number: (text, seconds)."""
    folder = tmp_path_factory.mktemp("hostile")
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 10, 3), np.uint8))
    paths = []
    for number, content in enumerate(CASES.values()):
        paths.append(folder / f"case{number}.json")
        if isinstance(content, bytes):
            paths[-1].write_bytes(content)
        else:
            paths[-1].write_text(json.dumps(content))
    command = [sys.executable, "-c", CHILD, str(MEMORY), str(SECONDS), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)  # noqa: S603
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    found = {name: (said, seconds) for name, said, seconds in rows}
    missing = (f"the child ended: {done.stderr[-1500:]}", 0.0)
    return [found.get(path.name, missing) for path in paths]


READ = {
    *("UTF-16", "UTF-16 without a mark", "UTF-32", "UTF-8 with a mark", "one key twice"),
    *("image id is huge", "category id is huge", "category name is a surrogate"),
    *("polygon of 1e14", "many scraps", "zigzag", "many zigzags", "counts of zeros"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_read_or_refused_in_one_sentence(answers, name):
    said, seconds = answers[list(CASES).index(name)]
    for sign in ("nameless", "raw", "the child ended"):
        assert not said.startswith(sign), said
    assert (said == "read") == (name in READ), said
    assert seconds < SECONDS
