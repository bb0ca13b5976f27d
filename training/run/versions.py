# SPDX-License-Identifier: Apache-2.0
"""Versions of the packages that determine a run's numbers."""

from __future__ import annotations

import platform
from importlib import metadata

_PACKAGES = ("tadrib", "torch", "transformers", "trl", "peft", "bitsandbytes", "deepspeed", "ray")


def versions() -> dict[str, str]:
    """Versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
