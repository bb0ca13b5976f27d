# SPDX-License-Identifier: Apache-2.0
"""What a row says around its prompt and answers: a system message, and tools that may be called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.data.rows.messages import fail
from tadrib.training.data.rows.segments import answer_messages, prompt_messages


def in_context(dialogue: Dialogue, system: str, tools: list[dict[str, Any]]) -> Dialogue:
    """``dialogue`` as a conversation that ``system`` opens and in which ``tools`` may be called; as it is without
    either. Raises RowError when it has a system message of its own."""
    if not system and not tools:
        return dialogue
    prompt = prompt_messages(dialogue)
    if system:
        if prompt[0]["role"] == "system":
            message = "stands beside a system message of the conversation itself."
            raise fail("two_systems", "system", message, "Keep one of them.")
        prompt = [{"role": "system", "content": system}, *prompt]
    answers = tuple(Answer(a.role, answer_messages(a.content)) for a in dialogue.answers)
    return replace(dialogue, prompt=prompt, answers=answers, input="", tools=tuple(tools))
