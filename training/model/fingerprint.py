# SPDX-License-Identifier: Apache-2.0
"""Fingerprint of a model folder, by which a copy or a change of a model is told."""

from __future__ import annotations

import hashlib
from pathlib import Path


def model_fingerprint(folder: Path) -> str:
    """SHA-256 over what decides a model folder's outputs: configuration, weights and code, file names included."""
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
