# SPDX-License-Identifier: Apache-2.0
"""NEFTune: noise on the embeddings in training (Jain et al. 2023, arXiv 2310.05914, algorithm 1)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def sequence_lengths(position_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The length of the sequence that each token belongs to, shaped like ``position_ids``.

    In a packed row a sequence begins wherever positions begin again; a 2-D ``attention_mask`` counts the tokens of
    each padded row.
    """
    if attention_mask is not None and attention_mask.dim() == 2:
        return attention_mask.sum(1, keepdim=True).expand_as(position_ids)
    number = (position_ids.flatten() == 0).cumsum(0)
    return number.bincount()[number].view_as(position_ids)


@contextlib.contextmanager
def noisy_embeddings(embedding: nn.Module, alpha: float, lengths: Tensor) -> Iterator[None]:
    """Inside this context, ``embedding`` adds noise uniform in ``alpha / sqrt(L d)`` either way: L is the token's entry
    in ``lengths``, and d the size of its embedding."""

    def add(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        bound = alpha / (lengths * output.shape[-1]).sqrt()
        return output + torch.empty_like(output).uniform_(-1, 1) * bound[..., None].to(output.dtype)

    hook = embedding.register_forward_hook(add)
    try:
        yield
    finally:
        hook.remove()
