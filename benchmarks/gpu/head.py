# SPDX-License-Identifier: Apache-2.0
"""A part of the GPU check: time and memory of scoring by the number of tokens whose logits are computed at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.gpu.sizes import Record, Sizes, attempt, free, peak_bytes
from tadrib.training.engine import scorer

_REPEATS = 3


def chunks(sizes: Sizes) -> Iterator[Record]:
    """Forward and backward of a frozen and a trained head, and of torch's own cross entropy over all logits."""
    tokens, width, vocabulary = sizes.head
    generator = torch.Generator(sizes.device).manual_seed(0)
    options = {"device": sizes.device, "dtype": getattr(torch, sizes.dtype), "generator": generator}
    hidden = torch.randn(tokens, width, **options, requires_grad=True)
    weight = torch.randn(vocabulary, width, **options) / width**0.5
    targets = torch.randint(vocabulary, (tokens,), device=sizes.device, generator=generator)
    for trained in (False, True):
        weight.requires_grad_(trained)
        kind = "trained head" if trained else "frozen head"
        for chunk in sizes.chunks:
            yield from attempt(
                f"{kind}, {chunk} tokens at once",
                lambda chunk=chunk: _measure(lambda: _ours(hidden, weight, targets, chunk), hidden, weight),  # type: ignore[misc]
            )
        yield from attempt(
            f"{kind}, torch over all logits",
            lambda: _measure(lambda: _of_torch(hidden, weight, targets), hidden, weight),
        )


def _ours(hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
    scorer.CHUNK_ELEMENTS = chunk * len(weight)
    return scorer.token_log_probs(hidden, weight, targets).sum()


def _of_torch(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return -torch.nn.functional.cross_entropy((hidden @ weight.T).float(), targets, reduction="sum")


def _measure(work: Callable[[], Tensor], hidden: Tensor, weight: Tensor) -> Record:
    """Milliseconds of the fastest of a few repeats, and what one takes of the GPU's memory beyond its inputs."""
    free()
    before = torch.cuda.memory_allocated() if hidden.is_cuda else 0
    fastest = float("inf")
    for _ in range(_REPEATS):
        hidden.grad = weight.grad = None
        began = _now(hidden)
        total = work()
        total.backward()
        fastest = min(fastest, _now(hidden) - began)
    peak = peak_bytes()
    extra = None if peak is None else peak - before
    return {"milliseconds": 1000 * fastest, "extra_bytes": extra, "log_prob": total.item() / len(hidden)}


def _now(tensor: Tensor) -> float:
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()
