# SPDX-License-Identifier: Apache-2.0
"""Write changed weights tensor by tensor, and measure what rounding leaves of the change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from tadrib.training.errors import Problem, SpecError
from tadrib.training.model.weight_files.rounding import Stochastic, Survival, nearest
from tadrib.training.model.weight_files.shards import SHARD_BYTES, write_shards

Rounding = Literal["nearest", "stochastic"]
_TITLE = "the weights cannot be written"


class Steps(Protocol):
    """Tensors that are computed block by block, each with the block that it was before, if there is one."""

    @property
    def names(self) -> list[str]: ...

    def shape(self, name: str) -> tuple[int, ...]: ...

    def dtype(self, name: str) -> torch.dtype: ...

    def steps(self, name: str) -> Iterator[tuple[Tensor | None, Tensor]]: ...


def write_weights(
    weights: Steps,
    folder: Path,
    dtype: torch.dtype | None = None,
    *,
    rounding: Rounding = "nearest",
    seed: int = 0,
    shard_bytes: int = SHARD_BYTES,
) -> list[Survival]:
    """Write all tensors to ``folder`` in ``dtype`` (None: each in its own); returns what rounding left of each change.

    Raises SpecError for ``stochastic`` rounding of anything but bfloat16, and for a result that is not finite.
    """
    kinds = {name: (_written_in(weights.dtype(name), dtype), weights.shape(name)) for name in weights.names}
    if rounding == "stochastic" and any(
        kind.is_floating_point and kind != torch.bfloat16 for kind, _ in kinds.values()
    ):
        message = "stochastic rounding is for bfloat16 alone."
        raise SpecError(_TITLE, [Problem("--rounding", message, "Add --dtype bfloat16.")])
    found: list[Survival] = []

    def rounded(name: str) -> Iterator[Tensor]:
        kind = kinds[name][0]
        survival = Survival(name)
        round_to = Stochastic(seed, name) if rounding == "stochastic" and kind.is_floating_point else nearest
        for before, after in weights.steps(name):
            block = round_to(after, kind)
            if kind.is_floating_point and not block.sum(dtype=torch.float64).isfinite():
                message = f"does not fit in {_named(kind)}: it has NaN or infinity there."
                raise SpecError(
                    _TITLE, [Problem(name, message, "Write it in float32 or bfloat16, with --dtype.")]
                )
            if before is not None:
                survival.add(before, after, block)
            yield block
        found.append(survival)

    write_shards(folder, kinds, rounded, shard_bytes)
    return found


def common_dtype(weights: Steps, dtype: torch.dtype | None) -> str:
    """The dtype of most numbers that are written."""
    counts: dict[torch.dtype, int] = {}
    for name in weights.names:
        kind = _written_in(weights.dtype(name), dtype)
        if kind.is_floating_point:
            counts[kind] = counts.get(kind, 0) + torch.Size(weights.shape(name)).numel()
    return _named(max(counts, key=lambda kind: counts[kind]))


def _written_in(stored: torch.dtype, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and stored.is_floating_point else stored


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
