# SPDX-License-Identifier: Apache-2.0
"""What a merge came to: figures for people and for ``merge.json``, and what to do where they are poor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tadrib.training.model.weight_files.rounding import SurvivalReport

FILE = "merge.json"
KEPT_ENOUGH = 0.95
"""Share of the change below which a merge is no longer what was trained."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How close a merge is to the adapter model, as trained, on held-out rows: the mean of the differences of token
    log-probs in nats without sign, and the share of tokens for which both rank the same token first."""

    base: str
    log_prob_difference: float
    top1: float
    tokens: int
    rows: int

    def __str__(self) -> str:
        figures = f"mean |Δ log-prob| {self.log_prob_difference:.2g}, same first token for {self.top1:.2%}"
        return f"{self.base} base: {figures}"


@dataclass(slots=True)
class MergeOutcome:
    """A finished merge in the folder ``path``. ``base`` says which base weights an adapter was folded into."""

    path: Path
    method: str
    inputs: dict[str, str]
    """Fingerprints of the folders that were merged, by their names; see `training.model.fingerprint`."""
    dtype: str
    rounding: str = "nearest"
    base: str | None = None
    survival: SurvivalReport | None = None
    agreement: list[Agreement] = field(default_factory=list)
    measured_on: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    share: float | None = None
    """Of adapters: the share of the squared norm that the merged one has."""

    def to_mapping(self) -> dict[str, Any]:
        """The content of ``merge.json``."""
        found = {
            "format": 1,
            "method": self.method,
            "inputs": self.inputs,
            "parameters": self.parameters,
            "base": self.base,
            "dtype": self.dtype,
            "rounding": self.rounding,
            "kept": None if self.survival is None else self.survival.to_mapping(),
            "agreement": [asdict(each) for each in self.agreement] or None,
            "measured_on": self.measured_on or None,
            "norm_share": self.share,
            "advice": list(self.advice()),
        }
        return {key: value for key, value in found.items() if value is not None}

    def sentences(self) -> Iterator[str]:
        """The figures, a line each."""
        if self.share is not None:
            yield f"  the adapter has {self.share:.2%} of the sum's squared norm"
        if self.survival is not None:
            mean = f"{self.survival.kept:.1%} of the change survives rounding to {self.dtype}"
            yield f"  {mean} (error {self.survival.error:.2f}), in {self.survival.tensors} tensors; least in:"
            for each in self.survival.worst:
                yield f"    {each.share:6.1%}  error {each.error:.2f}  {each.name}"
        if self.agreement:
            chosen = self.agreement[0]
            yield f"  beside the adapter model on {chosen.rows} {self.measured_on} ({chosen.tokens:,} tokens):"
            yield from (f"    {each}" for each in self.agreement)

    def advice(self) -> Iterator[str]:
        """What to do, for each figure that is poor."""
        if self.survival is not None and self.survival.kept < KEPT_ENOUGH:
            ways = ["--dtype float32, which keeps it all"]
            if self.rounding == "nearest" and self.dtype == "bfloat16":
                ways.append("--rounding stochastic, which keeps it on average")
            yield (
                f"only {self.survival.kept:.0%} of the change survives rounding to {self.dtype}: merge again with"
                f" {' or '.join(ways)}; or serve the adapter itself."
            )
        if len(self.agreement) > 1:
            chosen, *others = self.agreement
            closer = min(others, key=lambda each: each.log_prob_difference)
            if closer.log_prob_difference < 0.8 * chosen.log_prob_difference:
                yield (
                    f"with the {closer.base} base the merge is closer to what was trained ({closer}): merge again with"
                    f" --base {closer.base}, or serve the adapter on the quantized base."
                )
