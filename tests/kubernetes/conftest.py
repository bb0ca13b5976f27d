# SPDX-License-Identifier: Apache-2.0
"""An API server for the tests of this folder, and a kubeconfig that leads to it."""

from __future__ import annotations

import pytest

from tests.kubernetes.server import serving


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster without anything in it; $KUBECONFIG leads there."""
    with serving() as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "kubeconfig")))
        monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
        yield server
