# SPDX-License-Identifier: Apache-2.0
"""Merge methods as pure functions of tensors; whatever needs a whole tensor (norms, thresholds) is an argument.

So a tensor can be merged in blocks of rows. All blocks are float32 and of one shape; ``deltas`` are task vectors, a
model's weights minus the base model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

NEARLY_PARALLEL = 0.9995
"""Above this cosine SLERP and linear interpolation agree to 1e-4, and ``1 / sin`` loses digits."""


def linear(models: Sequence[Tensor], weights: Sequence[float], *, normalize: bool = True) -> Tensor:
    """``sum w_i x_i``, divided by ``sum w_i`` to ``normalize``: model soups (Wortsman et al. 2022, arXiv 2203.05482).

    Raises ValueError if the weights to be normalized add up to zero.
    """
    total = _nonzero(sum(weights)) if normalize else 1.0
    return _weighted_sum(models, [weight / total for weight in weights])


def task_arithmetic(
    base: Tensor,
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float = 1.0,
    normalize: bool = False,
) -> Tensor:
    """``base + scale * sum w_i d_i`` (Ilharco et al. 2023, arXiv 2212.04089); `linear` says what ``normalize`` does."""
    total = _nonzero(sum(weights)) if normalize else 1.0
    return base + _weighted_sum(deltas, [scale * weight / total for weight in weights])


def ties(
    base: Tensor,
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    scale: float = 1.0,
    normalize: bool = True,
) -> Tensor:
    """Elect a sign for each entry, then add up the ``deltas`` that agree with it (Yadav et al. 2023, arXiv 2306.01708).

    ``deltas`` are trimmed already (`training.model.merger.trimming`). With ``g = sgn(sum w_i d_i)``, a sum of zero
    counting as positive, and A the models whose ``w_i d_i`` has sign g, the result is
    ``base + scale * sum_A w_i d_i / sum_A w_i``; the division is ``normalize``, which with equal weights is the paper's
    mean. Where nothing agrees, the base stays.
    """
    weighted = [weight * delta for weight, delta in zip(weights, deltas, strict=True)]
    elected = torch.where(_added(weighted) >= 0, 1.0, -1.0)
    agreeing = [each.sign() == elected for each in weighted]
    total = _added([each * agrees for each, agrees in zip(weighted, agreeing, strict=True)])
    if normalize:
        share = _added([weight * agrees for weight, agrees in zip(weights, agreeing, strict=True)])
        total = total / torch.where(share == 0, 1.0, share)
    return base + scale * total


def dropped(delta: Tensor, density: float, generator: torch.Generator, *, rescale: bool = True) -> Tensor:
    """DARE's drop and rescale (Yu et al. 2024, arXiv 2311.03099, equation 3): each entry stays with probability
    ``density`` = 1 - p, and is then divided by it, so that the expectation is ``delta``."""
    if density >= 1:
        return delta
    kept = torch.rand(delta.shape, generator=generator) < density
    return delta * kept / (density if rescale and density > 0 else 1.0)


def slerp_coefficients(t: float, dot: float, norms: tuple[float, float]) -> tuple[float, float]:
    """``(a, b)`` of ``a x + b y``, the point at ``t`` on the arc from x to y (Shoemake 1985), whose inner product and
    norms, accumulated in float64, are given.

    The cosine is clamped, because rounding takes it beyond 1, where acos is NaN. Nearly parallel vectors, and those of
    which one is zero, are interpolated linearly. Raises ValueError for opposite ones: no arc between them is the
    shortest.
    """
    if not (norms[0] and norms[1]):
        return 1 - t, t
    cosine = max(-1.0, min(1.0, dot / norms[0] / norms[1]))
    if cosine < -NEARLY_PARALLEL:
        raise ValueError(
            f"the two have opposite directions (cosine {cosine:.5f}), between which SLERP is undefined"
        )
    if cosine > NEARLY_PARALLEL:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def _weighted_sum(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = weights[0] * tensors[0]
    for weight, tensor in zip(weights[1:], tensors[1:], strict=True):
        total.add_(tensor, alpha=weight)
    return total


def _added(tensors: Sequence[Tensor]) -> Tensor:
    return _weighted_sum(tensors, [1.0] * len(tensors))


def _nonzero(total: float) -> float:
    if abs(total) < 1e-8:
        raise ValueError(f"the weights add up to {total:g}, and normalize divides by that")
    return total
