# SPDX-License-Identifier: Apache-2.0
"""A held-out part of a dataset that does not depend on row order and shares no prompt with the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.errors import DataError, Problem


def prompt_key(dialogue: Dialogue) -> str:
    """Equal for dialogues with the same prompt."""
    return repr((dialogue.prompt, dialogue.input))


def held_out(name: str, dialogues: Sequence[Dialogue], share: float, seed: int) -> list[bool]:
    """For each dialogue whether it is held out: ``share`` of the distinct prompts, at least one, with all their rows.

    Prompts are ordered by a hash of seed and prompt and taken from the front, so the choice depends neither
    on the order of rows nor on the process, and adding rows moves few prompts between the parts.

    Raises:
        DataError: too few distinct prompts to leave some on both sides.
    """
    keys = [prompt_key(dialogue) for dialogue in dialogues]
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    count = max(1, round(share * len(ranked)))
    if count == len(ranked):
        message = f"{share} of {len(ranked)} distinct prompts is {count}; both parts need at least one."
        raise DataError(name, [Problem("validation_split", message, "Change it, or use eval_dataset_path.")])
    chosen = set(ranked[:count])
    return [key in chosen for key in keys]
