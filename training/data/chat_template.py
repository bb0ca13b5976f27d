# SPDX-License-Identifier: Apache-2.0
"""The tokenizer's own chat template (Jinja), and which characters of what it writes are the assistant's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.data.dialogue import Dialogue
from training.data.messages import Message
from training.data.row_problem import RowError, RowProblem, shown
from training.data.segments import Segment, answer_messages, prompt_messages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_USE_ANOTHER = "Set instruction_template to a named chat format such as chatml, or mend the template."
_END_OF_THINKING = "</think>"  # what stands before it, many templates rewrite or leave out on purpose
Span = tuple[int, int]


class TokenizerTemplate:
    """``tokenizer.chat_template`` as a template.

    Where the template marks the assistant's text with ``{% generation %}``, those marks say what is learnt.
    Where it does not, the conversation is written again up to each assistant turn and after it, and what the
    turn added is learnt; that needs every beginning to be written alike whether or not more follows, and is
    refused otherwise.
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

    def prompt(self, dialogue: Dialogue) -> str:
        return self._write(prompt_messages(dialogue), announce=True)[0]

    def answers(self, dialogue: Dialogue) -> list[list[Segment]]:
        before, opening = prompt_messages(dialogue), self.prompt(dialogue)
        return [self._answer(before, answer_messages(answer.content), opening) for answer in dialogue.answers]

    def _answer(self, before: list[Message], answer: list[Message], opening: str) -> list[Segment]:
        messages, start = before + answer, len(opening)
        whole, marked = self._write(messages)
        self._require_beginning(whole, opening)
        self._require_texts(whole, messages)
        spans = marked if self._is_marked else self._added_by_turns(messages, len(before), opening, whole)
        segments = []
        for first, last in spans:
            if last <= start:
                continue
            first = max(first, start)
            end = first + len(self._without_break(whole[first:last]))
            segments += [Segment(whole[start:first], trained=False), Segment(whole[first:end])]
            start = end
        rest = self._without_break(whole[start:])
        if rest.strip():  # a line break after the last turn announces nothing
            segments.append(Segment(rest, trained=False))
        return [segment for segment in segments if segment.text]

    def _added_by_turns(self, messages: list[Message], first: int, opening: str, whole: str) -> list[Span]:
        spans = []
        for index in range(first, len(messages)):
            if messages[index]["role"] != "assistant":
                continue
            announced = opening if index == first else self._write(messages[:index], announce=True)[0]
            is_last = index + 1 == len(messages)
            said = whole if is_last else self._write(messages[: index + 1])[0]
            self._require_beginning(whole, announced)
            self._require_beginning(whole, said)
            spans.append((len(announced), len(said)))
        return spans

    def _without_break(self, turn: str) -> str:
        """``turn`` without the line break that some templates write after its end-of-turn token."""
        text = turn.rstrip()
        return text if text.endswith(self._added_tokens) else turn

    def _require_texts(self, whole: str, messages: list[Message]) -> None:
        """Templates of image models write nothing of a content that is a text instead of a list of parts."""
        for message in messages:
            said = message["content"].split(_END_OF_THINKING)[-1].strip()
            if message["role"] in ("user", "assistant") and said not in whole:
                role = message["role"]
                text = f"the tokenizer's chat template leaves out what the {role} says ({shown(said)})."
                raise RowError(RowProblem("template_omits_text", "", text, _USE_ANOTHER))

    def _require_beginning(self, whole: str, beginning: str) -> None:
        if whole.startswith(beginning):
            return
        at = next(i for i, c in enumerate(beginning) if i >= len(whole) or c != whole[i])
        message = (
            "the tokenizer's chat template writes the beginning of the conversation differently when more "
            f"follows ({shown(beginning[at : at + 20])} becomes {shown(whole[at : at + 20])}), so the "
            "assistant's part cannot be told apart."
        )
        raise RowError(RowProblem("template_prefix", "", message, _USE_ANOTHER))

    def _write(self, messages: list[Message], announce: bool = False) -> tuple[str, list[Span]]:
        """The text of ``messages`` and the spans under generation marks, in characters."""
        from jinja2.exceptions import TemplateError

        # Not apply_chat_template: it gives marked spans in tokens of the whole text, and we need characters.
        from transformers.utils.chat_template_utils import render_jinja_template

        special_tokens: dict[str, Any] = self._tokenizer.special_tokens_map
        try:
            written: Any = render_jinja_template(
                conversations=[messages],
                chat_template=self._template,
                return_assistant_tokens_mask=self._is_marked and not announce,
                add_generation_prompt=announce,
                **special_tokens,
            )
        except TemplateError as error:
            message = f"the tokenizer's chat template refuses the conversation: {error}."
            raise RowError(
                RowProblem("template_refused", "", message, "Correct the order of roles.")
            ) from error
        texts, spans = written
        return texts[0], spans[0] if spans else []
