# SPDX-License-Identifier: Apache-2.0
"""Models: fetched by the workers of a machine before their process group is up, which waits for nobody that long."""

from __future__ import annotations

from tadrib.training.config import CommonConfig
from tadrib.training.model.hub import fetch_models

_failures: list[Exception] = []


def fetch(config: CommonConfig) -> None:
    """Run by each worker as its process starts. What goes wrong is kept for `require`: raised here, it would be a
    failure of Ray's start-up, which Ray repeats for ever."""
    try:
        fetch_models(config)
    except Exception as error:
        _failures.append(error)


def require() -> None:
    """Raise what kept the models from being fetched."""
    if _failures:
        raise _failures[0]
