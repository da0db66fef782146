"""Notebooks run in their short form when they are tests."""

import os

import pytest

os.environ["MRCNN_SMOKE"] = "1"


def pytest_collection_modifyitems(items):
    """Marks the notebooks that train as slow."""
    for item in items:
        if item.path.name in ("custom_dataset.ipynb", "train_shapes.ipynb"):
            item.add_marker(pytest.mark.slow)
