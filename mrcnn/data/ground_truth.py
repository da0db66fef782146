"""The ground truth of a dataset in COCO's format: what pycocotools reads, and what files hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.data.dataset import Dataset, describe_image, image_size
from mrcnn.images.overlaps import to_xywh
from mrcnn.images.rle import labels_to_rles, masks_to_rles, text_rle


def coco_ground_truth(
    dataset: Dataset, image_ids: Iterable[int] | None = None, masks: bool = True
) -> dict:
    """Returns the ground truth of a dataset as COCO instances.

    Only the masks of one image are in memory at a time. Image and category ids are those of the
    source if all of them are different whole numbers (as in COCO), and otherwise the numbers of the
    dataset. Instances without a pixel are left out.

    Args:
        dataset: Dataset. A prepared one.
        image_ids: iterable of int. Numbers of the images. Defaults to None: all.
        masks: bool. False uses `load_boxes` alone: there is no segmentation, and the areas are
            those of boxes. Defaults to True.

    Returns:
        dict with the lists "images", "annotations" and "categories", ready for JSON: segmentation
        is RLE with text counts, and iscrowd is 1 for negative class ids.

    Raises:
        ValueError: if there are no images, an image is listed twice, or its masks and class ids do
            not fit the dataset.
    """
    image_ids = checked_image_ids(dataset, image_ids)
    numbers, categories = image_numbers(dataset), category_numbers(dataset)
    images, annotations = [], []
    for image_id in image_ids:
        number = numbers[image_id]
        height, width, objects = _objects(dataset, image_id, masks)
        images.append({"id": number, "height": height, "width": width})
        if path := dataset.image_info[image_id].get("path"):
            images[-1]["file_name"] = Path(path).name
        for class_id, box, rle in objects:
            check_class(dataset, abs(int(class_id)), f"image {describe_image(dataset, image_id)}")
            annotation = {
                "id": len(annotations) + 1,  # never 0: pycocotools takes it for "no match"
                "image_id": number,
                "category_id": categories[abs(int(class_id))],
                "iscrowd": int(class_id < 0),
                "bbox": [float(value) for value in box],
                "area": float(box[2] * box[3]),
            }
            if rle is not None:
                annotation["area"] = float(coco_mask.area(rle))
                annotation["segmentation"] = text_rle(rle)
            annotations.append(annotation)
    names = {categories[i]: str(dataset.class_names[i]) for i in range(1, len(dataset.class_names))}
    listed = [{"id": number, "name": name} for number, name in names.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def check_class(dataset: Dataset, class_id: int, where: str) -> None:
    """Refuses a class id that the dataset does not have.

    Args:
        dataset: Dataset.
        class_id: int.
        where: str. What has the class id, for the error.

    Raises:
        ValueError: if there is no such class.
    """
    if not 1 <= class_id < len(dataset.class_names):
        raise ValueError(
            f"{where}: class id {class_id}, but the data set has the classes 1 to "
            f"{len(dataset.class_names) - 1}: {', '.join(map(str, dataset.class_names[1:6]))}. "
            "The model and the data set must have the same classes."
        )


def checked_image_ids(dataset: Dataset, image_ids: Iterable[int] | None = None) -> list[int]:
    """Returns the numbers of the images to use.

    Args:
        dataset: Dataset.
        image_ids: iterable of int. Defaults to None: all images.

    Raises:
        ValueError: if there are no images, or one is listed twice.
    """
    image_ids = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    if not image_ids:
        raise ValueError(
            "There are no images to evaluate on: the data set (or image_ids) is empty. Add images, "
            "and call prepare() once they are added."
        )
    if len(set(image_ids)) != len(image_ids):
        raise ValueError("image_ids lists an image twice. List each image once.")
    return image_ids


def image_numbers(dataset: Dataset) -> list:
    """Returns the id of each image in a COCO file: the one of its source, or its number.

    The ids of the source are taken if they are different whole numbers, of any size and sign. The
    ids of a COCO file are always taken, also if they are text.
    """
    from_coco = all(info["source"] == "coco" for info in dataset.image_info)
    ids = [info.get("id") for info in dataset.image_info]
    return _own_ids(ids, (int, np.integer, str) if from_coco else (int, np.integer))


def category_numbers(dataset: Dataset) -> list[int]:
    """Returns the id of each class in a COCO file, 0 for the background."""
    ids = [info.get("id") for info in dataset.class_info[1:]]
    return [0, *_own_ids(ids, (int, np.integer), first=1)]


def _own_ids(ids, kinds, first=0):
    """The ids themselves if all are different and of these kinds, else first, first + 1, ..."""
    usable = all(isinstance(i, kinds) and not isinstance(i, bool) for i in ids)
    if not usable or len(set(ids)) != len(ids):
        return list(range(first, first + len(ids)))
    return [i if isinstance(i, str) else int(i) for i in ids]


def _objects(dataset, image_id, masks):
    """Returns (height, width, list of (class_id, xywh, rle or None)) of one image."""
    if not masks:
        boxes, class_ids = dataset.load_boxes(image_id)
        height, width = image_size(dataset, image_id)
        return height, width, [(c, b, None) for c, b in zip(class_ids, to_xywh(boxes), strict=True)]
    if dataset.has("instances"):  # hundreds of instances never become one array [H, W, N]
        rles, boxes, class_ids = dataset.load_instances(image_id)
        height, width = rles[0]["size"] if rles else image_size(dataset, image_id)
        return height, width, list(zip(class_ids, to_xywh(boxes), rles, strict=True))
    if dataset.has("labels"):
        labels, class_ids = dataset.load_label(image_id)
        shape, rles = labels.shape, labels_to_rles(labels, len(class_ids))
    else:
        stack, class_ids = dataset.load_mask(image_id)
        stack = np.asarray(stack)
        shape = stack.shape[:2] if stack.size else image_size(dataset, image_id)
        rles = masks_to_rles(stack)
    if len(rles) != len(class_ids):
        raise ValueError(
            f"Image {describe_image(dataset, image_id)}: {len(rles)} masks but {len(class_ids)} "
            "class ids. load_mask must return one class id per mask."
        )
    kept = [(c, coco_mask.toBbox(r), r) for c, r in zip(class_ids, rles, strict=True)]
    kept = [item for item in kept if coco_mask.area(item[2])]
    return int(shape[0]), int(shape[1]), _own_boxes(dataset, image_id, kept)


def _own_boxes(dataset, image_id, objects):
    """Takes the boxes of the annotations, if there are some and their classes agree."""
    if not dataset.has("boxes"):
        return objects
    boxes, class_ids = dataset.load_boxes(image_id)
    if list(class_ids) != [class_id for class_id, _, _ in objects]:
        return objects
    return [(c, box, rle) for (c, _, rle), box in zip(objects, to_xywh(boxes), strict=True)]
