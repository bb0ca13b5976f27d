# SPDX-License-Identifier: Apache-2.0
"""Diagnose a model folder that a library could not load: which file is at fault, and why."""

from __future__ import annotations

import json
from pathlib import Path

from tadrib.training.errors import clip
from tadrib.training.files.regular_file import read_regular

_LONGEST_REASON = 300


def part_of(folder: Path, reason: str) -> str:
    """``config.json: `` if loading the configuration alone fails for the same ``reason``; otherwise empty."""
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(folder)
    except Exception as error:  # every configuration class raises its own errors
        return "config.json: " if reason_of(error) == reason else ""
    return ""


def reason_of(error: Exception) -> str:
    """The first line of a library's message, and the second if the first only introduces it (ends with a colon)."""
    first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()] or [
        type(error).__name__
    ]
    return clip(f"{first} {rest[0]}" if first.endswith(":") and rest else first, _LONGEST_REASON).rstrip(".:")


def corrupt_file(folder: Path) -> str | None:
    """The first file that is not valid JSON or safetensors, and what is wrong with it; None if all are valid."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.iterdir()):
        try:
            if file.suffix == ".json":
                json.loads(read_regular(file))
            elif file.suffix == ".safetensors":
                with safe_open(file, framework="np"):
                    pass
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            return f"{file.name} is corrupt: {reason_of(error)}"
    return None
