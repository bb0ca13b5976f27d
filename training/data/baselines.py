# SPDX-License-Identifier: Apache-2.0
"""KTO's KL baseline: each row's prompt is paired with another row's answer, from which the KL divergence is estimated.

The pairs are fixed by the seed, independently of batches. So rows can be shuffled and packed, any number of workers
sees the same pairs, and their reference log-probs can be cached.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tadrib.training.data.group import Completion, Group


def with_baseline(group: Group, answer: Completion, longest: int, largest: int | None) -> Group:
    """``group`` with the tokens of ``answer`` as its baseline, truncated to the limits but never to nothing."""
    room = longest - len(group.prompt)
    if largest is not None:
        room = min(room, largest - group.num_tokens)
    room = max(1, room)
    baseline = Completion(answer.tokens[:room], "kl", answer.trained and answer.trained[:room])
    return replace(group, completions=[*group.completions, baseline])


def donors(prompts: np.ndarray, seed: int) -> np.ndarray:
    """The row whose answer each row takes: in a circle drawn from ``seed``, the next one with another number in
    ``prompts``, or the next one if all numbers are the same. Linear in the rows; int64."""
    count = len(prompts)
    order = np.random.default_rng(seed).permutation(count)
    circle = prompts[order]
    # places, twice around, before which the prompt changes; for any other place the nearest change after it holds
    following = np.arange(1, 2 * count + 1)
    changes = np.tile(circle != np.roll(circle, -1), 2)
    following[~changes] = 2 * count
    nearest = np.minimum.accumulate(following[::-1])[::-1][:count]
    if not changes.any():
        nearest = np.arange(1, count + 1)
    given = np.empty(count, dtype=np.int64)
    given[order] = order[nearest % max(count, 1)]
    return given
