# SPDX-License-Identifier: Apache-2.0
"""Chat formats defined by their marks: ChatML, Qwen, Llama 3 and Gemma."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.messages import REASONING, Message, fail, is_trained_on
from tadrib.training.data.rows.row_problem import RowError
from tadrib.training.data.rows.segments import Segment, answer_messages, prompt_messages


@dataclass(frozen=True)
class ChatFormat:
    """A chat format defined by its marks. A turn is ``{start}{role}{role_end}{content}{end}{after}``."""

    name: str
    start: str
    role_end: str
    end: str
    after: str = ""
    begins: str = "tokenizer"
    adds_eos: bool = False
    is_raw: bool = False
    trims: bool = False
    system_in_user: bool = False
    role_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def control_tokens(self) -> list[str]:
        """The marks that must be single tokens of the tokenizer."""
        marks = (self.start, self.role_end, self.end)
        return [mark.strip() for mark in marks if mark.strip()]

    def prompt(self, dialogue: Dialogue) -> str:
        if dialogue.tools:
            raise self._unsupported("tools", "tools")
        messages = self._with_system_in_user(prompt_messages(dialogue))
        return "".join(map(self._turn, messages)) + self._header("assistant")

    def answers(self, dialogue: Dialogue) -> list[list[Segment]]:
        return [self._answer(answer_messages(answer.content)) for answer in dialogue.answers]

    def _answer(self, messages: list[Message]) -> list[Segment]:
        segments: list[Segment] = []
        between = ""
        for message in messages:
            if not is_trained_on(message):
                between += self._turn(message)
                continue
            if segments:
                segments.append(Segment(self.after + between + self._header("assistant"), trained=False))
            segments.append(Segment(self._content(message) + self.end))
            between = ""
        return segments

    def _turn(self, message: Message) -> str:
        return f"{self._header(message['role'])}{self._content(message)}{self.end}{self.after}"

    def _header(self, role: str) -> str:
        return f"{self.start}{self.role_names.get(role, role)}{self.role_end}"

    def _content(self, message: Message) -> str:
        if message["role"] == "tool" or message.get("tool_calls"):
            raise self._unsupported("messages", "tool calls")
        for key in REASONING:
            if message.get(key):
                raise self._unsupported("messages", key)
        content: str = message["content"]
        return content.strip() if self.trims else content

    def _unsupported(self, column: str, what: str) -> RowError:
        message = f"the template {self.name} does not support {what}."
        return fail("no_form", column, message, "Set instruction_template: tokenizer.")

    def _with_system_in_user(self, messages: list[Message]) -> list[Message]:
        if not self.system_in_user or messages[0]["role"] != "system":
            return messages
        system, *rest = messages
        if rest and rest[0]["role"] == "user":
            return [rest[0] | {"content": f"{system['content']}\n\n{self._content(rest[0])}"}, *rest[1:]]
        return [system | {"role": "user"}, *rest]


CHAT_FORMATS = {
    chat.name: chat
    for chat in (
        ChatFormat("chatml", "<|im_start|>", "\n", "<|im_end|>", "\n"),
        # Qwen's own template adds a default system message; this one does not.
        ChatFormat("qwen", "<|im_start|>", "\n", "<|im_end|>", "\n"),
        ChatFormat(
            "llama3",
            "<|start_header_id|>",
            "<|end_header_id|>\n\n",
            "<|eot_id|>",
            begins="format",
            trims=True,
        ),
        ChatFormat(
            "gemma",
            "<start_of_turn>",
            "\n",
            "<end_of_turn>",
            "\n",
            begins="format",
            trims=True,
            system_in_user=True,
            role_names={"assistant": "model"},
        ),
    )
}
