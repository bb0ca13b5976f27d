# SPDX-License-Identifier: Apache-2.0
"""Tests with the mark `docker` build nothing; they run the image $IMAGE, in `make test-image` alone."""

from __future__ import annotations

import subprocess

import pytest

from tests.image.container import DOCKER, IMAGE
from tests.marks import skip_unless_asked_for


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: runs the image; `make test-image`, not part of `make test`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skip_unless_asked_for(config, items, "docker", "the image is tested by `make test-image`", _why_not)


def _why_not() -> str | None:
    try:
        found = subprocess.run([DOCKER, "image", "inspect", IMAGE], capture_output=True, text=True)
    except FileNotFoundError:
        return f"{DOCKER} is not installed"
    return (
        None if found.returncode == 0 else f"{found.stderr.strip().splitlines()[-1]} (`make image` builds it)"
    )
