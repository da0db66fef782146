"""Data sets and detections in COCO's formats: what pycocotools reads, and what files hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from scipy.ndimage import find_objects

from mrcnn.data.dataset import Dataset, describe_image
from mrcnn.ops.masks import encode_rle
from mrcnn.ops.metrics import masks_to_rles, to_xywh


def coco_ground_truth(dataset, image_ids=None, masks=True) -> dict:
    """The ground truth of a data set as COCO instances, one image in memory at a time.

    Image and category ids are those of the source where they are different whole numbers above 0
    for all (as in COCO), else the numbers of the data set. Objects without a pixel are left out.

    Args:
        dataset: a prepared `Dataset`.
        image_ids: ids of the images; None: all.
        masks: False takes `load_boxes` alone: no segmentation, and areas are those of boxes.

    Returns:
        {"images", "annotations", "categories"}, ready for JSON: segmentation as RLE with text
        counts, iscrowd 1 for negative class ids.
    """
    image_ids = checked_image_ids(dataset, image_ids)
    image_numbers, categories = _image_numbers(dataset), _category_numbers(dataset)
    images, annotations = [], []
    for image_id in image_ids:
        number = image_numbers[image_id]
        height, width, objects = _objects(dataset, image_id, masks)
        images.append({"id": number, "height": height, "width": width})
        if path := dataset.image_info[image_id].get("path"):
            images[-1]["file_name"] = Path(path).name
        for class_id, box, rle in objects:
            _check_class(dataset, abs(int(class_id)), f"image {describe_image(dataset, image_id)}")
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
                annotation["segmentation"] = _text_rle(rle)
            annotations.append(annotation)
    names = {categories[i]: str(dataset.class_names[i]) for i in range(1, len(dataset.class_names))}
    listed = [{"id": number, "name": name} for number, name in names.items()]
    return {"images": images, "annotations": annotations, "categories": listed}


def coco_results(dataset, results, image_ids=None) -> list[dict]:
    """Detections in COCO's results format, with the ids of `coco_ground_truth`.

    Args:
        dataset: a prepared `Dataset`.
        results: see `evaluate`.
        image_ids: ids of the images; None: all.

    Returns:
        List of dicts image_id, category_id, bbox [x, y, width, height], score and, with masks,
        segmentation; ready for JSON.
    """
    return collect_results(dataset, results, checked_image_ids(dataset, image_ids))[0]


def result_to_coco(result, image_id, category_ids=None) -> list[dict]:
    """One result of `detect` in COCO's results format.

    Args:
        result: dict rois, class_ids, scores and perhaps masks, rles and boxes, exacter than rois.
        image_id: number of the image in the file.
        category_ids: category of each class id; None: the class id itself.

    Raises:
        ValueError: the parts differ in their number of detections.
    """
    boxes = to_xywh(result.get("boxes", result["rois"]))
    rles = result.get("rles")
    if rles is None and result.get("masks") is not None:
        rles = masks_to_rles(result["masks"])
    lengths = {"rois": len(boxes), "class_ids": len(result["class_ids"])}
    lengths["scores"] = len(result["scores"])
    lengths |= {} if rles is None else {"masks": len(rles)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"The parts of a result must have one length, got {lengths}.")
    rows = []
    for index, (box, class_id) in enumerate(zip(boxes, result["class_ids"], strict=True)):
        row = {
            "image_id": image_id,
            "category_id": int(class_id) if category_ids is None else category_ids[int(class_id)],
            "bbox": [float(value) for value in box],
            "score": float(result["scores"][index]),
        }
        if rles is not None:
            row["segmentation"] = _text_rle(rles[index])
        rows.append(row)
    return rows


def _text_rle(rle):
    counts = rle["counts"]
    if isinstance(counts, list):
        counts = coco_mask.frPyObjects(rle, *rle["size"])["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}


def collect_results(dataset, results, image_ids):
    """(rows as of `coco_results`, whether every result holds masks), one result at a time."""
    image_numbers, categories = _image_numbers(dataset), _category_numbers(dataset)
    rows, has_masks, count = [], True, 0
    for count, result in enumerate(results, 1):
        if count > len(image_ids):
            break
        image_id, name = image_ids[count - 1], f"results[{count - 1}]"
        has_masks = has_masks and any(result.get(key) is not None for key in ("masks", "rles"))
        for class_id in np.unique(np.asarray(result["class_ids"], int)):
            _check_class(dataset, class_id, name)
        try:
            rows += result_to_coco(result, image_numbers[image_id], categories)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if count != len(image_ids):
        more = "more" if count > len(image_ids) else str(count)
        raise ValueError(
            f"results: expected one for each of {len(image_ids)} images, got {more}. "
            "Give image_ids when only a part of the data set was detected."
        )
    return rows, has_masks


def _check_class(dataset, class_id, where):
    if not 1 <= class_id < len(dataset.class_names):
        raise ValueError(
            f"{where}: class id {class_id}, but the data set has the classes 1 to "
            f"{len(dataset.class_names) - 1}: {', '.join(map(str, dataset.class_names[1:6]))}. "
            "The model and the data set must have the same classes."
        )


def checked_image_ids(dataset, image_ids=None) -> list[int]:
    """Ids of the images to use, all for None; ValueError when there are none, or one twice."""
    image_ids = [int(i) for i in (dataset.image_ids if image_ids is None else image_ids)]
    if not image_ids:
        raise ValueError(
            "There are no images to evaluate on: the data set (or image_ids) is empty. Add images, "
            "and call prepare() once they are added."
        )
    if len(set(image_ids)) != len(image_ids):
        raise ValueError("image_ids holds an image twice: give each once.")
    return image_ids


def _image_numbers(dataset):
    return _whole_numbers([info.get("id") for info in dataset.image_info])


def _category_numbers(dataset):
    return [0, *_whole_numbers([info.get("id") for info in dataset.class_info[1:]], first=1)]


def _whole_numbers(ids, first=0):
    """The ids themselves when all are different whole numbers above 0, else first, first + 1 ..."""
    whole = all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) and i > 0 for i in ids)
    usable = whole and len(set(ids)) == len(ids)
    return [int(i) for i in ids] if usable else list(range(first, first + len(ids)))


def _objects(dataset, image_id, masks):
    """(height, width, list of (class_id, xywh, rle or None)) of one image."""
    if not masks:
        boxes, class_ids = dataset.load_boxes(image_id)
        height, width = _image_size(dataset, image_id)
        return height, width, [(c, b, None) for c, b in zip(class_ids, to_xywh(boxes), strict=True)]
    if hasattr(dataset, "load_label"):  # never [H, W, N]
        labels, class_ids = dataset.load_label(image_id)
        shape, rles = labels.shape, _label_rles(labels, len(class_ids))
    else:
        stack, class_ids = dataset.load_mask(image_id)
        stack = np.asarray(stack)
        shape = stack.shape[:2] if stack.size else _image_size(dataset, image_id)
        rles = masks_to_rles(stack)
    if len(rles) != len(class_ids):
        raise ValueError(
            f"Image {describe_image(dataset, image_id)}: {len(rles)} masks but {len(class_ids)} "
            "class ids. load_mask must return one class id a mask."
        )
    kept = [(c, coco_mask.toBbox(r), r) for c, r in zip(class_ids, rles, strict=True)]
    kept = [item for item in kept if coco_mask.area(item[2])]
    return int(shape[0]), int(shape[1]), _own_boxes(dataset, image_id, kept)


def _own_boxes(dataset, image_id, objects):
    """Objects with the boxes of the annotation file, where it has some and they fit."""
    if getattr(type(dataset), "load_boxes", Dataset.load_boxes) is Dataset.load_boxes:
        return objects
    boxes, class_ids = dataset.load_boxes(image_id)
    if list(class_ids) != [class_id for class_id, _, _ in objects]:
        return objects
    return [(c, box, rle) for (c, _, rle), box in zip(objects, to_xywh(boxes), strict=True)]


def _label_rles(labels, count):
    rles = []
    for number, place in enumerate(find_objects(labels, max_label=count), 1):
        rows, cols = place or (slice(0, 0), slice(0, 0))
        region = (rows.start, cols.start, rows.stop, cols.stop)
        rles.append(encode_rle(labels[rows, cols] == number, region, labels.shape))
    return rles


def _image_size(dataset, image_id):
    info = dataset.image_info[image_id]
    if info.get("height") and info.get("width"):
        return int(info["height"]), int(info["width"])
    height, width = dataset.load_image(image_id).shape[:2]
    return int(height), int(width)


def check_sizes(truth, rows):
    """Refuses detected masks that have not the size of their image."""
    sizes = {image["id"]: [image["height"], image["width"]] for image in truth["images"]}
    for row in rows:
        if row["segmentation"]["size"] != sizes[row["image_id"]]:
            raise ValueError(
                f"The masks detected in image {row['image_id']} are {row['segmentation']['size']} "
                f"(height, width), but the image is {sizes[row['image_id']]}. Detect in the images "
                "of the data set, in the order of image_ids."
            )
