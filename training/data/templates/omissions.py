# SPDX-License-Identifier: Apache-2.0
"""Detect what a tokenizer's chat template silently omits from a conversation, and refuse such rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from tadrib.training.data.rows.messages import REASONING, Message
from tadrib.training.data.rows.row_problem import RowError, RowProblem, shown
from tadrib.training.data.rows.tool_use import name_of

Tools: TypeAlias = Sequence[dict[str, Any]]

USE_ANOTHER = "Set instruction_template to a named chat format such as chatml, or fix the template."
_FIX = "Use a model whose chat template includes it, or remove it from the data."
_END_OF_THINKING = "</think>"  # many templates rewrite or drop what precedes it, on purpose


def way_out(messages: Sequence[Message], tools: Tools, with_tools: str) -> str:
    """Advice if the tokenizer's template cannot be used: a named format, or ``with_tools`` for rows with tools, which
    named formats do not support."""
    calls = any(message["role"] == "tool" or message.get("tool_calls") for message in messages)
    return with_tools if calls or tools else USE_ANOTHER


def require_all_written(whole: str, messages: Sequence[Message], tools: Tools, template: str) -> None:
    """Raise RowError if something in the conversation is missing from ``whole``, its text rendered by ``template``."""
    for message in messages:
        # templates of image models may omit content that is a text instead of a list of parts
        said = message["content"].split(_END_OF_THINKING)[-1].strip()
        if not _is_in(said, whole):
            text = f"the tokenizer's chat template omits what the {message['role']} says ({shown(said)})."
            raise RowError(RowProblem("template_omits_text", "", text, way_out(messages, tools, _FIX)))
    omitted = [
        *_omitted_reasoning(messages, whole, template),
        *_omitted_names(messages, tools, whole, template),
    ]
    problems = [
        RowProblem("template_omits_field", "", f"the tokenizer's chat template omits {what}.", _FIX)
        for what in omitted
    ]
    if problems:
        raise RowError(*problems)


def _omitted_reasoning(messages: Sequence[Message], whole: str, template: str) -> Iterator[str]:
    """Missing reasoning. Templates may drop that of earlier turns on purpose, but not the last turn's, or all."""
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
    """Whether ``whole`` contains ``said``, verbatim or JSON-escaped."""
    return said in whole or any(json.dumps(said, ensure_ascii=e)[1:-1] in whole for e in (False, True))
