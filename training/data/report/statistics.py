# SPDX-License-Identifier: Apache-2.0
"""Statistics of texts and groups: length percentiles, duplicates, tokens per word."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tadrib.training.data.encoding import Encoded
from tadrib.training.data.rows.dialogue import Dialogue


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Lengths that 50, 90 and 99 percent of rows do not exceed, and the longest."""

    p50: int
    p90: int
    p99: int
    max: int


def percentiles(lengths: Sequence[int]) -> Percentiles:
    if not lengths:
        return Percentiles(0, 0, 0, 0)
    p50, p90, p99 = np.percentile(lengths, [50, 90, 99], method="inverted_cdf")
    return Percentiles(int(p50), int(p90), int(p99), max(lengths))


def token_lengths(encoded: Sequence[Encoded]) -> dict[str, list[int]]:
    """Lengths in tokens of each prompt, each completion, and each prompt with its longest completion."""
    groups = [item.group for item in encoded]
    completions = [[len(completion.tokens) for completion in group.completions] for group in groups]
    prompts = [len(group.prompt) for group in groups]
    return {
        "prompt": prompts,
        "completion": [length for lengths in completions for length in lengths],
        "total": [prompt + max(lengths) for prompt, lengths in zip(prompts, completions, strict=True)],
    }


def character_lengths(dialogues: Sequence[Dialogue]) -> dict[str, list[int]]:
    """Like ``token_lengths``, but in characters of the texts, without a template."""
    prompts = [sum(map(len, dialogue.prompt_texts())) for dialogue in dialogues]
    answers = [[sum(map(len, answer.texts())) for answer in dialogue.answers] for dialogue in dialogues]
    return {
        "prompt": prompts,
        "completion": [length for lengths in answers for length in lengths],
        "total": [prompt + max(lengths) for prompt, lengths in zip(prompts, answers, strict=True)],
    }


def repetitions(keys: Iterable[Hashable]) -> int:
    """How many of ``keys`` equal an earlier one, compared by hash because the keys would not fit in memory."""
    hashes = [hash(key) for key in keys]
    return len(hashes) - len(set(hashes))


def tokens_per_word(encoded: Sequence[Encoded]) -> float | None:
    """Fertility: trained tokens of the answers, without end-of-turn tokens, per whitespace-separated word."""
    tokens = words = 0
    for item in encoded:
        for answer, completion in zip(item.dialogue.answers, item.group.completions, strict=True):
            # the parts of a document have its whole text each
            texts = [] if item.dialogue.part else list(answer.trained_texts())
            words += sum(len(text.split()) for text in texts)
            tokens += completion.num_targets - len(texts)
    return tokens / words if words else None
