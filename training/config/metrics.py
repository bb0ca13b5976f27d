# SPDX-License-Identifier: Apache-2.0
"""Metrics on held-out rows by method, and which way each is better: True when higher, False when lower, None where that
depends on what is wanted."""

from __future__ import annotations

from collections.abc import Mapping

Metrics = Mapping[str, bool | None]

COMMON: Metrics = {"loss": False}
SFT: Metrics = {**COMMON, "perplexity": False}
PREFERENCE: Metrics = {
    **COMMON,
    "rewards/accuracies": True,
    "rewards/margins": True,
    "rewards/chosen": True,
    "rewards/rejected": None,
    "logps/chosen": True,
    "logps/rejected": None,
}
REFERENCED: Metrics = {**PREFERENCE, "kl": None}
CPO: Metrics = {**PREFERENCE, "nll_loss": False}


def plain_name(metric: str) -> str:
    """Without the ``eval_`` that the logs put before it."""
    return metric.removeprefix("eval_")
