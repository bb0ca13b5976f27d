# SPDX-License-Identifier: Apache-2.0
"""Hold out a part of a dataset, independently of row order and without sharing a prompt with the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.errors import DataError, Problem


def prompt_key(dialogue: Dialogue) -> str:
    """A key that is equal for dialogues with the same prompt, and for the parts of a document."""
    if dialogue.part is not None:
        return repr(dialogue.answers)
    return repr((dialogue.prompt, dialogue.input))


def held_out(name: str, dialogues: Sequence[Dialogue], share: float, seed: int) -> list[bool]:
    """Whether each dialogue is held out: ``share`` of the distinct prompts, at least one, with all their rows.

    Prompts are sorted by a hash of seed and prompt, and the first ones are taken. So the choice depends neither on the
    order of rows nor on the process, and adding rows moves few prompts between the parts.

    Raises:
        DataError: too few distinct prompts for both parts.
    """
    keys = [prompt_key(dialogue) for dialogue in dialogues]
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    count = max(1, round(share * len(ranked)))
    if count == len(ranked):
        message = f"{share} of {len(ranked)} distinct prompts is {count}, but both parts need at least one."
        raise DataError(name, [Problem("validation_split", message, "Change it, or use eval_dataset_path.")])
    chosen = set(ranked[:count])
    return [key in chosen for key in keys]
