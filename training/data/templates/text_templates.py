# SPDX-License-Identifier: Apache-2.0
"""Templates for single instructions: one prompt text and one answer text, without support for conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tadrib.training.config.response_marks import ALPACA_RESPONSE
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.segments import Segment, plain_prompt

_ALPACA_TASK = "Below is an instruction that describes a task"
_ALPACA_WITH_INPUT = ", paired with an input that provides further context"
_ALPACA_END = ". Write a response that appropriately completes the request.\n\n"


class _TextTemplate:
    adds_eos = True
    begins = "tokenizer"
    is_raw = False
    control_tokens: Sequence[str] = ()

    def answers(self, dialogue: Dialogue) -> list[list[Segment]]:
        return [[Segment(str(answer.content))] for answer in dialogue.answers]


@dataclass(frozen=True)
class Alpaca(_TextTemplate):
    """Stanford Alpaca's instruction format. ``response`` is the header directly before the answer."""

    response: str = ALPACA_RESPONSE
    name: str = "alpaca"

    @property
    def around_instruction(self) -> tuple[str, str]:
        """The texts before and after an instruction without an input."""
        return f"{_ALPACA_TASK}{_ALPACA_END}### Instruction:\n", f"\n\n{self.response}"

    def prompt(self, dialogue: Dialogue) -> str:
        with_input = _ALPACA_WITH_INPUT if dialogue.input else ""
        context = f"### Input:\n{dialogue.input}\n\n" if dialogue.input else ""
        instruction = f"### Instruction:\n{dialogue.prompt}\n\n"
        return f"{_ALPACA_TASK}{with_input}{_ALPACA_END}{instruction}{context}{self.response}"


@dataclass(frozen=True)
class Document(_TextTemplate):
    """A text that has no prompt, and is rendered by no other template."""

    name: str = "text"

    def prompt(self, dialogue: Dialogue) -> str:
        return ""


@dataclass(frozen=True)
class Plain(_TextTemplate):
    """The texts unchanged, with nothing between prompt and answer."""

    name: str = "plain"
    is_raw = True

    def prompt(self, dialogue: Dialogue) -> str:
        return plain_prompt(dialogue)
