"""The download of Matterport's COCO weights."""

from __future__ import annotations

from mrcnn.weights.download import PUBLISHED, fetch

_COCO = PUBLISHED["coco-matterport"]
COCO_MODEL_URL = _COCO.url


def download_trained_weights(coco_model_path, verbose=1):
    """Downloads `mask_rcnn_coco.h5` (246 MB), whole or not at all, unless it is there and whole.

    Args:
        coco_model_path: the file to be written.
        verbose: 1 prints two lines.

    Raises:
        OSError: it cannot be reached or written; the message names the address and what to do.
        ValueError: what came is not that file.
    """
    if verbose:
        print(f"Downloading pretrained model to {coco_model_path} ...")
    fetch(_COCO, coco_model_path)
    if verbose:
        print("... done downloading pretrained model!")
