# SPDX-License-Identifier: Apache-2.0
"""An API server for the tests of this folder, and a kubeconfig that leads to it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from tadrib.ray_jobs.cli.app import main
from tests.kubernetes.heads import RUNNING, Head
from tests.kubernetes.recorded import all_ready, configmap, rayjob
from tests.kubernetes.server import serving


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster without anything in it; $KUBECONFIG leads there."""
    with serving() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
        yield server


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def tadrib(monkeypatch, capsys):
    """Run a command line, in this process, and give its exit code and what it printed."""

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


@pytest.fixture
def running(cluster):
    """A run that runs, and its head."""
    cluster.add(rayjob("Running", **RUNNING), *all_ready(), configmap())
    return Head(cluster)
