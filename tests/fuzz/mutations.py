# SPDX-License-Identifier: Apache-2.0
"""Mutation: a small change to bytes that were good."""

from __future__ import annotations

from random import Random

TOKENS = (
    b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\t", b'"', b"'", b"{", b"}", b"[", b"]",
    b":", b",", b"\\", b"\\ud800", b"NaN", b"Infinity", b"1e400", b"-", b"#", b"&a", b"*a", b"!!int", b"\xc3",
    b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\x1b[2J", b"9" * 5000, b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00" * 8,
)  # fmt: skip


def mutated(random: Random, data: bytes, most: int = 4) -> bytes:
    """``data`` after one to ``most`` changes."""
    for _ in range(random.randint(1, most)):
        data = _changed(random, data)
    return data


def _changed(random: Random, data: bytes) -> bytes:
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice([1, 1, 2, 4, 16, 256]))
    match random.randrange(8):
        case 0 | 1 if start < len(data):
            return data[:start] + bytes([data[start] ^ 1 << random.randrange(8)]) + data[start + 1 :]
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:end] + data[start:]
        case 4:
            return data[:start]
        case 5:
            return data[:start] + random.choice(TOKENS) + data[end:]
        case 6:
            return data[:start] + random.randbytes(end - start) + data[end:]
    return data[:start] + random.choice(TOKENS) + data[start:]
