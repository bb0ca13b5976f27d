# SPDX-License-Identifier: Apache-2.0
"""What a method tells the engine: its loss on a batch, and how a held-out set is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from tadrib.training.engine.batch import PackedBatch

Metrics = dict[str, Tensor]
"""One value an item, ``loss`` among them, the item's own loss."""

Objective = Callable[[Tensor, PackedBatch], tuple[Tensor, Metrics]]
"""Token log-probs [T] and their batch to (loss, metrics). The loss is this micro-batch's share of the optimizer step's
loss, so shares add up."""

Scored = tuple[Tensor, PackedBatch]
"""Token log-probs [T] and their batch."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What an objective measures the answers of an optimizer step against.

    The completions of ``role`` are scored ahead of the step's first backward pass, without gradient and dropout, and
    ``of`` makes one scalar of them, this worker's of all the step's micro-batches. Collective: all workers must get the
    same.
    """

    role: str
    of: Callable[[Iterable[Scored]], Tensor]


Judge = Callable[[Iterable[Scored]], Iterable[tuple[Metrics, bool]]]
"""This worker's batches of a held-out set to their metrics, each with whether they count (a stand-in's do not). It sees
the whole set, so that nothing in its metrics need depend on how that was cut into batches."""


def batch_by_batch(objective: Objective) -> Judge:
    """The judge of a method whose items do not depend on one another."""

    def judge(scored: Iterable[Scored]) -> Iterator[tuple[Metrics, bool]]:
        for token_log_probs, batch in scored:
            yield objective(token_log_probs, batch)[1], bool(batch.weight)

    return judge
