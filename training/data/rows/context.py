# SPDX-License-Identifier: Apache-2.0
"""The context of a row's prompt and answers: a system message, and tools that may be called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tadrib.training.data.rows.dialogue import Answer, Dialogue
from tadrib.training.data.rows.messages import fail
from tadrib.training.data.rows.segments import answer_messages, prompt_messages


def in_context(dialogue: Dialogue, system: str, tools: list[dict[str, Any]]) -> Dialogue:
    """``dialogue`` as a conversation with a ``system`` message and ``tools``; unchanged without either. Raises RowError
    if it already has a system message."""
    if not system and not tools:
        return dialogue
    prompt = prompt_messages(dialogue)
    if system:
        if prompt[0]["role"] == "system":
            message = "is given although the conversation has a system message of its own."
            raise fail("two_systems", "system", message, "Keep one of them.")
        prompt = [{"role": "system", "content": system}, *prompt]
    answers = tuple(Answer(a.role, answer_messages(a.content)) for a in dialogue.answers)
    return replace(dialogue, prompt=prompt, answers=answers, input="", tools=tuple(tools))
