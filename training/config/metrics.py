# SPDX-License-Identifier: Apache-2.0
"""Metrics on held-out rows by method, and which way each is better: True when higher, False when lower, None where that
depends on what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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


PER_SOURCE = ("loss", "perplexity", "rewards/accuracies", "rewards/margins")
"""Metrics that are also logged of each of several datasets, as ``eval_{name}_loss``."""


def plain_name(metric: str, sources: Iterable[str] = ()) -> str:
    """Without the ``eval_`` that the logs put before it, and without the name of the one of ``sources`` it is of."""
    name = metric.removeprefix("eval_")
    of_source = {f"{source}_{each}": each for source in sources for each in PER_SOURCE}
    return of_source.get(name, name)
