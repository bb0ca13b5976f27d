# SPDX-License-Identifier: Apache-2.0
"""What a tokenizer's chat template leaves out of a conversation: it would vanish without a word, so it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from tadrib.training.data.rows.messages import REASONING, Message
from tadrib.training.data.rows.row_problem import RowError, RowProblem, shown
from tadrib.training.data.rows.tool_use import name_of

Tools: TypeAlias = Sequence[dict[str, Any]]

USE_ANOTHER = "Set instruction_template to a named chat format such as chatml, or mend the template."
_MEND = "Take a model whose chat template writes it, or leave it out of the data."
_END_OF_THINKING = "</think>"  # what stands before it, many templates rewrite or leave out on purpose


def way_out(messages: Sequence[Message], tools: Tools, with_tools: str) -> str:
    """What to do where the tokenizer's template will not do: take a named format, which has no form for tools, or else
    ``with_tools``."""
    calls = any(message["role"] == "tool" or message.get("tool_calls") for message in messages)
    return with_tools if calls or tools else USE_ANOTHER


def require_all_written(whole: str, messages: Sequence[Message], tools: Tools, template: str) -> None:
    """Raises RowError when ``template`` made ``whole`` of a conversation and something said is not in it."""
    for message in messages:
        # templates of image models write nothing of a content that is a text instead of a list of parts
        said = message["content"].split(_END_OF_THINKING)[-1].strip()
        if not _is_in(said, whole):
            text = (
                f"the tokenizer's chat template leaves out what the {message['role']} says ({shown(said)})."
            )
            raise RowError(RowProblem("template_omits_text", "", text, way_out(messages, tools, _MEND)))
    omitted = [
        *_omitted_reasoning(messages, whole, template),
        *_omitted_names(messages, tools, whole, template),
    ]
    problems = [
        RowProblem("template_omits_field", "", f"the tokenizer's chat template leaves out {what}.", _MEND)
        for what in omitted
    ]
    if problems:
        raise RowError(*problems)


def _omitted_reasoning(messages: Sequence[Message], whole: str, template: str) -> Iterator[str]:
    """Reasoning before the last turn may be left out on purpose; that of the last turn, or all, may not."""
    is_read = any(key in template for key in REASONING)
    for message in messages:
        for key in REASONING:
            thought = message.get(key)
            is_last = message is messages[-1]
            if thought and (not is_read or (is_last and not _is_in(str(thought).strip(), whole))):
                yield f"the {message['role']}'s {key} ({shown(thought)})"


def _omitted_names(messages: Sequence[Message], tools: Tools, whole: str, template: str) -> Iterator[str]:
    calls = [name_of(call) for message in messages for call in message.get("tool_calls") or ()]
    for key, what, names in (
        ("tool_calls", "a call of the tool", calls),
        ("tools", "the tool", list(map(name_of, tools))),
    ):
        for name in names:
            if key not in template or name not in whole:
                yield f"{what} {name}"


def _is_in(said: str, whole: str) -> bool:
    """Whether ``said`` stands in ``whole``, as it is or as JSON text."""
    return said in whole or any(json.dumps(said, ensure_ascii=e)[1:-1] in whole for e in (False, True))
