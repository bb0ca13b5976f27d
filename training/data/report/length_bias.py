# SPDX-License-Identifier: Apache-2.0
"""Length bias of preference pairs: how well an answer's length alone predicts which one is preferred."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tadrib.training.config import CommonConfig
from tadrib.training.data.blocks.facts import Facts, PairLengths

STRONG = 0.5
"""Rank correlation from which a bias counts as strong: three quarters of the rank sum point one way."""
MIN_PAIRS = 20
"""With fewer pairs, a strong correlation is often chance."""


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Lengths of chosen answers compared with each of their negatives.

    ``unit`` is ``given`` (the columns ``chosen_length`` and ``rejected_length``, if every row has them), ``tokens`` or
    ``characters``. ``chosen_longer`` and ``rejected_longer`` are shares of pairs, 0 to 1; other pairs have equal
    lengths. ``rank_correlation`` is the matched-pairs rank-biserial correlation (Kerby 2014,
    doi.org/10.2466/11.IT.3.1): the rank sum of differences in favour of the chosen answer minus that against it,
    divided by the total. 1 means that every chosen answer is longer, -1 that every one is shorter, 0 no bias.
    """

    unit: str
    pairs: int
    mean_chosen: float
    mean_rejected: float
    chosen_longer: float
    rejected_longer: float
    rank_correlation: float

    @property
    def is_strong(self) -> bool:
        return self.pairs >= MIN_PAIRS and abs(self.rank_correlation) >= STRONG

    def __str__(self) -> str:
        unit = " by the lengths given" if self.unit == "given" else f" {self.unit}"
        return (
            f"chosen {self.mean_chosen:,.1f}, rejected {self.mean_rejected:,.1f}{unit} on average; chosen longer in "
            f"{self.chosen_longer:.1%} of {self.pairs:,} pairs, shorter in {self.rejected_longer:.1%}; "
            f"rank correlation {self.rank_correlation:+.2f}"
        )


def length_bias(facts: Facts, unit: str) -> LengthBias | None:
    """The length bias of rows before truncation, by the lengths given if every row has them, else in ``unit``; None if
    no row is a pair."""
    is_given = facts.usable > 0 and not facts.without_lengths
    pairs = facts.given_pairs if is_given else facts.pairs
    return measure(pairs, "given" if is_given else unit) if pairs.differences else None


def measure(pairs: PairLengths, unit: str) -> LengthBias:
    """The bias of one or more pairs."""
    values = np.array(sorted(pairs.differences), dtype=np.int64)
    counts = np.array([pairs.differences[value] for value in values.tolist()], dtype=np.int64)
    total = int(counts.sum())
    return LengthBias(
        unit=unit,
        pairs=total,
        mean_chosen=pairs.chosen / total,
        mean_rejected=pairs.rejected / total,
        chosen_longer=float(counts[values > 0].sum() / total),
        rejected_longer=float(counts[values < 0].sum() / total),
        rank_correlation=_rank_biserial(values[values != 0], counts[values != 0]),
    )


def _rank_biserial(values: np.ndarray, counts: np.ndarray) -> float:
    """The correlation of non-zero differences, of which each of ``values`` occurs as often as ``counts`` says; ties get
    their mean rank. 0 if there are none."""
    if not len(values):
        return 0.0
    sizes, place = np.unique(np.abs(values), return_inverse=True)
    ties = np.zeros(len(sizes), dtype=np.int64)
    np.add.at(ties, place, counts)
    rank_sums = (np.cumsum(ties) - (ties - 1) / 2)[place] * counts
    return float((np.sign(values) * rank_sums).sum() / rank_sums.sum())


def length_bias_warnings(bias: LengthBias | None, config: CommonConfig) -> list[str]:
    """A warning if the loss sums over tokens although length alone tells the answers apart."""
    if bias is None or not bias.is_strong or (summed := _summed(config)) is None:
        return []
    share, kind = (
        (bias.chosen_longer, "longer") if bias.rank_correlation > 0 else (bias.rejected_longer, "shorter")
    )
    why, remedy = summed
    return [
        f"in {share:.0%} of pairs the chosen answer is the {kind} one. With {why}, a model can lower the loss by "
        f"writing {kind} answers instead of better ones. {remedy}, or add pairs of similar lengths."
    ]


def _summed(config: CommonConfig) -> tuple[str, str] | None:
    """What makes the method's loss compare sums over tokens, and what would make it compare means; None if it does."""
    loss_type = getattr(config, "loss_type", "")
    match config.method:
        case "ipo" if getattr(config, "length_normalization", "") == "none":
            return "length_normalization: none", "Set length_normalization: tokens"
        case "cpo" if loss_type != "simpo":
            return f"loss_type: {loss_type}", "Set loss_type: simpo, which compares means per token"
        case "dpo" if loss_type != "ipo":
            return (
                "sums over tokens",
                "Set loss_type: ipo, or use method: simpo, which compare means per token",
            )
    return None
