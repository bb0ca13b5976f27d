# SPDX-License-Identifier: Apache-2.0
"""What an administrator applies once to a cluster: the manifests that are installed with this package."""

from __future__ import annotations

from pathlib import Path

OPERATOR_GUIDE = (
    "https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/kuberay-operator-installation.html"
)
_MANIFESTS = Path(__file__).parents[2] / "manifests"


def manifest(name: str) -> Path:
    """A file or kustomization below ``manifests/``, such as ``base``. The image holds none of them."""
    return _MANIFESTS / name
