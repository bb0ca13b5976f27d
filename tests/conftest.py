# SPDX-License-Identifier: Apache-2.0
"""Which of `make test`'s two processes runs what (pytest-xdist): every test that starts Ray in one, as a second Ray
on a machine joins the first; each file whole in one, so that what its tests share is made once.

And the command line, inside of a test's own process."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

STARTS_RAY = ("tests/ray/", "tests/examples/", "tests/image/")


class RayApart(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(STARTS_RAY) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> RayApart:
    return RayApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ray first: its tests take the longest, and run one after another."""
    items.sort(key=lambda item: not item.nodeid.startswith(STARTS_RAY))


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def tadrib(monkeypatch, capsys):
    """Run a command line, in this process, and give its exit code and what it printed."""

    from tadrib.ray_jobs.cli.app import main

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tadrib", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return Done(code, printed.out, printed.err)

    return run
