# SPDX-License-Identifier: Apache-2.0
"""What a method provides to the engine: its loss on a batch, and the metrics of a held-out set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor

from tadrib.training.engine.batch import PackedBatch

Metrics = dict[str, Tensor]
"""One value per item (a pair, an answer, a token). ``loss`` is the item's own loss."""

Objective = Callable[[Tensor, PackedBatch], tuple[Tensor, Metrics]]
"""Maps token log-probs [T] and their batch to (loss, metrics). The loss is the micro-batch's share of the optimizer
step's loss: the sum over all micro-batches of all workers is the step's loss."""

Scored = tuple[Tensor, PackedBatch]
"""Token log-probs [T] and the batch they belong to."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A scalar that an objective compares all answers of an optimizer step with, such as KTO's KL estimate.

    The completions with ``role`` are scored before the step's first backward pass, without gradient or dropout. ``of``
    reduces this worker's scores, over all micro-batches of the step, to one scalar. It is collective, and has to return
    the same value on all workers.
    """

    role: str
    of: Callable[[Iterable[Scored]], Tensor]


Evaluator = Callable[[Iterable[Scored]], Iterable[tuple[Metrics, bool]]]
"""Maps this worker's batches of a held-out set to metrics, each with a flag that says whether they count (those of a
placeholder do not). It sees the whole set, so its metrics need not depend on how the set is cut into batches."""


def batch_by_batch(objective: Objective) -> Evaluator:
    """The evaluator for a method whose items do not depend on each other."""

    def evaluate(scored: Iterable[Scored]) -> Iterator[tuple[Metrics, bool]]:
        for token_log_probs, batch in scored:
            yield objective(token_log_probs, batch)[1], bool(batch.weight)

    return evaluate
