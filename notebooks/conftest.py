"""Notebooks run in their short form when they are tests."""

import os

os.environ["MRCNN_SMOKE"] = "1"
