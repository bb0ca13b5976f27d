# SPDX-License-Identifier: Apache-2.0
"""Statistics from counts: length percentiles, and how often keys repeat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Lengths that 50, 90 and 99 percent of rows do not exceed, and the longest."""

    p50: int
    p90: int
    p99: int
    max: int


def percentiles(counts: Mapping[int, int]) -> Percentiles:
    """The percentiles of lengths of which each occurs as often as ``counts`` says."""
    if not counts:
        return Percentiles(0, 0, 0, 0)
    lengths = sorted(counts)
    upto = np.cumsum([counts[length] for length in lengths])
    p50, p90, p99 = (lengths[np.searchsorted(upto * 100, upto[-1] * share)] for share in (50, 90, 99))
    return Percentiles(p50, p90, p99, lengths[-1])


def repetitions(keys: np.ndarray) -> int:
    """How many of ``keys`` equal another one before."""
    return len(keys) - len(np.unique(keys))
