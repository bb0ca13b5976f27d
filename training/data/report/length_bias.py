# SPDX-License-Identifier: Apache-2.0
"""Length bias of preference pairs: how well an answer's length alone predicts which one is preferred."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tadrib.training.config import CommonConfig
from tadrib.training.data.encoding import Encoded
from tadrib.training.data.group import NEGATIVES
from tadrib.training.data.loading import Loaded

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


def length_bias(loaded: Loaded) -> LengthBias | None:
    """The length bias of ``loaded`` before truncation; None if no row is a pair."""
    dialogues = loaded.dialogues
    if dialogues and all(dialogue.lengths for dialogue in dialogues):
        unit, lengths = "given", [list(dialogue.lengths) for dialogue in dialogues]
    elif loaded.encoded:
        unit, lengths = "tokens", [_scored_tokens(item) for item in loaded.encoded]
    else:
        unit = "characters"
        lengths = [[sum(map(len, answer.texts())) for answer in dialogue.answers] for dialogue in dialogues]
    roles = [[answer.role for answer in dialogue.answers] for dialogue in dialogues]
    pairs = [pair for names, given in zip(roles, lengths, strict=True) for pair in _pairs(names, given)]
    return measure(pairs, unit) if pairs else None


def _scored_tokens(item: Encoded) -> list[int]:
    return [completion.num_targets for completion in item.group.completions]


def _pairs(roles: Sequence[str], lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(chosen, negative) lengths of one row; none without a chosen answer."""
    if "chosen" in roles:
        chosen = lengths[roles.index("chosen")]
        yield from (
            (chosen, length) for role, length in zip(roles, lengths, strict=True) if role in NEGATIVES
        )


def measure(pairs: Sequence[tuple[int, int]], unit: str) -> LengthBias:
    """The bias of one or more (chosen, rejected) length pairs."""
    chosen, rejected = np.asarray(pairs, dtype=np.int64).T
    difference = chosen - rejected
    return LengthBias(
        unit=unit,
        pairs=len(pairs),
        mean_chosen=float(chosen.mean()),
        mean_rejected=float(rejected.mean()),
        chosen_longer=float((difference > 0).mean()),
        rejected_longer=float((difference < 0).mean()),
        rank_correlation=_rank_biserial(difference[difference != 0]),
    )


def _rank_biserial(difference: np.ndarray) -> float:
    """The correlation of non-zero differences; ties get their mean rank. 0 if there are none."""
    if not len(difference):
        return 0.0
    _, place, count = np.unique(np.abs(difference), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    return float((np.sign(difference) * ranks).sum() / ranks.sum())


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
