# SPDX-License-Identifier: Apache-2.0
"""ShareGPT's and OpenAI's rows: a conversation, with answers to compare or a label where a method needs them.

Formats: LLaMA-Factory's data/README.md (ShareGPT with ``chosen``, ``rejected`` and ``kto_tag``), and OpenAI's guide to
fine-tuning (``messages``, ``tools``, ``weight``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tadrib.training.data.formats.own_rows import with_turns
from tadrib.training.data.formats.row_format import Converted, Kind, RawValue, RowFormat
from tadrib.training.data.formats.turns import as_turns, check_order
from tadrib.training.data.rows.messages import fail

_COLUMNS = ("conversations", "messages")


def _conversation(value: RawValue) -> str | None:
    """The column with the conversation; None if there is none, or the row has answers to it elsewhere."""
    has_prompt = "prompt" in value and ("chosen" in value or "completion" in value)
    if has_prompt or _is_whole(value.get("chosen")):
        return None
    return next((column for column in _COLUMNS if _is_list_of_messages(value.get(column))), None)


def _is_list_of_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _is_whole(value: Any) -> bool:
    """Whether an answer is a conversation of its own, with its prompt."""
    return _is_list_of_messages(value) and len(value) > 1


def _is_sharegpt(value: RawValue, kind: Kind) -> bool:
    column = _conversation(value)
    return column == "conversations" or (column is not None and "from" in value[column][0])


def _is_openai(value: RawValue, kind: Kind) -> bool:
    return _conversation(value) == "messages"


def _convert(
    value: RawValue, kind: Kind, tags: Mapping[str, str], columns: tuple[str, ...], ordered: bool
) -> Converted:
    rest = dict(value)
    column = next((column for column in columns if column in rest), columns[0])
    if column not in rest:
        raise fail("missing_column", column, "the column is missing.", f"Map it: columns: {{{column}: …}}.")
    messages = as_turns(rest.pop(column), column, tags)
    if ordered and isinstance(messages, list):
        check_order(messages, column)
    if "functions" in rest and not rest.get("tools"):
        rest["tools"] = rest.pop("functions")
    if kind == "answers":
        return _to_learn(messages, rest, column)
    if kind == "pairs":
        return Converted(with_turns(rest | {"prompt": messages}, tags), {"prompt": column})
    return _to_judge(messages, rest, column)


def _to_learn(messages: Any, rest: RawValue, column: str) -> Converted:
    for label in ("label", "kto_tag"):
        if rest.get(label) is False:
            message = "is false: the answer is not to be learnt, but SFT would learn it."
            raise fail("refused_column", label, message, "Remove the row, or train with method: kto.")
    return Converted(rest | {"messages": messages}, {"messages": column})


def _to_judge(messages: Any, rest: RawValue, column: str) -> Converted:
    if not isinstance(messages, list) or len(messages) < 2:
        message = "expected a prompt and its answer."
        raise fail("no_answer", column, message, "Add the missing messages or remove the row.")
    label = "kto_tag" if "kto_tag" in rest and "label" not in rest else "label"
    own = {"prompt": messages[:-1], "completion": messages[-1:]}
    if label in rest:
        own["label"] = rest.pop(label)
    return Converted(rest | own, {"prompt": column, "completion": column, "label": label})


_KINDS: tuple[Kind, ...] = ("answers", "pairs", "judged")
SHAREGPT = RowFormat(
    "sharegpt", "ShareGPT", _KINDS, _is_sharegpt, partial(_convert, columns=_COLUMNS, ordered=True)
)
OPENAI = RowFormat(
    "openai", "OpenAI messages", _KINDS, _is_openai, partial(_convert, columns=("messages",), ordered=False)
)
