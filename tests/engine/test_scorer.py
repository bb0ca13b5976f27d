# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from tadrib.training.engine import scorer
from tadrib.training.engine.scorer import token_log_probs


def plain(hidden, weight, targets, bias=None, softcap=None):
    logits = torch.nn.functional.linear(hidden, weight, bias)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]


def test_log_prob_and_gradient_by_hand():
    """h = [1, 2], W = [[1, 0], [0, 1]], y = 0: logits [1, 2], p = [1, e] / (1 + e).
    log p(0) = -log(1 + e) = -1.3133; d/dh = W_0 - p W = [1 - p_0, -p_1] = [0.7311, -0.7311]."""
    hidden = torch.tensor([[1.0, 2.0]], requires_grad=True)

    score = token_log_probs(hidden, torch.eye(2), torch.tensor([0]))
    score.sum().backward()

    assert score.item() == pytest.approx(-math.log(1 + math.e), abs=1e-6)
    p1 = math.e / (1 + math.e)
    torch.testing.assert_close(hidden.grad, torch.tensor([[p1, -p1]]))


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("softcap", [None, 3.0])
def test_chunks_equal_one_log_softmax_over_all_logits(monkeypatch, trained, bias, softcap):
    monkeypatch.setattr(scorer, "CHUNK_ELEMENTS", 16 * 50)  # several chunks of 16 tokens
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(70, 8, generator=generator), torch.randn(50, 8, generator=generator)
    offsets = torch.randn(50, generator=generator) if bias else None
    targets, upstream = torch.randint(50, (70,), generator=generator), torch.randn(70, generator=generator)
    results = []
    for score in (plain, token_log_probs):
        leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_(trained)]
        extra = offsets.clone().requires_grad_(trained) if bias else None
        log_probs = score(*leaves, targets, bias=extra, softcap=softcap)
        (log_probs * upstream).sum().backward()
        results.append([log_probs.detach(), *(t.grad for t in (*leaves, extra) if t is not None)])

    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_under_autocast_a_trained_head_is_differentiated_at_the_logits_it_scored():
    """Probabilities sum to 1, so ``sum_v d log p(y) / d logit_v = 1 - 1 = 0``: the gradient of a feature that every
    word weighs alike, here the first, is 0 but for bfloat16's rounding of the 64 terms, 64 * 2**-9 * mean p = 2**-9 at
    most (backwards run outside of autocast: at float32 logits, p would be normalised by the sum of other ones)."""
    generator = torch.Generator().manual_seed(0)
    hidden = (4 * torch.randn(32, 16, generator=generator)).requires_grad_()
    weight = torch.randn(64, 16, generator=generator).index_fill_(1, torch.tensor(0), 1.0).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        score = token_log_probs(hidden, weight, torch.randint(64, (32,), generator=generator))
    score.sum().backward()

    assert hidden.grad[:, 0].abs().max() < 2**-8
    assert hidden.grad[:, 1:].abs().mean() > 0.1
    assert weight.grad.dtype == torch.float32


def test_no_tensor_of_tokens_by_vocabulary_is_ever_made():
    tokens, vocabulary = 4096, 32_768
    hidden = torch.randn(tokens, 8, requires_grad=True)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Watch():
        token_log_probs(
            hidden, torch.randn(vocabulary, 8), torch.zeros(tokens, dtype=torch.long)
        ).sum().backward()

    assert largest <= scorer.CHUNK_ELEMENTS < tokens * vocabulary
