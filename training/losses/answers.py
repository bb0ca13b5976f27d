# SPDX-License-Identifier: Apache-2.0
"""Answers: the inputs of the losses, as records that the engine creates from a batch.

Dimensions: A answers, P pairs, G groups, M negatives, E examples. A loss that needs an optional input of its record
raises an error with the name of that input if it is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Input = TypeVar("Input", Tensor, int)


@dataclass(frozen=True, slots=True)
class Answers:
    """A answers with their scores.

    ``log_probs``, [A]: log-probabilities under the policy, each summed over an answer's tokens, in nats. ``reference``,
    [A]: the same under the reference model. ``lengths``, int [A]: what a length-normalised loss divides by, usually the
    number of tokens. Raises ValueError for inputs of unequal shape, which PyTorch would broadcast silently.
    """

    log_probs: Tensor
    reference: Tensor | None = None
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        for name, values in (("reference", self.reference), ("lengths", self.lengths)):
            if values is not None:
                _require_equal(name, values, "log_probs", self.log_probs)

    def __getitem__(self, which: Tensor | slice) -> Answers:
        """The answers selected by indices, a mask or a slice."""
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

    ``num_pairs``: pairs in the whole optimizer step, over which the loss is averaged. ``num_chosen_tokens``: tokens of
    their chosen answers, counted once per pair; only a likelihood term needs it. Raises ValueError for unequal numbers
    of chosen and rejected answers.
    """

    chosen: Answers
    rejected: Answers
    num_pairs: int
    num_chosen_tokens: int | None = None

    def __post_init__(self) -> None:
        _require_equal("rejected", self.rejected.log_probs, "chosen", self.chosen.log_probs)


@dataclass(frozen=True, slots=True)
class Groups:
    """G chosen answers, each with one or more negatives to the same prompt, M in total.

    ``group_of_negative``, int [M] in 0..G-1: the chosen answer that a negative is compared with. ``weights``, [M]: its
    weight among the negatives of its group. ``num_groups``: groups in the whole optimizer step, over which the loss is
    averaged. ``num_chosen_tokens``: tokens of their chosen answers. Raises ValueError unless each negative has a group
    and a weight.
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
    """E answers, each judged on its own (KTO).

    ``desirable``, bool [E]: which were judged good. ``num_examples``: answers in the whole optimizer step, over which
    the loss is averaged. Raises ValueError for unequal numbers of answers and judgements.
    """

    answers: Answers
    desirable: Tensor
    num_examples: int

    def __post_init__(self) -> None:
        _require_equal("desirable", self.desirable, "answers", self.answers.log_probs)


def needed(value: Input | None, name: str, meaning: str) -> Input:
    """``value``, an optional input that this loss requires. Raises ValueError if it is None."""
    if value is None:
        raise ValueError(f"this loss needs {name} ({meaning}), found None")
    return value


def _require_equal(name: str, found: Tensor, other: str, expected: Tensor) -> None:
    if found.shape != expected.shape:
        message = (
            f"{name} has shape {list(found.shape)} and {other} has {list(expected.shape)}; they must be equal"
        )
        raise ValueError(message)
