# SPDX-License-Identifier: Apache-2.0
"""Round merged weights to the dtype they are written in, and measure how much of the change survives it.

A weight in bfloat16 has 8 bits of precision, so a change below 0.2 % of it is mostly rounded away: each entry keeps
nothing or too much of it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

WORST = 5


def nearest(block: Tensor, dtype: torch.dtype) -> Tensor:
    """``block`` in ``dtype``, rounded to nearest, ties to even."""
    return block.to(dtype)


class Stochastic:
    """Rounds float32 to bfloat16 up or down at random, so that the expectation is the exact value (Gupta et al. 2015,
    arXiv 1502.02551, section 3). ``seed`` and the tensor's name determine the result.

    A bfloat16 number is the upper half of a float32 number, so adding a random lower half and cutting it off does it.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._generator = seeded(seed, name)

    def __call__(self, block: Tensor, dtype: torch.dtype) -> Tensor:
        assert dtype == torch.bfloat16
        noise = torch.randint(0, 2**16, block.shape, generator=self._generator, dtype=torch.int32)
        return ((block.contiguous().view(torch.int32) + noise) & -(2**16)).view(torch.float32).to(dtype)


def seeded(seed: int, *names: str) -> torch.Generator:
    """A generator that is the same for the same ``seed`` and ``names``, in whatever order tensors are worked on."""
    # torch's generator for CPUs takes no more than 32 bits of a seed
    return torch.Generator().manual_seed(zlib.crc32("\0".join([str(seed), *names]).encode()))


@dataclass(slots=True)
class Survival:
    """What rounding left of the change d of one tensor from w to w + d, written as r. Sums are in float64."""

    name: str
    wanted: float = 0.0
    """``|d|^2``"""
    kept: float = 0.0
    """``<r - w, d>``"""
    lost: float = 0.0
    """``|r - w - d|^2``"""

    def add(self, before: Tensor, after: Tensor, rounded: Tensor) -> None:
        """Take in a block: w, w + d (float32) and r."""
        wanted = (after - before).reshape(-1).double()
        written = (rounded.float() - before).reshape(-1).double()
        self.wanted += float(wanted.dot(wanted))
        self.kept += float(wanted.dot(written))
        self.lost += float((written - wanted).square().sum())

    @property
    def share(self) -> float:
        """``<r - w, d> / |d|^2``: 1 if all of the change is there."""
        return self.kept / self.wanted

    @property
    def error(self) -> float:
        """``|r - w - d| / |d|``"""
        return (self.lost / self.wanted) ** 0.5


@dataclass(frozen=True, slots=True)
class SurvivalReport:
    """The mean over all changed tensors, each weighted by ``|d|^2``, and the worst ones."""

    kept: float
    error: float
    tensors: int
    worst: list[Survival]

    @classmethod
    def of(cls, found: list[Survival]) -> SurvivalReport | None:
        """None if nothing was changed."""
        changed = [each for each in found if each.wanted > 0]
        if not changed:
            return None
        wanted = sum(each.wanted for each in changed)
        kept, lost = sum(each.kept for each in changed), sum(each.lost for each in changed)
        worst = sorted(changed, key=lambda each: each.share)[:WORST]
        return cls(kept / wanted, (lost / wanted) ** 0.5, len(changed), worst)

    def to_mapping(self) -> dict[str, object]:
        worst = [{"tensor": each.name, "kept": each.share, "error": each.error} for each in self.worst]
        return {"kept": self.kept, "error": self.error, "tensors": self.tensors, "worst": worst}
