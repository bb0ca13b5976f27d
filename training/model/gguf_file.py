# SPDX-License-Identifier: Apache-2.0
"""Recognize GGUF files, the format of inference engines, where a model for training is expected.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Weights are mostly quantized to a few bits, names
and layouts are llama.cpp's, and the tokenizer is a list of tokens; training cannot read any of that.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

MAGIC = b"GGUF"
_FIXED_HEADER = struct.Struct("<4sIQQ")  # magic, version, number of tensors, number of key-value pairs
_STRING = 8
_HEAD_BYTES = 4096  # enough for the architecture and name, which writers put first


def gguf_file(path: Path) -> Path | None:
    """``path`` if it is a GGUF file, or the first ``*.gguf`` in a folder without safetensors; otherwise None."""
    if os.path.isfile(path):  # unlike Path.is_file, False for a name that is too long
        return path if path.suffix.lower() == ".gguf" or _head(path).startswith(MAGIC) else None
    if not os.path.isdir(path) or any(path.glob("*.safetensors")):
        return None
    return min((file for file in path.glob("*.gguf") if file.is_file()), default=None)


def describe(file: Path) -> str:
    """Name and architecture from the file, such as ``Gemma 3 270m (gemma3)``; empty if it gives neither."""
    facts = _leading_strings(_head(file))
    architecture, name = facts.get("general.architecture", ""), facts.get("general.name", "")
    return f"{name} ({architecture})" if name and architecture else name or architecture


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(_HEAD_BYTES)
    except OSError:
        return b""


def _leading_strings(head: bytes) -> dict[str, str]:
    """The leading key-value pairs with string values, up to the first other value or the end of ``head``."""
    facts: dict[str, str] = {}
    place = _FIXED_HEADER.size
    try:
        while head.startswith(MAGIC):
            key, place = _string(head, place)
            (kind,) = struct.unpack_from("<I", head, place)
            if kind != _STRING:
                break
            facts[key], place = _string(head, place + 4)
    except (struct.error, UnicodeDecodeError):
        pass
    return facts


def _string(head: bytes, place: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", head, place)
    (raw,) = struct.unpack_from(f"<{min(length, _HEAD_BYTES + 1)}s", head, place + 8)
    return raw.decode(), place + 8 + length
