# SPDX-License-Identifier: Apache-2.0
"""The records that losses take, from the tensors that a test writes out."""

from __future__ import annotations

from torch import Tensor

from tadrib.training.losses.answers import Answers, Groups, JudgedAnswers, Pairs


def pairs(
    chosen: Tensor,
    rejected: Tensor,
    ref_chosen: Tensor | None = None,
    ref_rejected: Tensor | None = None,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
    *,
    num_pairs: int = 1,
    num_chosen_tokens: int | None = None,
) -> Pairs:
    return Pairs(
        Answers(chosen, ref_chosen, chosen_lengths),
        Answers(rejected, ref_rejected, rejected_lengths),
        num_pairs,
        num_chosen_tokens,
    )


def groups(
    chosen: Tensor,
    negatives: Tensor,
    group_of_negative: Tensor,
    weights: Tensor,
    chosen_lengths: Tensor | None = None,
    negative_lengths: Tensor | None = None,
    *,
    num_groups: int = 1,
    num_chosen_tokens: int = 1,
) -> Groups:
    return Groups(
        Answers(chosen, lengths=chosen_lengths),
        Answers(negatives, lengths=negative_lengths),
        group_of_negative,
        weights,
        num_groups,
        num_chosen_tokens,
    )


def judged(policy: Tensor, reference: Tensor | None, desirable: Tensor, num_examples: int) -> JudgedAnswers:
    return JudgedAnswers(Answers(policy, reference), desirable, num_examples)
