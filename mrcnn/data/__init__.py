"""Images and labels: datasets, readers of annotation files, augmentation, batches.

The public classes are loaded on first use: readers do not wait for Keras.
"""

# Not here: `from __future__ import annotations` would hide the module `mrcnn.data.annotations`.
import importlib

_HOMES = {
    "Dataset": "dataset",
    "Annotations": "annotations",
    "ShapesDataset": "synthetic.shapes",
    "CocoDataset": "formats.coco",
    "LabelImageDataset": "formats.label_images",
    "MaskFolderDataset": "formats.mask_folders",
    "Augmenter": "augment",
    "Batches": "batches",
    "check_dataset": "check",
}
__all__ = list(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'mrcnn.data' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mrcnn.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
