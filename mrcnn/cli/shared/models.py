"""The model that a command names."""

from __future__ import annotations

from typing import Any

from mrcnn.cli.shared.usage import UsageError


def open_model(name: str, **settings: Any) -> Any:
    """Opens a model to detect with, see `mrcnn.models.start.open_model`.

    Raises:
        UsageError: there is no model of that name.
    """
    from mrcnn.models import start

    try:
        return start.open_model(name, **settings)
    except start.NoModelError as error:
        raise UsageError(str(error)) from error
