"""Fixtures of the tests of the commands."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.cli import main
from mrcnn.data.synthetic.shapes import ShapesDataset


@pytest.fixture
def cli(capsys):
    """Runs one command and returns its exit code, stdout and stderr."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def annotated(tmp_path_factory):
    """Four annotated images in both layouts: images/, labels/ and instances.json."""
    root = tmp_path_factory.mktemp("annotated")
    shapes = ShapesDataset(4, 64, 64, seed=5)
    (root / "images").mkdir()
    (root / "labels").mkdir()
    images, annotations = [], []
    for image_id in shapes.image_ids:
        masks, class_ids = shapes.load_mask(image_id)
        labels = np.zeros(masks.shape[:2], np.uint16)
        for i in range(masks.shape[-1]):
            labels[masks[..., i]] = i + 1
            rle = coco_mask.encode(np.asfortranarray(masks[..., i], dtype=np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": int(image_id),
                    "category_id": int(class_ids[i]),
                    "iscrowd": 0,
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "area": float(coco_mask.area(rle)),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
        name = f"{image_id}.png"
        cv2.imwrite(str(root / "images" / name), shapes.load_image(image_id)[..., ::-1])
        cv2.imwrite(str(root / "labels" / name), labels)
        images.append({"id": int(image_id), "file_name": name, "height": 64, "width": 64})
    categories = [{"id": i, "name": n} for i, n in enumerate(shapes.class_names) if i]
    (root / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return root
