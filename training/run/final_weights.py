# SPDX-License-Identifier: Apache-2.0
"""Final weights: whether the folder that a run ends with is there and whole."""

from __future__ import annotations

from collections.abc import Mapping

from tadrib.training.files.manifest import MANIFEST, Manifest
from tadrib.training.run.names import FINAL


def damage_of(manifest: bytes | None, sizes: Mapping[str, int]) -> str | None:
    """What is wrong with ``final/``, by the text of its manifest and its files' ``sizes`` in bytes; None if nothing.

    On a disk the folder has no manifest if an earlier version wrote it; weights must be in it all the same.
    """
    if not sizes:
        return f"{FINAL}/ is missing"
    if manifest is None:
        has_weights = any(name.endswith(".safetensors") for name in sizes)
        return None if has_weights else f"{FINAL}/ holds no weights"
    known = Manifest.parse(manifest)
    found = f"{MANIFEST} is none" if known is None else known.lacking(sizes)
    return f"{FINAL}/{found}" if found else None
