"""The download of Matterport's COCO weights."""

from __future__ import annotations

import shutil
import urllib.request

from mrcnn.ops.files import atomic_path

COCO_MODEL_URL = "https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5"
_TIMEOUT = 60  # seconds without an answer


def download_trained_weights(coco_model_path, verbose=1):
    """Downloads `mask_rcnn_coco.h5` (246 MB), whole or not at all.

    Args:
        coco_model_path: the file to be written.
        verbose: 1 prints two lines.

    Raises:
        OSError: it cannot be reached; the message names the address and what to do.
    """
    if verbose:
        print(f"Downloading pretrained model to {coco_model_path} ...")
    try:
        with urllib.request.urlopen(COCO_MODEL_URL, timeout=_TIMEOUT) as answer:  # noqa: S310
            with atomic_path(coco_model_path) as temporary, open(temporary, "wb") as file:
                shutil.copyfileobj(answer, file)
    except OSError as error:
        raise OSError(
            f"{COCO_MODEL_URL} cannot be downloaded ({error}). On a machine without network, fetch "
            f"it elsewhere and put it at {coco_model_path}."
        ) from error
    if verbose:
        print("... done downloading pretrained model!")
