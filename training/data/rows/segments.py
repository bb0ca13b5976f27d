# SPDX-License-Identifier: Apache-2.0
"""What a template makes of a dialogue: a prompt text, and answers in segments that are learnt or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.messages import Content, Message


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an answer. No token straddles the beginning of what is learnt."""

    text: str
    trained: bool = True


class Template(Protocol):
    """One way of writing dialogues.

    ``adds_eos`` says that the encoder ends each answer with the tokenizer's EOS; otherwise the template
    writes its own end of turn. ``begins`` says who decides on a BOS token: the ``tokenizer`` by its own
    habit, the ``format`` (there always is one), or the ``text`` (there is one if the text begins with it).
    ``control_tokens`` are what it writes as tokens besides the tokenizer's special ones. ``is_raw`` says that the
    texts are the user's own writing, control tokens included; otherwise a control token in a text is text.
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
        """Everything before the answer, up to and including what announces it."""

    def answers(self, dialogue: Dialogue) -> list[list[Segment]]:
        """The segments of each answer, in the order of the dialogue's answers."""


def plain_prompt(dialogue: Dialogue) -> str:
    """An instruction and its input as one text."""
    return f"{dialogue.prompt}\n\n{dialogue.input}" if dialogue.input else str(dialogue.prompt)


def prompt_messages(dialogue: Dialogue) -> list[Message]:
    """The prompt as messages; a text is the user's."""
    if isinstance(dialogue.prompt, list):
        return dialogue.prompt
    return [{"role": "user", "content": plain_prompt(dialogue)}]


def answer_messages(content: Content) -> list[Message]:
    return content if isinstance(content, list) else [{"role": "assistant", "content": content}]
