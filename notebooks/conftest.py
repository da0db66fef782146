"""Notebooks run in their short form when they are tests."""

import os

import pytest

os.environ["MRCNN_SMOKE"] = "1"


def pytest_collection_modifyitems(items):
    """Marks the notebook that trains from scratch as slow."""
    for item in items:
        if item.path.name == "train_shapes.ipynb":
            item.add_marker(pytest.mark.slow)
