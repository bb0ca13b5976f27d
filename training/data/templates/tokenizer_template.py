# SPDX-License-Identifier: Apache-2.0
"""The tokenizer's own chat template (Jinja), and which characters of its output are the assistant's."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import compress
from typing import TYPE_CHECKING, Any

from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.messages import Message, is_trained_on
from tadrib.training.data.rows.row_problem import RowError, RowProblem, shown
from tadrib.training.data.rows.segments import Segment, answer_messages, prompt_messages
from tadrib.training.data.rows.tool_use import with_text_arguments
from tadrib.training.data.templates.omissions import Tools, require_all_written, way_out
from tadrib.training.data.templates.renderer import Span, renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_ONE_TURN = (
    'Train on one assistant turn per row: give the turns before it "weight": 0, or move them into the prompt,'
    " and write a row for each turn to train on."
)


class TokenizerTemplate:
    """``tokenizer.chat_template`` as a template.

    If the template marks the assistant's text with ``{% generation %}``, the marked text is trained on. Otherwise the
    conversation is rendered up to and including each assistant turn, and the text that the turn adds is trained on.
    That requires a template to render a beginning the same way whatever follows; other templates are refused.
    """

    name = "tokenizer"
    adds_eos = False
    begins = "text"
    is_raw = False
    control_tokens: Sequence[str] = ()

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._template = tokenizer.get_chat_template()
        self._is_marked = bool(_GENERATION_MARK.search(self._template))
        added = [token.content for token in tokenizer.added_tokens_decoder.values()]
        self._added_tokens = tuple({*added, *tokenizer.all_special_tokens})
        self._last: tuple[Dialogue, str] | None = None
        self._foreseen: dict[bytes, tuple[str, list[Span]]] = {}

    def foresee(self, dialogues: Sequence[Dialogue]) -> None:
        """Render at once what ``prompt`` and ``answers`` of ``dialogues`` are going to render."""
        wanted: list[bytes] = []
        for dialogue in dialogues:
            with suppress(RecursionError):  # of a row that is nested too deeply, which `prompt` tells
                wanted += [
                    pickle.dumps(self._arguments(_without_weights(messages), dialogue.tools, announce))
                    for messages, announce in self._coming(dialogue)
                ]
        self._foreseen = renderer().render_all(self._template, wanted)

    def _coming(self, dialogue: Dialogue) -> Iterator[tuple[list[Message], bool]]:
        """The messages that are going to be rendered, and whether the assistant's turn is announced after them."""
        before = prompt_messages(dialogue)
        yield before, True
        for answer in dialogue.answers:
            messages = before + answer_messages(answer.content)
            yield messages, False
            turns = [] if self._is_marked else range(len(before), len(messages) - 1)
            for index in turns:
                if is_trained_on(messages[index]):
                    yield messages[: index + 1], False
                if is_trained_on(messages[index + 1]):
                    yield messages[: index + 1], True

    def prompt(self, dialogue: Dialogue) -> str:
        """The rendered prompt. It is needed for itself and for the answers; the last one is cached, as rendering is
        slow."""
        if self._last is None or self._last[0] is not dialogue:
            text, _ = self._write(prompt_messages(dialogue), dialogue.tools, announce=True)
            self._last = dialogue, text
        return self._last[1]

    def answers(self, dialogue: Dialogue) -> list[list[Segment]]:
        before, opening = prompt_messages(dialogue), self.prompt(dialogue)
        return [
            self._answer(before, answer_messages(answer.content), opening, dialogue.tools)
            for answer in dialogue.answers
        ]

    def _answer(
        self, before: list[Message], answer: list[Message], opening: str, tools: Tools
    ) -> list[Segment]:
        messages, start = before + answer, len(opening)
        whole, marked = self._write(messages, tools)
        self._require_beginning(whole, opening, messages, tools)
        require_all_written(whole, messages, tools, self._template)
        trained = self._trained_marks(messages, marked)
        if trained is None:
            trained = self._added_by_turns(messages, len(before), opening, whole, tools)
        spans = []
        for first, last in trained:
            if last > start:
                first = max(first, start)
                start = first + len(self._without_break(whole[first:last]))
                spans.append((first, start))
        return self._segments(whole, len(opening), spans)

    def _segments(self, whole: str, start: int, spans: list[Span]) -> list[Segment]:
        """The text of ``whole`` from ``start`` on as segments, trained on within ``spans``."""
        segments = []
        for first, last in spans:
            segments += [Segment(whole[start:first], trained=False), Segment(whole[first:last])]
            start = last
        rest = self._without_break(whole[start:])
        if rest.strip():  # a line break after the last turn is not worth a segment
            segments.append(Segment(rest, trained=False))
        return [segment for segment in segments if segment.text]

    def _trained_marks(self, messages: list[Message], marked: list[Span]) -> list[Span] | None:
        """The marked spans to train on. None without marks, or if some turns are excluded and the marks do not
        correspond to turns."""
        turns = [is_trained_on(message) for message in messages if message["role"] == "assistant"]
        if not self._is_marked or (not all(turns) and len(marked) != len(turns)):
            return None
        return marked if all(turns) else list(compress(marked, turns))

    def _added_by_turns(
        self, messages: list[Message], first: int, opening: str, whole: str, tools: Tools
    ) -> list[Span]:
        spans = []
        for index in range(first, len(messages)):
            if not is_trained_on(messages[index]):
                continue
            announced = opening if index == first else self._write(messages[:index], tools, announce=True)[0]
            is_last = index + 1 == len(messages)
            said = whole if is_last else self._write(messages[: index + 1], tools)[0]
            self._require_beginning(whole, announced, messages, tools)
            self._require_beginning(whole, said, messages, tools)
            spans.append((len(announced), len(said)))
        return spans

    def _without_break(self, turn: str) -> str:
        """``turn`` without the line break that some templates write after the end-of-turn token."""
        text = turn.rstrip()
        return text if text.endswith(self._added_tokens) else turn

    def _require_beginning(self, whole: str, beginning: str, messages: list[Message], tools: Tools) -> None:
        if whole.startswith(beginning):
            return
        at = next(i for i, c in enumerate(beginning) if i >= len(whole) or c != whole[i])
        message = (
            "the tokenizer's chat template renders the beginning of the conversation differently if more "
            f"follows ({shown(beginning[at : at + 20])} becomes {shown(whole[at : at + 20])}), so the "
            "assistant's part cannot be identified."
        )
        raise RowError(RowProblem("template_prefix", "", message, way_out(messages, tools, _ONE_TURN)))

    def _write(self, messages: list[Message], tools: Tools, announce: bool = False) -> tuple[str, list[Span]]:
        """The rendered text of ``messages``, and the spans under generation marks in characters.

        Arguments of tool calls are passed as mappings, as servers do; if the template rejects those, as text.
        """
        shown = _without_weights(messages)
        try:
            return self._render(shown, tools, announce)
        except RowError:
            if not any(message.get("tool_calls") for message in shown):
                raise
            return self._render([_with_text_arguments(message) for message in shown], tools, announce)

    def _render(self, messages: list[Message], tools: Tools, announce: bool) -> tuple[str, list[Span]]:
        # not apply_chat_template, which returns marked spans in tokens of the whole text: we need characters
        arguments = self._arguments(messages, tools, announce)
        if self._foreseen and (found := self._foreseen.get(pickle.dumps(arguments))) is not None:
            return found
        return renderer().render(self._template, self._tokenizer.name_or_path, **arguments)

    def _arguments(self, messages: list[Message], tools: Tools, announce: bool) -> dict[str, Any]:
        return {
            "conversations": [messages],
            "tools": list(tools) or None,
            "return_assistant_tokens_mask": self._is_marked and not announce,
            "add_generation_prompt": announce,
            **self._tokenizer.special_tokens_map,
        }


def _without_weights(messages: list[Message]) -> list[Message]:
    return [{key: value for key, value in message.items() if key != "weight"} for message in messages]


def _with_text_arguments(message: Message) -> Message:
    calls = message.get("tool_calls")
    return message | {"tool_calls": list(map(with_text_arguments, calls))} if calls else message
