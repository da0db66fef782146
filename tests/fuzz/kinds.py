"""The kinds of files that are read: examples of each, and the function that reads them.

A new reader is one line in `KINDS`. An example is a dict of file contents by name, because some
readers open whole folders. `read` gets the folder that holds them, and returns all that was read.
Readers are imported when they are used: the parent process needs none of them.
"""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Formats without a checksum, by suffix: a reader cannot tell other numbers from the right ones.
UNCHECKED = {
    ".h5": "HDF5 as Keras 2 writes it has no checksums",
    ".safetensors": "the format has no checksums",
    ".pt": "the format of torch.save before 2020 has no checksums",
    ".pkl": "pickles have no checksums",
    ".json": "JSON has no checksums",
    ".csv": "CSV has no checksums",
    ".tif": "TIFF has no checksums",
    ".jpg": "JPEG has no checksums",
    ".xml": "XML has no checksums",
    ".yaml": "YAML has no checksums",
    ".txt": "text has no checksums",
    ".names": "text has no checksums",
    ".data": "text has no checksums",
    ".ndjson": "JSON has no checksums",
}

Files = dict[str, bytes]


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        seeds: function that returns examples by name.
        read: function of a folder that returns what is read from it.
    """

    seeds: Callable[[], dict[str, Files]]
    read: Callable[[Path], Any]


def _written(write: Callable[[Path], Any]) -> Files:
    """Returns the files that a function writes into a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


# --- Weights -------------------------------------------------------------------------------------
def _backbone(width=1):
    """Returns the tensors of a ResNet-18 of torchvision, as narrow as possible."""
    rng = np.random.default_rng(width)
    arrays = {}

    def convolution(name, norm, outputs, inputs, size):
        shape = (outputs, inputs, size, size)
        arrays[f"{name}.weight"] = rng.normal(size=shape).astype("float32")
        for part in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"{norm}.{part}"] = rng.random(outputs).astype("float32")

    convolution("conv1", "bn1", width, 3, 3)
    inputs = width
    for stage in range(1, 5):
        outputs = width * 2 ** (stage - 1)
        for block in range(2):
            at = f"layer{stage}.{block}"
            convolution(f"{at}.conv1", f"{at}.bn1", outputs, inputs, 3)
            convolution(f"{at}.conv2", f"{at}.bn2", outputs, outputs, 3)
            if block == 0 and stage > 1:
                convolution(f"{at}.downsample.0", f"{at}.downsample.1", outputs, inputs, 1)
            inputs = outputs
    return arrays


def _small():
    """Returns tensors of every type and order of axes, beside what is no tensor."""
    numbers = np.arange(12, dtype="float32")
    return {
        "model": {
            "plain": numbers.reshape(3, 4),
            "turned": numbers.reshape(3, 4).T,
            "part": numbers[4:8],
            "half": np.ones(3, "float16"),
            "bfloat16": np.full(3, 0x3F80, "uint16"),
            "count": np.array(7, "int64"),
            "none": np.zeros((0, 4), "float32"),
        },
        "epoch": 3,
        "args": ["a", (1, 2.5, None), {"b": True}],
    }


def _pth() -> dict[str, Files]:
    from writers import write_zip

    return {
        "backbone": _written(lambda folder: write_zip(folder / "a.pth", _backbone())),
        "small": _written(lambda folder: write_zip(folder / "content.pth", _small())),
    }


def _pkl() -> dict[str, Files]:
    from writers import write_old

    arrays = _backbone()
    return {
        "old": _written(lambda folder: write_old(folder / "a.pt", arrays)),
        "small": _written(lambda folder: write_old(folder / "content.pt", _small())),
        "numpy": {"a.pkl": pickle.dumps({"model": arrays, "__author__": "x"}, 2)},
        "numpy5": {"a.pkl": pickle.dumps({"model": arrays}, 5)},
    }


def _safetensors() -> dict[str, Files]:
    from writers import write_safe

    def write(folder):
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        data = b""
        for name, array in _backbone().items():
            span = [len(data), len(data) + array.nbytes]
            header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": span}
            data += array.tobytes()
        write_safe(folder / "a.safetensors", header, data)

    return {"backbone": _written(write)}


def _h5() -> dict[str, Files]:
    return {"layers": _written(lambda folder: _write_h5(folder / "a.h5"))}


def _write_h5(path):
    """Writes a file as `weights.files.h5` does, without Keras."""
    import h5py

    rng = np.random.default_rng(0)
    layers = {
        "conv1": {"kernel": (3, 3, 3, 2), "bias": (2,)},
        "bn_conv1": {"gamma": (2,), "beta": (2,), "moving_mean": (2,), "moving_variance": (2,)},
        "fpn_p2": {"kernel": (3, 3, 4, 4), "bias": (4,)},
        "mrcnn_class_logits": {"kernel": (4, 3), "bias": (3,)},
    }
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["mrcnn_metadata"] = json.dumps({"epoch": 3, "classes": ["BG", "a", "b"]})
        for layer, weights in layers.items():
            names = [f"{layer}/{name}:0" for name in weights]
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, shape in zip(names, weights.values(), strict=True):
                group.create_dataset(name, data=rng.random(shape).astype("float32"))


def _read_weights(folder):
    from mrcnn.weights.files.tensors import read_torch
    from mrcnn.weights.source import open_source

    (path,) = folder.iterdir()
    if path.stem == "content":  # it is of no known network
        return read_torch(path)
    with open_source(path) as source:
        layers = {name: dict(weights) for name, weights in source.layers.items()}
        return layers, source.settings, source.class_names, source.dialect


# --- Folders of models ---------------------------------------------------------------------------
def _folders() -> dict[str, Files]:
    from mrcnn.config import Config

    history = "epoch,loss,val_loss\n1,2.5,2.75\n2,1.5,1.75\n"
    stage = {"start": 0, "epochs": 2, "layers": "heads", "learning_rate": 0.01, "finished": False}
    return {
        "run": {
            "config.json": Config(NAME="cells", NUM_CLASSES=2).to_json().encode(),
            "classes.json": b'["BG", "cell"]',
            "training.json": json.dumps([stage]).encode(),
            "history.csv": history.encode(),
            "weights.h5": _h5()["layers"]["a.h5"],
        }
    }


def _read_folder(folder):
    from mrcnn.folder import ModelFolder, read_config
    from mrcnn.weights.source import open_source

    config = read_config(folder)
    opened = ModelFolder(folder, config.NAME)
    with open_source(opened.weights()) as source:
        layers = {name: dict(weights) for name, weights in source.layers.items()}
    return config.to_dict(), opened.class_names(), opened.stages(), opened.history(), layers


# --- Annotations and images ----------------------------------------------------------------------
def _pixels():
    return np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)


def _encoded(array, format):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, format)
    return file.getvalue()


def _coco() -> dict[str, Files]:
    square = [2, 2, 6, 2, 6, 6, 2, 6]
    rle = {"size": [12, 16], "counts": [30, 5, 157]}
    shapes = [[square], [square, [8, 1, 12, 1, 12, 9]], rle, [[1, 1, 5.5, 1, 3, 7]]]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": 12, "width": 16}],
        "annotations": [
            {
                "id": number,
                "image_id": 7,
                "category_id": 3 + number % 2,
                "segmentation": shape,
                "iscrowd": int(isinstance(shape, dict)),
            }
            for number, shape in enumerate(shapes, 1)
        ],
        "categories": [{"id": 3, "name": "cell"}, {"id": 4, "name": "dish"}],
    }
    image = _encoded(_pixels(), "png")
    return {"instances": {"instances.json": json.dumps(content).encode(), "a.png": image}}


def _read_coco(folder):
    from mrcnn.data.formats.coco import CocoDataset

    return _read_dataset(CocoDataset.from_json(folder / "instances.json", folder))


def _formats() -> dict[str, Files]:
    """Returns the examples of all other formats, each in a folder of the name of its format."""
    from fixtures import FIXTURES

    examples = {}
    for title, write in FIXTURES.items():
        name = title.partition(":")[0]
        examples[title.replace(": ", "_").replace(" ", "_")] = _written(
            lambda folder, write=write, name=name: write(folder / name)
        )
    return examples


def _read_format(folder):
    from mrcnn.data import formats
    from mrcnn.data.annotations import iterate_rles

    (data,) = folder.iterdir()
    found = formats.read(data, data.name)
    images = []
    for image in found.images:
        instances = [instance for instance in image.instances if instance.shape is not None]
        codes = [code["counts"] for _, code in iterate_rles(replace(image, instances=instances))]
        objects = [(i.class_id, i.crowd, i.box, i.score) for i in image.instances]
        images.append((image.id, Path(image.path or "").name, objects, codes))
    return found.classes, images


def _labels() -> dict[str, Files]:
    labels = np.zeros((12, 16), np.uint8)
    labels[2:6, 3:9], labels[8:11, 1:4] = 1, 2
    image = _encoded(_pixels(), "png")
    return {
        name: {"images/a.png": image, f"labels/a.{suffix}": _encoded(array, format)}
        for name, suffix, format, array in (
            ("png", "png", "png", labels),
            ("png16", "png", "png", labels.astype("uint16") * 300),
            ("tiff", "tif", "tiff", labels),
            ("tiff16", "tif", "tiff", labels.astype("uint16") * 300),
        )
    }


def _read_labels(folder):
    from mrcnn.data.formats.label_images import LabelImageDataset

    return _read_dataset(LabelImageDataset.from_folders(folder / "images", folder / "labels"))


def _read_dataset(dataset):
    images = range(len(dataset.image_info))
    loaded = [(dataset.load_image(i), dataset.load_mask(i), dataset.load_boxes(i)) for i in images]
    return dataset.class_names, loaded


def _images() -> dict[str, Files]:
    gray = _pixels()[..., 0]
    return {
        name: {f"a.{name[:3]}": _encoded(array, format)}
        for name, format, array in (
            ("png", "png", _pixels()),
            ("png16", "png", gray.astype("uint16") * 200),
            ("tiff", "tiff", _pixels()),
            ("tif16", "tiff", gray.astype("uint16") * 200),
            ("jpg", "jpeg", _pixels()),
        )
    }


def _read_image(folder):
    from mrcnn.images.files import read_image

    (path,) = folder.iterdir()
    return read_image(path)


KINDS = {
    "pth": Kind(_pth, _read_weights),
    "pkl": Kind(_pkl, _read_weights),
    "safetensors": Kind(_safetensors, _read_weights),
    "h5": Kind(_h5, _read_weights),
    "folder": Kind(_folders, _read_folder),
    "coco": Kind(_coco, _read_coco),
    "formats": Kind(_formats, _read_format),
    "labels": Kind(_labels, _read_labels),
    "image": Kind(_images, _read_image),
}
