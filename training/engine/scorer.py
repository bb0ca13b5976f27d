# SPDX-License-Identifier: Apache-2.0
"""Token log-probabilities from hidden states, without ever materializing ``[tokens, vocabulary]``.

Only positions that predict a target arrive here, and they are scored chunk by chunk. For target y with hidden state h
and head W, ``log p(y) = h W_y - logsumexp(h W)`` and ``d log p / d h = W_y - softmax(h W) W``. That derivative is one
vector per token, whatever the loss. With a frozen head it is computed in the forward pass, where the logits still
exist, and the backward pass only scales it. A trained head also needs ``d log p / d W``, so its backward pass
recomputes the logits chunk by chunk.

Shape legend: T scored tokens, H hidden size, V vocabulary.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 2**24
"""Logits held in memory at once on a CPU: 16.8 million elements, 64 MiB in float32."""
_GPU_SHARE, _GPU_TOKENS, _LOGIT_BYTES = 16, (256, 4096), 14
"""On a GPU, a chunk takes a 16th of the memory that is free when it is first needed, within these numbers of tokens:
few tokens would read the head from memory for little arithmetic. A logit takes 14 bytes, in 16 bits and float32."""


def token_log_probs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> Tensor:
    """``log p(targets)`` in float32, [T], from hidden [T, H], head weight [V, H] and optional bias [V].

    ``softcap`` c replaces logits z by ``c tanh(z / c)`` (Gemma 2, arXiv 2408.00118, section 2).
    """
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        return _TrainedHead.apply(hidden, weight, bias, targets, softcap)
    return _FrozenHead.apply(hidden, weight, bias, targets, softcap)


def _chunks(num_tokens: int, weight: Tensor) -> list[slice]:
    size = _tokens_on_gpu(weight.device, len(weight)) if weight.is_cuda else chunk_tokens(len(weight))
    return [slice(i, min(i + size, num_tokens)) for i in range(0, num_tokens, size)]


def chunk_tokens(vocabulary: int, free: int | None = None) -> int:
    """Tokens scored at once: on a GPU with ``free`` bytes, or on a CPU (None)."""
    if free is None:
        # at least 16 tokens, so that a huge vocabulary does not shrink the matrix products to single rows
        return max(16, CHUNK_ELEMENTS // vocabulary)
    least, most = _GPU_TOKENS
    return min(most, max(least, free // _GPU_SHARE // (_LOGIT_BYTES * vocabulary) // least * least))


@cache
def _tokens_on_gpu(device: torch.device, vocabulary: int) -> int:
    # once for each head: a size that changed with every step would change the order of sums
    return chunk_tokens(vocabulary, torch.cuda.mem_get_info(device)[0])


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    """The dtype of products with ``hidden``: autocast's if it is on, which it is only in the forward pass."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None) -> Tensor:
    bias = None if bias is None else bias.to(weight.dtype)
    # float32 from here on: a logsumexp over a large vocabulary loses too much in 16 bits
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias).float()
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def _logit_gradient(logits: Tensor, log_norm: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    """``d log p(target) / d raw logits`` [t, V], computed in place in ``logits``."""
    # d (c tanh(z/c)) / dz = 1 - tanh(z/c)^2, read off the capped logits before they are overwritten
    slope = None if softcap is None else 1 - (logits / softcap) ** 2
    # onehot(target) - softmax(logits)
    gradient = logits.sub_(log_norm[:, None]).exp_().neg_()
    gradient.scatter_add_(1, targets[:, None], gradient.new_ones(len(targets), 1))
    return gradient if slope is None else gradient.mul_(slope)


def _score(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    log_norm = logits.logsumexp(-1)
    return logits.gather(1, targets[:, None])[:, 0] - log_norm, log_norm


class _FrozenHead(torch.autograd.Function):
    """Saves one gradient vector [T, H] in the forward pass; its backward pass needs no logits."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        softcap: float | None,
    ) -> Tensor:
        weight = weight.to(_compute_dtype(hidden))
        log_probs = hidden.new_empty(len(targets), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for part in _chunks(len(targets), weight):
            logits = _logits(hidden[part], weight, bias, softcap)
            log_probs[part], log_norm = _score(logits, targets[part])
            if gradient is not None:
                d_logits = _logit_gradient(logits, log_norm, targets[part], softcap)
                gradient[part] = d_logits.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return log_probs

    @staticmethod
    def backward(ctx: Any, d_log_probs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return d_log_probs[:, None].to(gradient.dtype) * gradient, None, None, None, None


class _TrainedHead(torch.autograd.Function):
    """Saves the log-normalizers [T] and recomputes logits in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        softcap: float | None,
    ) -> Tensor:
        log_probs = hidden.new_empty(len(targets), dtype=torch.float32)
        log_norms = torch.empty_like(log_probs)
        # autocast is off in the backward pass, so the dtype has to be remembered
        ctx.compute_dtype = _compute_dtype(hidden)
        head = weight.to(ctx.compute_dtype)
        for part in _chunks(len(targets), weight):
            logits = _logits(hidden[part], head, bias, softcap)
            log_probs[part], log_norms[part] = _score(logits, targets[part])
        ctx.save_for_backward(hidden, weight, bias, targets, log_norms)
        ctx.softcap = softcap
        return log_probs

    @staticmethod
    def backward(ctx: Any, d_log_probs: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, log_norms = ctx.saved_tensors
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        head = weight.to(ctx.compute_dtype)  # reproduces the logits that log_norms were computed from
        # accumulated over chunks in float32
        d_weight = torch.zeros_like(weight, dtype=torch.float32)
        d_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        for part in _chunks(len(targets), weight):
            logits = _logits(hidden[part], head, bias, ctx.softcap)
            d_logits = _logit_gradient(logits, log_norms[part], targets[part], ctx.softcap)
            d_logits.mul_(d_log_probs[part, None])
            small = d_logits.to(head.dtype)
            if d_hidden is not None:
                d_hidden[part] = small @ head
            if small.dtype == d_weight.dtype:  # in place: a separate product would be as large as the head
                d_weight.addmm_(small.T, hidden[part].to(small.dtype))
            else:
                d_weight += small.T @ hidden[part].to(small.dtype)
            if d_bias is not None:
                d_bias += d_logits.sum(0)
        d_bias = None if d_bias is None else d_bias.to(bias.dtype)
        return d_hidden, d_weight.to(weight.dtype), d_bias, None, None
