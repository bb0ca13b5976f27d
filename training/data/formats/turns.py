# SPDX-License-Identifier: Apache-2.0
"""Messages of other formats as ours: ShareGPT's keys and roles, a dataset's own tags, calls, and contents in parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tadrib.training.config.dataset.layout import TAGS
from tadrib.training.data.rows.columns import as_yaml
from tadrib.training.data.rows.messages import Message, fail
from tadrib.training.data.rows.row_problem import RepeatedKeys, shown
from tadrib.training.data.rows.tool_use import parsed
from tadrib.training.errors import nearest

_CALL = TAGS["call"]
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response", "tool_response"), "tool"),
    **dict.fromkeys((_CALL, "tool_call"), _CALL),
}
"""Roles of ShareGPT, OpenAI and their relatives, with ours."""
_TEXT_PARTS = ("text", "input_text", "output_text")
_TEXT_ONLY = "Training uses text only: describe it in the text, or remove the row."


def as_turns(value: Any, column: str, tags: Mapping[str, str]) -> Any:
    """``value`` with every message that it lists in our form; one message alone becomes a list of it, a list of lists
    one of conversations. What is no message stays as it is, and is refused with the row's other problems.

    Raises:
        RowError: an unknown role, a part that is no text, or a call that is no JSON.
    """
    if isinstance(value, dict):
        return [_as_turn(value, column, tags)]
    if not isinstance(value, list):
        return value
    return [_inside(item, f"{column}[{index}]", tags) for index, item in enumerate(value)]


def _inside(item: Any, column: str, tags: Mapping[str, str]) -> Any:
    return as_turns(item, column, tags) if isinstance(item, list) else _as_turn(item, column, tags)


def _as_turn(value: Any, column: str, tags: Mapping[str, str]) -> Any:
    if not isinstance(value, dict) or isinstance(value, RepeatedKeys):
        return value
    message = _with_our_keys(value, tags)
    if not isinstance(message.get("role"), str):
        return message
    role = _role(message["role"], column, tags)
    if isinstance(message.get("content"), list):
        message["content"] = _joined(message["content"], f"{column}.content")
    if role == _CALL:
        calls = _calls(message.pop("content", None), column)
        return message | {"role": "assistant", "content": "", "tool_calls": calls}
    if role == "assistant" and message.get("function_call") and not message.get("tool_calls"):
        message["tool_calls"] = _calls(message.pop("function_call"), f"{column}.function_call")
    return message | {"role": role}


def _with_our_keys(value: dict[str, Any], tags: Mapping[str, str]) -> Message:
    message = dict(value)
    for ours, other in (("role", "from"), ("content", "value")):
        theirs = tags.get(ours, other)
        if theirs in message and ours not in message:
            message[ours] = message.pop(theirs)
    return message


def _role(found: str, column: str, tags: Mapping[str, str]) -> str:
    own = {theirs: TAGS[ours] for ours, theirs in tags.items() if ours not in ("role", "content")}
    roles = _ROLES | own
    if found in roles:
        return roles[found]
    close = nearest(found, roles)
    hint = f"Did you mean {close}? " if close else ""
    known = "system, user (human), assistant (gpt), tool (observation), function_call"
    action = f"{hint}Or say in the spec what it means:\n      tags:\n        user: {as_yaml(found)}"
    raise fail("bad_role", f"{column}.role", f"expected one of {known}; found {shown(found)}.", action)


def _joined(parts: list[Any], column: str) -> Any:
    """The text of OpenAI's content parts, one after the other."""
    texts = []
    for index, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXT_PARTS:
            found = f"a part of type {shown(kind)}" if kind else shown(part)
            message = f"expected a part of type 'text', found {found}."
            raise fail("bad_part", f"{column}[{index}]", message, _TEXT_ONLY)
        if not isinstance(part.get("text"), str):
            raise fail("bad_part", f"{column}[{index}].text", f"expected text, found {shown(part)}.")
        texts.append(part["text"])
    return "".join(texts)


def _calls(value: Any, column: str) -> list[Any]:
    """The calls in ShareGPT's ``{"name": …, "arguments": …}``, a list of those, or the JSON text of either."""
    calls = parsed(value, column) if isinstance(value, str) else value
    return [_call(call) for call in (calls if isinstance(calls, list) else [calls])]


def _call(call: Any) -> Any:
    is_bare = isinstance(call, dict) and "function" not in call
    return {"type": "function", "function": call} if is_bare else call


def check_order(messages: list[Any], column: str) -> None:
    """Raise RowError unless the user (or a tool) and the assistant take turns, after at most one system message.

    Several results of tools may follow one another, as an assistant may call several at once.
    """
    speakers = [message.get("role") if isinstance(message, dict) else None for message in messages]
    start = 1 if speakers[:1] == ["system"] else 0
    for index in range(start, len(speakers)):
        before = speakers[index - 1] if index > start else "assistant"
        allowed = ("user", "tool") if before == "assistant" else ("assistant",)
        if before == "tool":
            allowed = ("assistant", "tool")
        if index == start:
            allowed = ("user",)
        if speakers[index] not in allowed:
            after = f"after {before!r}" if index > start else "at the beginning"
            message = f"{shown(speakers[index])} {after}; expected {' or '.join(allowed)}."
            raise fail("turn_order", f"{column}[{index}]", message, "Correct the order, or remove the row.")
