# SPDX-License-Identifier: Apache-2.0
"""Model damage: which file of a model's folder is the reason that a library could not load it."""

from __future__ import annotations

import json
from pathlib import Path

from tadrib.training.errors import clip
from tadrib.training.files.regular_file import read_regular

_LONGEST_REASON = 300


def part_of(folder: Path, reason: str) -> str:
    """``config.json`` where that is what was refused for ``reason``, though it is JSON."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(folder)
    except Exception as error:  # each class of configuration has its own ways to refuse one
        return "config.json: " if reason_of(error) == reason else ""
    return ""


def reason_of(error: Exception) -> str:
    """The first line of what a library said, and the next where the first only announces it."""
    first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        type(error).__name__
    ]
    return clip(f"{first} {rest[0]}" if first.endswith(":") and rest else first, _LONGEST_REASON).rstrip(".:")


def damaged_file(folder: Path) -> str | None:
    """The first file that is not of its format, with what is wrong in it; None where each is."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.iterdir()):
        try:
            if file.suffix == ".json":
                json.loads(read_regular(file))
            elif file.suffix == ".safetensors":
                with safe_open(file, framework="np"):
                    pass
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            return f"{file.name} is damaged: {reason_of(error)}"
    return None
