# SPDX-License-Identifier: Apache-2.0
"""KTO's KL baseline: each row's prompt is paired with another row's answer, from which the KL divergence is estimated.

The pairs are fixed by the seed, independently of batches. So rows can be shuffled and packed, any number of workers
sees the same pairs, and their reference log-probs can be cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tadrib.training.data.group import Completion, Group


def with_baselines(
    groups: Sequence[Group], seed: int, longest: int, largest: int | None = None
) -> list[Group]:
    """Each group with an additional completion of role ``kl``, truncated so that prompt and completion fit in
    ``longest`` tokens and the whole group in ``largest``.

    Rows are arranged in a random circle; each takes the answer of the next row with a different prompt, or of the next
    row if all prompts are the same.
    """
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    paired = list(groups)
    for number, donated in zip(order, _donors(groups, order), strict=True):
        group, donor = groups[number], groups[donated]
        answer, room = donor.completions[0], longest - len(group.prompt)
        if largest is not None:
            room = min(room, largest - group.num_tokens)
        room = max(1, room)
        baseline = Completion(answer.tokens[:room], "kl", answer.trained and answer.trained[:room])
        paired[number] = replace(group, completions=[*group.completions, baseline])
    return paired


def _donors(groups: Sequence[Group], order: list[int]) -> list[int]:
    """For each place in the circle ``order``, the next row with a different prompt."""
    # backwards and twice around, so that each place knows the nearest different row after it
    donors = order[1:] + order[:1]
    last = None
    for place in [*range(len(order)), *range(len(order))][::-1]:
        if groups[donors[place]].prompt != groups[order[place]].prompt:
            last = donors[place]
        elif last is not None:
            donors[place] = last
    return donors
