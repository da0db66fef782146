"""Detections in the ids of a data set, as COCO results."""

from __future__ import annotations

import numpy as np

from mrcnn.data.ground_truth import category_numbers, check_class, checked_image_ids, image_numbers
from mrcnn.results import result_to_coco


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


def collect_results(dataset, results, image_ids):
    """(rows as of `coco_results`, whether every result holds masks), one result at a time."""
    numbers, categories = image_numbers(dataset), category_numbers(dataset)
    rows, has_masks, count = [], True, 0
    for count, result in enumerate(results, 1):
        if count > len(image_ids):
            break
        image_id, name = image_ids[count - 1], f"results[{count - 1}]"
        has_masks = has_masks and any(result.get(key) is not None for key in ("masks", "rles"))
        for class_id in np.unique(np.asarray(result["class_ids"], int)):
            check_class(dataset, class_id, name)
        try:
            rows += result_to_coco(result, numbers[image_id], dict(enumerate(categories)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    if count != len(image_ids):
        more = "more" if count > len(image_ids) else str(count)
        raise ValueError(
            f"results: expected one for each of {len(image_ids)} images, got {more}. "
            "Give image_ids when only a part of the data set was detected."
        )
    return rows, has_masks


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
