# SPDX-License-Identifier: Apache-2.0
"""Answers: what the losses compare, as records that the engine makes of a batch and that a loss takes whole.

Shapes: A answers, P pairs, G groups, M negatives. A loss whose record lacks an input that it needs fails with the name
of that input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Input = TypeVar("Input", Tensor, int)


@dataclass(frozen=True, slots=True)
class Answers:
    """A scored answers.

    ``log_probs``, [A], are those under the policy, each the sum over an answer's tokens; ``reference``, [A], the same
    under the reference model. A length-normalised loss divides by ``lengths``, int [A], as a rule the numbers of
    tokens. Raises ValueError for inputs of unequal shape, which PyTorch would broadcast in silence.
    """

    log_probs: Tensor
    reference: Tensor | None = None
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        for name, values in (("reference", self.reference), ("lengths", self.lengths)):
            if values is not None:
                _require_equal(name, values, "log_probs", self.log_probs)

    def __getitem__(self, which: Tensor | slice) -> Answers:
        """Some of the answers, by their numbers, a mask or a slice."""
        parts = (self.log_probs, self.reference, self.lengths)
        return Answers(*(None if part is None else part[which] for part in parts))  # type: ignore[arg-type]

    @property
    def log_ratios(self) -> Tensor:
        """Log-ratios of policy to reference, [A]. Raises ValueError without ``reference``."""
        return self.log_probs - needed(self.reference, "reference", "log-probs under the reference model")

    def per_token(self, values: Tensor) -> Tensor:
        """``values``, [A], divided by ``lengths``. Raises ValueError without ``lengths``."""
        return values / needed(self.lengths, "lengths", "the lengths of all answers").clamp_min(1)


@dataclass(frozen=True, slots=True)
class Pairs:
    """P chosen answers, each with one rejected answer to the same prompt.

    Of the whole optimizer step, ``num_pairs`` counts the pairs, which the loss is averaged over, and
    ``num_chosen_tokens`` the tokens of chosen answers, once for each pair; a likelihood term alone needs it. Raises
    ValueError for unequal numbers of answers.
    """

    chosen: Answers
    rejected: Answers
    num_pairs: int
    num_chosen_tokens: int | None = None

    def __post_init__(self) -> None:
        _require_equal("rejected", self.rejected.log_probs, "chosen", self.chosen.log_probs)


@dataclass(frozen=True, slots=True)
class Groups:
    """G chosen answers, each with one or many negatives to the same prompt, M in all.

    ``group_of_negative``, int [M] in 0..G-1, is the chosen answer that a negative belongs to, and ``weights``, [M],
    what it counts for among those of its group. Of the whole optimizer step, ``num_groups`` counts the groups, which
    the loss is averaged over, and ``num_chosen_tokens`` the tokens of chosen answers. Raises ValueError for other
    numbers of groups or weights than of negatives.
    """

    chosen: Answers
    negatives: Answers
    group_of_negative: Tensor
    weights: Tensor
    num_groups: int
    num_chosen_tokens: int

    def __post_init__(self) -> None:
        for name, values in (("group_of_negative", self.group_of_negative), ("weights", self.weights)):
            _require_equal(name, values, "negatives", self.negatives.log_probs)


@dataclass(frozen=True, slots=True)
class JudgedAnswers:
    """E answers that come one by one, each judged by itself.

    ``desirable``, bool [E], says which were judged good. ``num_examples`` counts the answers of the whole optimizer
    step, which the loss is averaged over. Raises ValueError for unequal numbers of answers and judgements.
    """

    answers: Answers
    desirable: Tensor
    num_examples: int

    def __post_init__(self) -> None:
        _require_equal("desirable", self.desirable, "answers", self.answers.log_probs)


def needed(value: Input | None, name: str, meaning: str) -> Input:
    """``value``, an optional input that this loss cannot do without. Raises ValueError where it was not given."""
    if value is None:
        raise ValueError(f"this loss needs {name} ({meaning}), found None")
    return value


def _require_equal(name: str, found: Tensor, other: str, expected: Tensor) -> None:
    if found.shape != expected.shape:
        message = (
            f"{name} has shape {list(found.shape)} and {other} has {list(expected.shape)}; they must be equal"
        )
        raise ValueError(message)
