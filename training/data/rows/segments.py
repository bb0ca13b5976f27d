# SPDX-License-Identifier: Apache-2.0
"""A rendered dialogue: a prompt text, and answers in segments that are trained on or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.messages import Content, Message


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an answer's text. No token straddles the beginning of a trained segment."""

    text: str
    trained: bool = True


class Template(Protocol):
    """A way of rendering dialogues.

    - ``adds_eos``: the encoder ends each answer with EOS; otherwise the template writes its own end of turn.
    - ``begins``: who decides whether there is a BOS token: the ``tokenizer`` (as it does for any text), the ``format``
      (always), or the ``text`` (if it begins with one).
    - ``control_tokens``: the tokens it writes besides the tokenizer's special ones.
    - ``is_raw``: control tokens in the user's texts are kept as such; otherwise they are treated as text.
    """

    @property
    def name(self) -> str: ...

    @property
    def adds_eos(self) -> bool: ...

    @property
    def begins(self) -> str: ...

    @property
    def control_tokens(self) -> Sequence[str]: ...

    @property
    def is_raw(self) -> bool: ...

    def prompt(self, dialogue: Dialogue) -> str:
        """Everything before the answer, including the header that announces it."""

    def answers(self, dialogue: Dialogue) -> list[list[Segment]]:
        """The segments of each answer, in the order of the dialogue's answers."""


def plain_prompt(dialogue: Dialogue) -> str:
    """An instruction and its input as one text."""
    return f"{dialogue.prompt}\n\n{dialogue.input}" if dialogue.input else str(dialogue.prompt)


def prompt_messages(dialogue: Dialogue) -> list[Message]:
    """The prompt as messages; a plain text becomes a user message."""
    if isinstance(dialogue.prompt, list):
        return dialogue.prompt
    return [{"role": "user", "content": plain_prompt(dialogue)}]


def answer_messages(content: Content) -> list[Message]:
    return content if isinstance(content, list) else [{"role": "assistant", "content": content}]
