# SPDX-License-Identifier: Apache-2.0
"""KTO's baseline: another row's answer after this row's prompt, from which the divergence is estimated.

Every row is paired once, from the seed, with a row of another prompt, whatever batch it comes to stand in. So rows may
be shuffled and packed, any number of workers sees the same pairs, and their reference log-probs can be cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from training.data.group import Completion, Group


def with_baselines(
    groups: Sequence[Group], seed: int, longest: int, largest: int | None = None
) -> list[Group]:
    """Each group with one more completion of role ``kl``, cut so that prompt and completion fit ``longest`` tokens,
    and the whole group ``largest``.

    Rows are dealt in a random circle and each takes the answer of the next row that has another prompt; where all
    prompts are the same, of the next row.
    """
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    paired = list(groups)
    for place, number in enumerate(order):
        group = groups[number]
        donor = groups[_next_with_other_prompt(groups, order, place)]
        answer, room = donor.completions[0], longest - len(group.prompt)
        if largest is not None:
            room = min(room, largest - group.num_tokens)
        room = max(1, room)
        baseline = Completion(answer.tokens[:room], "kl", answer.trained and answer.trained[:room])
        paired[number] = replace(group, completions=[*group.completions, baseline])
    return paired


def _next_with_other_prompt(groups: Sequence[Group], order: list[int], place: int) -> int:
    own = groups[order[place]].prompt
    following = order[place + 1 :] + order[:place]
    return next(
        (n for n in following if groups[n].prompt != own), following[0] if following else order[place]
    )
