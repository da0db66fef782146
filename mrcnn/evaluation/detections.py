"""Detections in the ids of a data set, as COCO results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mrcnn.data.dataset import Dataset
from mrcnn.data.ground_truth import category_numbers, check_class, checked_image_ids, image_numbers
from mrcnn.results import result_to_coco


def coco_results(
    dataset: Dataset, results: Iterable[dict], image_ids: Sequence[int] | None = None
) -> list[dict]:
    """Returns detections in COCO's results format, with the ids of `coco_ground_truth`.

    Args:
        dataset: Dataset. Prepared.
        results: iterable of dict. See `evaluation.coco.evaluate`.
        image_ids: sequence of int or None. The images. Defaults to None: all.

    Returns:
        List of dicts of image_id, category_id, bbox [x, y, width, height], score and, with masks,
        segmentation; ready for JSON.
    """
    return collect_results(dataset, results, checked_image_ids(dataset, image_ids))[0]


def collect_results(
    dataset: Dataset, results: Iterable[dict], image_ids: Sequence[int]
) -> tuple[list[dict], bool]:
    """Returns the rows of `coco_results`, and whether every result has masks.

    Args:
        dataset: Dataset. Prepared.
        results: iterable of dict. Taken one at a time.
        image_ids: sequence of int. The images.
    """
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


def check_sizes(truth: dict, rows: Iterable[dict]) -> None:
    """Refuses detected masks that do not have the size of their image.

    Args:
        truth: dict. The ground truth as COCO instances.
        rows: iterable of dict. The detections as COCO results.

    Raises:
        ValueError: a mask of another size.
    """
    sizes = {image["id"]: [image["height"], image["width"]] for image in truth["images"]}
    for row in rows:
        if row["segmentation"]["size"] != sizes[row["image_id"]]:
            raise ValueError(
                f"The masks detected in image {row['image_id']} are {row['segmentation']['size']} "
                f"(height, width), but the image is {sizes[row['image_id']]}. Detect in the images "
                "of the data set, in the order of image_ids."
            )
