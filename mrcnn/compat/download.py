"""The download of Matterport's COCO weights."""

from __future__ import annotations

import os

from mrcnn.weights.download import PUBLISHED, fetch

_COCO = PUBLISHED["coco-matterport"]
COCO_MODEL_URL = _COCO.url


def download_trained_weights(coco_model_path: str | os.PathLike, verbose: int = 1) -> None:
    """Downloads `mask_rcnn_coco.h5` (246 MB) atomically, unless the complete file exists.

    Args:
        coco_model_path: str or path. The file to write.
        verbose: int. 1 prints two lines. Defaults to 1.

    Raises:
        OSError: if the file cannot be downloaded or written. The message names the address and
            what to do.
        ValueError: if the downloaded data are not that file.
    """
    if verbose:
        print(f"Downloading pretrained model to {coco_model_path} ...")
    fetch(_COCO, coco_model_path)
    if verbose:
        print("... done downloading pretrained model!")
