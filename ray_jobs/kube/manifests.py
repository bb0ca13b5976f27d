# SPDX-License-Identifier: Apache-2.0
"""Manifests: what an administrator applies once to a cluster, installed with this package."""

from __future__ import annotations

from pathlib import Path

OPERATOR_GUIDE = (
    "https://docs.ray.io/en/latest/cluster/kubernetes/getting-started/kuberay-operator-installation.html"
)
_MANIFESTS = Path(__file__).parents[2] / "manifests"


def manifest(name: str) -> Path:
    """The path of a file or kustomization in ``manifests/``, such as ``base``. The image does not contain them."""
    return _MANIFESTS / name
