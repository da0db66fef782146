"""Detections as files: drawn images, label images, COCO results and a CSV table."""

from mrcnn.results.files import (
    output_stems,
    save_csv,
    save_drawing,
    save_json,
    save_labels,
    save_rows,
    writable_text,
)
from mrcnn.results.rows import CSV_COLUMNS, coco_rows, label_image, result_to_coco, table_rows
from mrcnn.results.writer import JOURNAL, ResultWriter

__all__ = [
    "CSV_COLUMNS",
    "JOURNAL",
    "ResultWriter",
    "coco_rows",
    "label_image",
    "output_stems",
    "result_to_coco",
    "save_csv",
    "save_drawing",
    "save_json",
    "save_labels",
    "save_rows",
    "table_rows",
    "writable_text",
]
