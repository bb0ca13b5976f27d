# SPDX-License-Identifier: Apache-2.0
"""Final weights: whether the folder that a run ends with exists and is intact."""

from __future__ import annotations

from collections.abc import Mapping

from tadrib.training.files.manifest import MANIFEST, Manifest
from tadrib.training.run.names import FINAL


def damage_of(manifest: bytes | None, sizes: Mapping[str, int]) -> str | None:
    """What is wrong with ``final/``, judging by its ``manifest`` and its files' ``sizes`` in bytes; None if nothing is.

    A folder written by an earlier version has no manifest; it must still contain weights.
    """
    if not sizes:
        return f"{FINAL}/ is missing"
    if manifest is None:
        has_weights = any(name.endswith(".safetensors") for name in sizes)
        return None if has_weights else f"{FINAL}/ contains no weights"
    known = Manifest.parse(manifest)
    found = f"{MANIFEST} is invalid" if known is None else known.lacking(sizes)
    return f"{FINAL}/{found}" if found else None
