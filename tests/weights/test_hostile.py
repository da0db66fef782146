"""Zip, safetensors and HDF5 files that were made to do harm; see `test_hostile_pickles.py`."""

import json
import struct
import zipfile

import h5py
import numpy as np
import pytest
from writers import replaced, write_safe, write_zip, zipped

from mrcnn.weights.maps import detectron2, matterport, torchvision
from mrcnn.weights.shapes import Shapes


def made(tmp_path, content=None, **options):
    content = {"a": np.arange(6, dtype="float32")} if content is None else content
    return write_zip(tmp_path / "made.pth", content, **options).read_bytes()


# --- Zip files -----------------------------------------------------------------------------------
def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def overlapping():
    """Returns a zip file with one member inside the data of another."""
    inner = zipped([("a/data/1", b"1234")])[: 30 + 8 + 4]
    data = zipped([("a/data.pkl", b"}."), ("a/data/0", inner), ("a/data/1", b"1234")])
    # The directory finds the last member in the one before it.
    where = data.index(inner)
    return replaced(data, struct.pack("<I", data.rindex(b"PK\3\4")), struct.pack("<I", where))


NUMBERS = np.arange(6, dtype="float32").tobytes()
ZIPS = {
    "a number": (lambda d: flipped(d, d.index(NUMBERS)), "checksum of 'archive/data/0'"),
    "the pickle": (lambda d: flipped(d, d.index(b"FloatStorage")), "checksum of 'archive/data.pkl"),
    "the byte order": (lambda d: replaced(d, b"little", b"lottle"), "checksum"),
    "name in the local header": (lambda d: replaced(d, b"data/0", b"data/1"), "two headers"),
    "name in the directory": (lambda d: replaced(d, b"data/0", b"data/1", 1), "two headers"),
    "size in the local header": (
        lambda d: replaced(d, struct.pack("<2I", 24, 24), struct.pack("<2I", 20, 20)),
        "two headers",
    ),
    "size in the directory": (
        lambda d: replaced(d, struct.pack("<2I", 24, 24), struct.pack("<2I", 20, 20), 1),
        "two headers",
    ),
    "method in the local header": (lambda d: d[:8] + b"\x08" + d[9:], "two headers"),
    "claimed size": (
        lambda d: d.replace(struct.pack("<2I", 24, 24), struct.pack("<2I", 2**31, 2**31)),
        "the end of its member",
    ),
    "encrypted": (
        lambda d: replaced(d, b"PK\1\2\x14\x03\x14\x00\x00", b"PK\1\2\x14\x03\x14\x00\x01"),
        "compressed",
    ),
    "bytes before": (lambda d: b"PK\3\4" + d, "expected"),
    "bytes after": (lambda d: d + b"\x00", "does not end with the directory"),
    "count": (lambda d: d[:-12] + b"\x03\x00" + d[-10:], "does not end with the directory"),
    "counts": (lambda d: d[:-14] + b"\x03\x00\x03\x00" + d[-10:], "its directory ends"),
    "start": (lambda d: d[:-6] + b"\x00\x00\x00\x00" + d[-2:], "its directory ends"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_zip_files_with_wrong_headers(check, tmp_path, case):
    change, message = ZIPS[case]
    check("content.pth", change(made(tmp_path)), message)


MEMBERS = {
    "twice": ([("a/data.pkl", b"}."), ("a/data.pkl", b"N.")], "there twice"),
    "two pickles": ([("a/data.pkl", b"}."), ("b/data.pkl", b"N.")], "2 members data.pkl"),
    "no pickle": ([("a/data/0", b"1234")], "0 members data.pkl"),
    "big-endian": ([("a/data.pkl", b"}."), ("a/byteorder", b"big")], "another byte order"),
    "many": ([(f"{i:x}", b"") for i in range(101_000)], "it has 101000 members"),
}


@pytest.mark.parametrize("case", MEMBERS)
def test_zip_files_with_wrong_members(check, case):
    members, message = MEMBERS[case]
    check("content.pth", zipped(members), message)


def nested(count, size):
    """Returns a zip file of members inside of each other, without their checksums."""
    data, directory = bytes(size), b""
    for number in reversed(range(count)):
        name = b"%06d" % number
        numbers = (0, len(data), len(data), len(name))
        place = number * (30 + len(name))
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *[0] * 6, *numbers, *[0] * 5, place)
        directory += name
        data = struct.pack("<4s5H3I2H", b"PK\3\4", *[0] * 5, *numbers, 0) + name + data
    end = (0, 0, count, count, len(directory), len(data), 0)
    return data + directory + struct.pack("<4s4H2IH", b"PK\5\6", *end)


def test_overlapping_members(check):
    check("content.pth", overlapping(), "its members overlap")
    # To compute their checksums, if these were right, would read 6 GB.
    check("content.pth", nested(2000, 3_000_000), "its members overlap")


def test_compressed_pickles(check):
    data = zipped([("a/data.pkl", b"]" * 10**7)], zipfile.ZIP_DEFLATED)
    assert len(data) < 60_000
    check("content.pth", data, "compressed, which torch.save never does")


# --- safetensors ---------------------------------------------------------------------------------
def entry(start, stop, shape=None, dtype="F32"):
    shape = [(stop - start) // 4] if shape is None else shape
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


SAFE = {
    "bytes after": ({"a": entry(0, 8)}, 9, "its arrays end at byte 8"),
    "hole": ({"a": entry(0, 4), "b": entry(8, 12)}, 12, "starts at byte 8 of the numbers"),
    "hole before": ({"a": entry(4, 8)}, 8, "starts at byte 4 of the numbers"),
    "overlap": ({"a": entry(0, 8), "b": entry(4, 12)}, 12, "starts at byte 4 of the numbers"),
    "shared": ({"a": entry(0, 8), "b": entry(0, 8)}, 8, "starts at byte 0 of the numbers"),
    "missing bytes": ({"a": entry(0, 8)}, 7, "its arrays end at byte 8"),
    "4,000 digits": (b'{"a":{"dtype":"F32","shape":[1' + b"0" * 4000 + b"]}}", 0, "digits"),
    "33 axes": ({"a": entry(0, 4, [1] * 33)}, 4, "has dtype"),
    "endless shape": ({"a": entry(0, 0, [2**62, 2**62, 0])}, 0, None),
    "wrapping shape": ({"a": entry(0, 0, [2**62, 4])}, 0, "has shape"),
    "negative": ({"a": entry(0, 4, [-1, -1])}, 4, "has dtype"),
    "backwards": ({"a": entry(4, 0, [0])}, 4, "has shape"),
    "true": ({"a": entry(0, 4, [True])}, 4, "has dtype"),
    "a fraction": ({"a": entry(0, 4, [1.0])}, 4, "has dtype"),
    "type": ({"a": entry(0, 4, [1], "O")}, 4, "has dtype 'O'"),
    "long type": ({"a": entry(0, 4, [1], "O" * 10**5)}, 4, "has dtype"),
    "type as a list": ({"a": entry(0, 4, [1], ["F32"])}, 4, "is damaged at 'a'"),
    "three offsets": ({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4, 4]}}, 4, "values"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [1]}}, 4, "no dtype, shape and offsets"),
    "long name": ({"a" * 10**6: entry(0, 8)}, 9, "its arrays end"),
    "twice": (b'{"a":' + json.dumps(entry(0, 4)).encode() + b',"a":1}', 4, "a name twice"),
    "nested": (b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}", 0, "recursion"),
    "another encoding": (json.dumps({"a": entry(0, 4)}).encode("utf-16"), 4, "utf-8"),
    "a list": (b"[1, 2]", 0, "not a JSON object"),
    "many": ({f"a{i}": entry(0, 0) for i in range(50_000)}, 0, "neither a Mask R-CNN"),
    "too many": ({f"a{i}": entry(0, 0) for i in range(100_000)}, 0, "its header has"),
}


@pytest.mark.parametrize("case", SAFE)
def test_safetensors(check, tmp_path, case):
    header, size, message = SAFE[case]
    data = write_safe(tmp_path / "x", header, bytes(size)).read_bytes()
    check("a.safetensors", data, message)


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_length_of_the_header(check, length):
    check("a.safetensors", struct.pack("<Q", length) + b"{}", "its header has")


# --- HDF5 ----------------------------------------------------------------------------------------
def layered(path, layers, names=None):
    """Writes layers: a dict of the datasets of each, by name."""
    with h5py.File(path, "w") as file:
        listed = list(layers) if names is None else names
        file.attrs["layer_names"] = np.array([name.encode() for name in listed] or [b""])
        for layer, weights in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in weights] or [b""])
            for name, (shape, options) in weights.items():
                group.create_dataset(name, shape, "float32", **options)
    return path


SPARSE = {"chunks": (2**16,)}
CLAIM = {"kernel": ((2**40,), SPARSE)}


def links(path):
    """Writes 300 names of one array of 4 MB."""
    layered(path, {"a": {f"w{i}": ((1,), {}) for i in range(300)}})
    with h5py.File(path, "a") as file:
        file["a/big"] = np.zeros(2**20, "float32")
        for i in range(300):
            del file[f"a/w{i}"]
            file[f"a/w{i}"] = file["a/big"]


def many_links(path):
    """Writes 200 names of one group of 200 arrays."""
    layered(path, {"a": {f"w{i}": ((1,), {}) for i in range(200)}}, [f"a{i}" for i in range(200)])
    with h5py.File(path, "a") as file:
        for i in range(200):
            file[f"a{i}"] = file["a"]


def metadata(value):
    def write(path):
        layered(path, {"a": {"w": ((1,), {})}})
        with h5py.File(path, "a") as file:
            file.attrs["mrcnn_metadata"] = value

    return write


def classes(count, units=1024, **others):
    """Writes heads of Matterport's that claim classes without holding any number."""
    shapes = {
        "mrcnn_class_conv1": (7, 7, 4, units),
        "mrcnn_class_logits": (units, count),
        "mrcnn_bbox_fc": (units, 4 * count),
        **others,
    }
    layers = {name: {"kernel": (shape, {"chunks": True})} for name, shape in shapes.items()}
    return lambda path: layered(path, layers)


def texts(path):
    """Writes 3,000 names that all stand for one text of 2 MB."""
    names = ["x" * 2_000_000] + [f"{i}" for i in range(2999)]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array(names, h5py.string_dtype())
    data = path.read_bytes()
    start = data.index(struct.pack("<I", 2_000_000))
    path.write_bytes(data[:start] + data[start : start + 16] * 3000 + data[start + 48_000 :])


def heaps(path):
    """Appends 20,000 heaps that lie inside of each other."""
    layered(path, {"a": {"w": ((1,), {})}})
    count, item = 20_000, struct.Struct("<HH4xQ")
    sizes = [32 * (count - i) for i in range(count)]
    used_or_free = [item.pack(1, 1, 16), item.pack(0, 0, 32)] * (count // 2 - 1)
    objects = [*used_or_free, item.pack(1, 1, 16), item.pack(1, 1, 0)]
    parts = [
        b"GCOL\1\0\0\0" + struct.pack("<Q", size) + part
        for size, part in zip(sizes, objects, strict=True)
    ]
    with open(path, "ab") as file:
        file.write(b"".join(parts))


HDF5 = {
    "8 TB": (lambda p: layered(p, {"a": CLAIM}), "claim"),
    "many claims": (
        lambda p: layered(p, {f"a{i}": {"w": ((2**23,), SPARSE)} for i in range(20)}),
        "claim",
    ),
    "links to one array": (links, "claim"),
    "links to one group": (many_links, "claim"),
    "names of one text": (texts, "claims 6,000,"),
    "heaps in heaps": (heaps, "its heaps overlap"),
    "a layer twice": (lambda p: layered(p, {"a": CLAIM}, ["a", "a"]), "expected each once"),
    "layers": (lambda p: layered(p, {}, [f"{i}" for i in range(4001)]), "at most 4000"),
    "a name with a damaged letter": (
        lambda p: layered(p, {"conv1": {"w": ((1,), {})}}, ["conv2"]),
        "which it does not list",
    ),
    "dots": (lambda p: layered(p, {"a": {"w": ((1,), {})}}, ["a/../a"]), None),
    "a user block": (lambda p: p.write_bytes(bytes(512) + b"\x89HDF\r\n\x1a\n"), "an HDF5"),
    "deep metadata": (metadata("[" * 60_000), "not valid JSON"),
    "metadata of numbers": (metadata([1, 2]), "is not text"),
    "list of metadata": (metadata(["{}", "{}"]), "not valid JSON"),
    "metadata of 5,000 digits": (metadata('{"epoch": ' + "9" * 5000 + "}"), "not valid JSON"),
    "10**9 classes": (classes(10**9), "claim"),
    "10**6 classes": (classes(10**6, units=1), "expected (1, 100000)"),
    "other boxes": (classes(1000, mrcnn_bbox_fc=(8, 8)), "expected (1024, 4000)"),
    "large chunks": (
        lambda p: layered(p, {"a": {"w": ((1,), {"maxshape": (None,), "chunks": (2**27,)})}}),
        "claims chunks of",
    ),
    "no units": (classes(3, units=0), "FPN_CLASSIF_FC_LAYERS_SIZE = 0, expected a whole"),
    "an epsilon of text": (
        metadata('{"numerics": "matterport", "batch_norm_epsilon": "1"}'),
        "BATCH_NORM_EPSILON = '1', expected",
    ),
    "channels": (classes(3, conv1=(7, 7, 10**5, 4)), "expected (7, 7, 1024, 4)"),
    "a number for a kernel": (classes(3, conv1=(1,)), "expected"),
}


@pytest.mark.parametrize("case", HDF5)
def test_hdf5(check, tmp_path, case):
    write, message = HDF5[case]
    write(tmp_path / "a.h5")
    check("a.h5", (tmp_path / "a.h5").read_bytes(), message)


# --- Networks that a file asks for ---------------------------------------------------------------
def shapes_of(family, backbone, units=4, classes=3, pyramid=2, masks=2):
    """Returns the shapes of the tensors that decide how large a network is."""
    found = {}
    for stage, outputs in enumerate((1, 2, 4, 8), start=1):
        for block in range(2):
            for conv in (1, 2):
                found[backbone(stage, block, conv)] = (outputs, outputs, 3, 3)
    if family is torchvision:
        found |= {
            "backbone.body.conv1.weight": (1, 3, 7, 7),
            "roi_heads.box_predictor.cls_score.weight": (classes, units),
            "roi_heads.box_predictor.bbox_pred.weight": (4 * classes, units),
            "roi_heads.box_head.fc6.weight": (units, 49 * pyramid),
            "backbone.fpn.inner_blocks.0.0.weight": (pyramid, 1, 1, 1),
            "backbone.fpn.layer_blocks.0.0.weight": (pyramid, pyramid, 3, 3),
            "rpn.head.conv.0.0.weight": (pyramid, pyramid, 3, 3),
            "rpn.head.cls_logits.weight": (3, pyramid, 1, 1),
            "roi_heads.mask_head.1.0.weight": (masks, masks, 3, 3),
            "roi_heads.mask_predictor.conv5_mask.bias": (masks,),
            "roi_heads.mask_predictor.mask_fcn_logits.weight": (classes, masks, 1, 1),
        }
    else:
        found |= {
            "backbone.bottom_up.stem.conv1.weight": (1, 3, 7, 7),
            "roi_heads.box_predictor.cls_score.weight": (classes, units),
            "roi_heads.box_predictor.bbox_pred.weight": (4 * classes - 4, units),
            "roi_heads.box_head.fc1.weight": (units, 49 * pyramid),
            "backbone.fpn_lateral2.weight": (pyramid, 1, 1, 1),
            "backbone.fpn_output2.weight": (pyramid, pyramid, 3, 3),
            "proposal_generator.rpn_head.conv.weight": (pyramid, pyramid, 3, 3),
            "proposal_generator.rpn_head.objectness_logits.weight": (3, pyramid, 1, 1),
            "roi_heads.mask_head.mask_fcn2.weight": (masks, masks, 3, 3),
            "roi_heads.mask_head.deconv.bias": (masks,),
            "roi_heads.mask_head.predictor.weight": (classes - 1, masks, 1, 1),
        }
    return found


FAMILIES = [
    (torchvision, lambda s, b, c: f"backbone.body.layer{s}.{b}.conv{c}.weight"),
    (detectron2, lambda s, b, c: f"backbone.bottom_up.res{s + 1}.{b}.conv{c}.weight"),
]


@pytest.mark.parametrize("family, backbone", FAMILIES)
def test_a_network_is_not_larger_than_its_file(family, backbone):
    """A shape that other tensors contradict is refused before a network is built."""
    good = shapes_of(family, backbone)
    assert family.settings(Shapes("a.pth", good))["NUM_CLASSES"] == 3
    refused = 0
    for name, shape in good.items():
        for axis in range(min(len(shape), 2)):
            sides = list(shape)
            sides[axis] = 10**6
            if ".conv1.weight" in name and "stem" not in name and "body.conv1" not in name:
                continue  # decides nothing
            if axis == 1 and ("inner_blocks" in name or "lateral" in name or "logits" in name):
                continue
            if axis == 1 and ("predictor.weight" in name or "stem" in name or "body.conv1" in name):
                continue
            with pytest.raises(ValueError, match="a.pth"):
                family.settings(Shapes("a.pth", good | {name: tuple(sides)}))
            refused += 1
    assert refused > 20
    with pytest.raises(ValueError, match="expected 1 to 100,000"):
        family.settings(Shapes("a.pth", shapes_of(family, backbone, classes=10**9)))


def test_the_limits_are_above_the_published_files():
    """ResNet-101 with all heads: 690 weights, 257 MB."""
    from mrcnn.weights.files import reading

    assert reading.MAX_WEIGHTS > 5 * 690 and reading.MAX_UNSTORED_BYTES > 64_158_584 * 4
    assert matterport.MAX_CLASSES > 21_842
