# SPDX-License-Identifier: Apache-2.0
"""Mixture: which rows of several datasets an epoch trains on, and how often."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


def sample(count: int, most: int | None, seed: int, name: str) -> np.ndarray:
    """``most`` of ``count`` row numbers, ascending; all of them if that is no fewer. The seed and the name of the
    dataset decide which, whatever other datasets there are; int64."""
    if most is None or most >= count:
        return np.arange(count, dtype=np.int64)
    return np.sort(_generator(seed, name).choice(count, most, replace=False))


def quotas(sizes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Rows of each dataset in an epoch of ``sum(sizes)`` rows, in proportion to ``weights``: the exact shares rounded
    down, and the rows left over to the largest remainders (Hamilton's method). So a share is off by less than a row."""
    shares = np.asarray(weights, dtype=np.float64) * (sum(sizes) / sum(weights))
    whole = np.floor(shares).astype(np.int64)
    left = sum(sizes) - int(whole.sum())
    whole[np.argsort(-(shares - whole), kind="stable")[:left]] += 1
    return whole.tolist()


def epoch_rows(sizes: dict[str, int], weights: Sequence[float], seed: int) -> np.ndarray:
    """Row numbers of an epoch, counted through the datasets in their order; int64.

    A dataset with fewer rows than its quota is used up and begun again, as often as needed: every row of it is used
    either ``n`` or ``n + 1`` times. Of one with more rows, the quota is drawn without repetition. Rows of the datasets
    alternate evenly, so that the beginning of the epoch has their shares as well.
    """
    members, places, first = [], [], 0
    for (name, size), quota in zip(sizes.items(), quotas(list(sizes.values()), weights), strict=True):
        generator = _generator(seed, name)
        passes = [generator.permutation(size) for _ in range(-(-quota // size) if size else 0)]
        members.append(first + np.concatenate(passes or [np.empty(0, dtype=np.int64)])[:quota])
        places.append((np.arange(quota) + 0.5) / max(quota, 1))
        first += size
    return np.concatenate(members)[np.argsort(np.concatenate(places), kind="stable")]


def _generator(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
