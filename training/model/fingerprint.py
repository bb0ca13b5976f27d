# SPDX-License-Identifier: Apache-2.0
"""Fingerprint of a model folder: equal for copies, different after a change."""

from __future__ import annotations

import hashlib
from pathlib import Path


def model_fingerprint(folder: Path) -> str:
    """SHA-256 over everything that determines a model's outputs: configuration, weights, code, and file names."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".safetensors", ".py") and path.name not in (
            "config.json",
            "adapter_config.json",
        ):
            continue
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
