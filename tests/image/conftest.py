# SPDX-License-Identifier: Apache-2.0
"""Tests with the mark `docker` build nothing; they run the image $IMAGE, in `make test-image` alone."""

from __future__ import annotations

import subprocess

import pytest

from tests.image.container import DOCKER, IMAGE


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "docker: runs the image; `make test-image`, not part of `make test`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("docker")]
    if marked and (reason := _why_not(config)):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not(config: pytest.Config) -> str | None:
    if "docker" not in config.option.markexpr:
        return "the image is tested by `make test-image`"
    try:
        found = subprocess.run([DOCKER, "image", "inspect", IMAGE], capture_output=True, text=True)
    except FileNotFoundError:
        return f"{DOCKER} is not installed"
    return (
        None if found.returncode == 0 else f"{found.stderr.strip().splitlines()[-1]} (`make image` builds it)"
    )
