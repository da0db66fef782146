"""Looks for faults in annotated images: what `mrcnn data check` prints."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mrcnn.data.annotations import Annotations
from mrcnn.data.lint import whole_set
from mrcnn.data.lint.one_image import check_image
from mrcnn.data.lint.record import Limits, Problem


def lint(
    annotations: Annotations,
    val: Annotations | None = None,
    limits: Limits | None = None,
    workers: int = 2,
) -> Iterator[Problem]:
    """Looks for faults in every image and in the set as a whole.

    Args:
        annotations: Annotations. The set to check.
        val: Annotations or None. A validation set, which must share no image with it; it is not
            checked itself. Defaults to None.
        limits: Limits or None. Defaults to None: `Limits()`.
        workers: int. Threads that read images. Defaults to 2.

    Yields:
        Problem. Those of each image in their order, then those of the set.
    """
    limits = limits or Limits()
    images = []
    with ThreadPoolExecutor(workers) as threads:
        for image in threads.map(lambda record: check_image(record, limits), annotations.images):
            yield from image.problems
            images.append(image)
    yield from whole_set.duplicate_images(images)
    yield from whole_set.unlisted_images(annotations)
    yield from whole_set.similar_classes(annotations)
    yield from whole_set.rare_classes(annotations, limits)
    yield from whole_set.unusual_areas(annotations, images)
    if val is not None:
        yield from whole_set.leaks(images, val, workers)
