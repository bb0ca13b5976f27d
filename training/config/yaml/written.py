# SPDX-License-Identifier: Apache-2.0
"""Written numbers: numbers that remember how a YAML file has them, as `007` or `1e5` may be meant as text."""

from __future__ import annotations

from typing import Any


class WrittenInt(int):
    """A whole number and its ``text`` in the file, where that is another than Python's: ``0x1F``."""

    text: str


class WrittenFloat(float):
    """A number and its ``text`` in the file, where that is another than Python's: ``1e5``."""

    text: str


def written(value: int | float, text: str) -> int | float:
    """``value`` as it was read of ``text``."""
    if str(value) == text:
        return value
    number = WrittenFloat(value) if isinstance(value, float) else WrittenInt(value)
    number.text = text
    return number


def text_of(value: Any) -> str | None:
    """How a number stood in the file; None for one that stood there as Python writes it, and for all else."""
    return value.text if isinstance(value, (WrittenInt, WrittenFloat)) else None


def plain(value: Any) -> Any:
    """``value`` with Python's own numbers in place of written ones, at any depth of mappings and lists."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, WrittenInt):
        return int(value)
    return float(value) if isinstance(value, WrittenFloat) else value
