# SPDX-License-Identifier: Apache-2.0
"""An API server for the tests of this folder, and a kubeconfig that leads to it."""

from __future__ import annotations

import pytest

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


@pytest.fixture
def running(cluster):
    """A run that runs, and its head."""
    cluster.add(rayjob("Running", **RUNNING), *all_ready(), configmap())
    return Head(cluster)
